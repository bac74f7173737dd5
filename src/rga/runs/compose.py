"""Compose a run's config without running it: what a table and the launcher need to know a run's fingerprint.

Hydra takes about 50 ms for one composition, a table needs dozens. So the compositions are kept in the user's cache
folder under the hash of every config file: any change of a file is another hash, and nothing needs to be cleared.
What is kept is not resolved: interpolations (`${oc.env:...}`) are resolved each time.
"""

import hashlib
import importlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import OmegaConf

from rga.errors import ConfigError
from rga.files import write_atomically
from rga.hydra_internals import config_files
from rga.paths import CONF
from rga.runs.paths_in_overrides import quoted
from rga.runs.settings import resolved

_GENERATIONS = 8  # how many states of the config files the cache remembers


_loaded: dict[Path, dict[str, Any]] = {}  # what Hydra read, for the present state of the config files


def compose(
    overrides: Iterable[str] = (),
    *,
    conf: str | Path = CONF,
    config_dir: str | Path | None = None,
    resolve: bool = True,
) -> dict[str, Any]:
    """Give `train.yaml` with Hydra overrides applied, resolved, as plain containers.

    Args:
        overrides: as on the command line, `["attention=rga_sc", "seed=1"]`.
        conf: the folder of `train.yaml`.
        config_dir: a further folder of configs, like Hydra's `--config-dir`.
        resolve: False leaves interpolations as they are, for a part that is put into another config.

    Raises:
        ConfigError: an override that names nothing, or a config that cannot be composed.
    """
    overrides = list(overrides)
    unresolved = composition(overrides, conf=conf, config_dir=config_dir).unresolved
    if not resolve:
        return unresolved
    try:
        return resolved(OmegaConf.create(unresolved))
    except ConfigError as error:
        raise ConfigError(f"{' '.join(overrides)}: {error}") from error


def runs_folder(overrides: Iterable[str] = ()) -> Path:
    """Where the runs of `rga train OVERRIDES` lie: `paths.runs`."""
    return Path(compose(line for line in overrides if line.startswith("paths."))["paths"]["runs"])


@dataclass(frozen=True)
class Composition:
    """What Hydra composes: the config, not resolved, and which file each group was answered with."""

    unresolved: dict[str, Any]
    choices: dict[str, str | None]


def composition(
    overrides: Iterable[str] = (), *, conf: str | Path = CONF, config_dir: str | Path | None = None
) -> Composition:
    """Compose without resolving; `choices` are by group, without Hydra's own. See `compose`."""
    overrides = quoted(overrides)
    folders = [Path(conf).absolute(), *([Path(config_dir).absolute()] if config_dir is not None else [])]
    kept = _cache(*folders) / _name(overrides)
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
        return Composition(found["unresolved"], found["choices"])
    except (OSError, ValueError, KeyError, TypeError):
        if config_dir is not None:
            expect_files_of_its_own(config_dir, conf)
        with config_files(_parsed(kept.parent)):
            fresh = _compose(overrides, *folders)
        _keep(kept, vars(fresh))
        return fresh


def expect_files_of_its_own(config_dir: str | Path, conf: str | Path = CONF) -> None:
    """See that Hydra takes each file of a further folder of configs: of two of one name it takes the installed one.

    Raises:
        ConfigError: a file has the name of an installed one, and is another one.
    """
    for file in sorted(Path(config_dir).rglob("*.yaml")):
        name = file.relative_to(config_dir)
        installed = Path(conf) / name
        if installed.is_file() and installed.read_bytes() != file.read_bytes():
            raise ConfigError(
                f"{file} has the name of an installed config, which would be taken instead: give it another name, "
                f"such as {name.with_stem(f'my_{name.stem}')}"
            )


def prepare(many: Iterable[Iterable[str]], *, conf: str | Path = CONF) -> None:
    """Fill the cache with compositions on all cores, so that a table's first printing takes less than a second.

    Does nothing where forking is not safe; what fails here is left to `compose`, which says why.
    """
    folder = _cache(Path(conf).absolute())
    wanted = list(dict.fromkeys(tuple(quoted(overrides)) for overrides in many))
    unknown = [overrides for overrides in wanted if not (folder / _name(overrides)).exists()]
    processes = min(len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1, 8, len(unknown) // 2)
    if processes < 2 or threading.active_count() > 1 or "torch" in sys.modules:
        return
    importlib.import_module("hydra")  # before the fork: once for all
    children = []
    for number in range(1, processes):
        if child := os.fork():
            children.append(child)
        else:
            _compose_and_exit(unknown[number::processes], conf)
    with suppress(ConfigError):
        for overrides in unknown[::processes]:
            compose(overrides, conf=conf)
    for child in children:
        os.waitpid(child, 0)


def _compose_and_exit(share: Iterable[Iterable[str]], conf: str | Path) -> NoReturn:
    """A forked process: it must not run on into what its parent was doing, whatever happens."""
    try:
        for overrides in share:
            compose(overrides, conf=conf)
    finally:
        os._exit(0)


def _compose(overrides: list[str], conf: Path, config_dir: Path | None = None) -> Composition:
    import yaml
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    searchpath = [f"hydra.searchpath=[{json.dumps(f'file://{config_dir}')}]"] if config_dir else []
    running = GlobalHydra.instance()  # inside `rga train` there is one already, which is none of our business here
    before, running.hydra = running.hydra, None
    try:
        with initialize_config_dir(str(conf), job_name="train", version_base="1.3"):
            config = compose("train", [*searchpath, *overrides], return_hydra_config=True)
    except (HydraException, yaml.YAMLError) as error:
        cause = f"\n{error.__cause__}" if error.__cause__ else ""
        raise ConfigError(f"{error}{cause}") from error
    finally:
        running.hydra = before
    choices = {str(group): choice for group, choice in config.hydra.runtime.choices.items()}
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    container = OmegaConf.to_container(config, resolve=False)
    assert isinstance(container, dict)
    return Composition(
        {str(key): value for key, value in container.items()},
        {group: choice for group, choice in choices.items() if not group.startswith("hydra/")},
    )


def _parsed(state: Path) -> dict[str, Any]:
    """The config files that were parsed in this process, of the present state alone."""
    if state not in _loaded:
        _loaded.clear()
    return _loaded.setdefault(state, {})


def _name(overrides: Iterable[str]) -> str:
    return f"{hashlib.sha256(json.dumps(list(overrides)).encode()).hexdigest()[:32]}.json"


def _cache(*folders: Path) -> Path:
    """The cache folder of the present state of the config files."""
    found = [  # text, not Path: this is asked at every composition, of a hundred files
        (os.path.join(folder, name), len(str(top)) + 1)  # noqa: PTH118
        for top in folders
        for folder, _, names in os.walk(top)
        for name in names
        if name.endswith(".yaml")
    ]
    stats = [(path, path[start:], os.stat(path)) for path, start in sorted(found)]  # noqa: PTH116
    state = _state(tuple((path, name, stat.st_mtime_ns, stat.st_size) for path, name, stat in stats))
    return _home() / "rga" / "configs" / state


def _home() -> Path:
    """The user's cache folder; of a user without a home, as in some containers, one in which nothing can be kept."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return Path(os.devnull)


@lru_cache(maxsize=8)
def _state(files: tuple[tuple[str, str, int, int], ...]) -> str:
    """Hash names and contents; within a process a file is read again only when its time or size has changed."""
    state = hashlib.sha256()
    for path, name, _, size in files:
        state.update(f"{name}\0{size}\0".encode() + Path(path).read_bytes())
    return state.hexdigest()[:32]


def _keep(path: Path, unresolved: dict[str, Any]) -> None:
    try:
        if not path.parent.exists():
            states = sorted(path.parent.parent.glob("*"), key=lambda state: state.stat().st_mtime)
            for old in states[: 1 - _GENERATIONS]:
                shutil.rmtree(old, ignore_errors=True)
        write_atomically(path, json.dumps(unresolved), sync=False)
    except (OSError, TypeError, ValueError):
        pass  # a cache that cannot be written, or a config that JSON does not hold: composed again next time
