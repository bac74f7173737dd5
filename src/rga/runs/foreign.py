"""What a recorded config may say: a run's folder may be anybody's, so it is data and builds only what is known here.

A config names components (`_target_`), which are imported and called. From a recorded one only those are built that a
config of this installation, or of a folder of the user's own, has *in the same place*: a reader where a reader stands,
a block where a block stands. What a component is given is plain: numbers, texts, lists, and no interpolations, which
could read the environment. SECURITY.md says what is promised.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

from omegaconf import OmegaConf

from rga.errors import ConfigError
from rga.runs.identity import public_name

_TARGET, _PARTIAL = "_target_", "_partial_"
_SPECIAL = {_TARGET, _PARTIAL, "_convert_", "_recursive_"}  # Hydra's; `_args_` is no installed config's
_GROUPS = ("task", "data", "backbone", "attention", "trainer")  # of which every run has one
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_SCHEME = re.compile(r"[A-Za-z][\w+-]+:")  # hf-hub:, local-dir:, https: where a network's name is expected
_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class _Place:
    """What configs have in one place: the components, and whether only their calls are prepared (`_partial_`).

    A file may leave `_partial_` to the one that it extends, so that is of the place and not of the component.
    """

    targets: frozenset[str]
    partial: bool


def vetted(config: Any, folders: Iterable[Path], source: Path) -> dict[str, Any]:
    """A recorded config, whose components are all known.

    A component that this installation has in another module than when it was recorded is that one.

    Args:
        config: as it was recorded, resolved.
        folders: of configs: the installed ones, and one of the user's own.
        source: the file that it is from, for the error.

    Raises:
        ConfigError: a component that no config there names in its place, an interpolation, or no config of a run.
    """
    if not isinstance(config, Mapping) or not all(isinstance(config.get(group), Mapping) for group in _GROUPS):
        raise ConfigError(f"{source} holds no config of a run: expected the groups {', '.join(_GROUPS)}")
    known = _known(folders)
    plain = _vetted(config, "", known, source)
    for path, value in _texts(plain["backbone"], "backbone"):
        if _SCHEME.match(value):
            raise ConfigError(f"{source}: {path} is {value!r}, which would be fetched from elsewhere: it is refused")
    name = plain["data"].get("name")
    if not isinstance(name, str) or PurePath(name).name != name:
        raise ConfigError(f"{source}: data.name is {name!r}, and no name")
    assert isinstance(plain, dict)
    return plain


def _vetted(node: Any, path: str, known: Callable[[str], _Place], source: Path) -> Any:
    if isinstance(node, str):
        if "${" in node:
            raise ConfigError(
                f"{source}: {path} is {node!r}, an interpolation. A recorded config is resolved, so nothing is put in"
            )
        return node
    if isinstance(node, list | tuple):
        return [_vetted(item, f"{path}[]", known, source) for item in node]
    if not isinstance(node, Mapping):
        return node
    for key in node:
        if not isinstance(key, str) or "${" in key or (re.fullmatch(r"_\w+_", key) and key not in _SPECIAL):
            raise ConfigError(f"{source}: {path} has the key {key!r}, which no recorded config has")
    special: dict[str, Any] = {}
    if _SPECIAL & node.keys():
        place = known(path)
        special[_TARGET] = _component(node.get(_TARGET), path, place.targets, source)
        if place.partial:
            special[_PARTIAL] = True
    kept = {key: value for key, value in node.items() if key not in (_TARGET, _PARTIAL)}
    inside = {key: _vetted(value, f"{path}.{key}".lstrip("."), known, source) for key, value in kept.items()}
    return {**special, **inside}


def _component(target: Any, path: str, known: frozenset[str], source: Path) -> str:
    if isinstance(target, str) and target in known:
        return target
    if isinstance(target, str) and target.startswith("rga."):
        for words in (2, 1):  # market1501.read is told from cityscapes.read by its module
            tail = target.split(".")[-words:]
            moved = [name for name in known if name.startswith("rga.") and name.split(".")[-words:] == tail]
            if len(moved) == 1:
                return moved[0]
    there_are = ", ".join(sorted(map(public_name, known))) or "none"
    raise ConfigError(
        f"{source}: {path} is {target!r}, which no installed config names there (they name {there_are}). Nothing of it "
        "was run. If it is a component of your own, put the config that names it into a folder and give that: "
        "--config-dir FOLDER"
    )


def _known(folders: Iterable[Path]) -> Callable[[str], _Place]:
    """The components that configs name, by their place in the whole config, such as `data.reader`."""
    targets: dict[str, set[str]] = {}
    partial: set[str] = set()
    references: dict[str, set[str]] = {}
    for file, top in ((file, folder) for folder in folders for file in sorted(folder.rglob("*.yaml"))):
        group = file.relative_to(top).parts[0] if file.parent != top else ""
        if group == "hydra":
            continue
        state = file.stat()
        for path, node in _read(file, group, state.st_mtime_ns, state.st_size):
            if isinstance(node, Mapping):
                if isinstance(node.get(_TARGET), str):
                    targets.setdefault(path, set()).add(node[_TARGET])
                if node.get(_PARTIAL) is True:
                    partial.add(path)
            elif isinstance(node, str) and (reference := _REFERENCE.fullmatch(node)):
                references.setdefault(path, set()).add(reference[1])

    def places(path: str, seen: frozenset[str] = frozenset()) -> set[str]:
        """A place, and those to which configs refer there: `task.head` is `${head}`."""
        found, parts = {path}, path.split(".")
        for length in range(1, len(parts) + 1):
            for other in references.get(".".join(parts[:length]), ()):
                there = ".".join([other, *parts[length:]])
                if there not in seen:
                    found |= places(there, seen | {path})
        return found

    def known(path: str) -> _Place:
        there = places(path)
        return _Place(frozenset(name for place in there for name in targets.get(place, ())), bool(there & partial))

    return known


@lru_cache(maxsize=1024)
def _read(file: Path, group: str, *_: int) -> tuple[tuple[str, Any], ...]:
    """Everything in a config file by its place; it is read again only when its time or size has changed."""
    package = _PACKAGE.search(file.read_text(encoding="utf-8"))
    start = group if package is None or package[1] == "_group_" else package[1].removeprefix("_global_")
    return tuple(_nodes(OmegaConf.to_container(OmegaConf.load(file), resolve=False), start))


def _nodes(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, node
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _nodes(value, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for value in node:
            yield from _nodes(value, f"{path}[]")


def _texts(node: Any, path: str) -> Iterator[tuple[str, str]]:
    return ((place, value) for place, value in _nodes(node, path) if isinstance(value, str))
