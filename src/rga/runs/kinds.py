"""The kind of value that a setting takes, read off the installed configs: a number where they have numbers.

Reading them takes a third of a second, so this is asked where something is run, and not where a table is printed.
Only where all of them have numbers, truth values, lists or mappings does a kind follow: where one has a text (`auto`)
or none a value (`null`), other things may make sense as well.
"""

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rga.errors import ConfigError
from rga.paths import CONF
from rga.runs.defaults import DEFAULTS
from rga.runs.identity import public_name

_TOP = {
    "task", "data", "backbone", "attention", "head", "recipe", "trainer", "logger", "scale", "paths", "seed", "rerun",
    "objective", "hydra",
}  # fmt: skip
_PLAIN_GROUPS = ("backbone", "attention", "recipe", "scale")  # that are read setting by setting
_READ = re.compile(r"\$\{(?:oc\.select:)?([\w.]+)")
_WORDS = {
    "bool": "true or false", "int": "a whole number", "float": "a number", "numbers": "a list of numbers",
    "list": "a list", "mapping": "a mapping",
}  # fmt: skip
_LEAST = {
    "seed": 0, "data.seed": 0, "data.demo.seed": 0, "task.smoothing": 0, "task.margin": 0, "task.triplet_weight": 0,
    "task.auxiliary": 0, "task.attention_lr": 0, "trainer.accumulate_grad_batches": 1, "head.dropout": 0,
    "scale.shrink": 1,
    "recipe.epochs": 1, "recipe.identities": 1, "recipe.images": 1, "recipe.batch": 1, "recipe.steps": 1,
    "recipe.schedule.warmup": 0, "recipe.schedule.gamma": 0, "trainer.gradient_clip_val": 0,
    "data.test_batch": 1, "data.train_identities": 1, "data.workers": 0,
    "trainer.log_every_n_steps": 1, "trainer.check_val_every_n_epoch": 1,
    "trainer.checkpoint_minutes": 0, "trainer.num_nodes": 1,
}  # fmt: skip
_MOST = {"seed": 2**32 - 1, "task.smoothing": 1, "head.dropout": 1}  # seeds are those of numpy's generators
_NULL_IN_CONF: dict[tuple[str, str], list[Any]] = {  # what no file gives a kind, with values of the kinds it may have
    ("ReIDData", "train_identities"): [64],
    ("Segmentation", "grid"): [[48, 96], False],
    ("lightning.pytorch.Trainer", "gradient_clip_val"): [1.0],
    ("lightning.pytorch.Trainer", "limit_train_batches"): [0.5],
    ("lightning.pytorch.Trainer", "limit_val_batches"): [0.5],
}
_PAIRS = {
    "data.size",
    "data.scales",
    "data.area",
    "data.aspect",
    "data.augment.size",
    "task.window",
    "task.grid",
}  # of two numbers

Key = tuple[str, str]  # of a component its name, else where the node is; and the setting's name


def expect_kinds(config: Mapping[str, Any]) -> None:
    """See that a resolved config has values of the kinds that the installed configs have there.

    Raises:
        ConfigError: the first that is of another kind, or out of range, with an example of what is expected.
    """
    if "epochs" not in (config.get("recipe") or {"epochs": None}):
        raise ConfigError("recipe.epochs has no value: give one, recipe.epochs=...")
    known = _known()
    owners = {owner for owner, _ in known}
    for path, key, value in _settings(config, "", ""):
        place = (path.rpartition(".")[0], key[1])  # of files that extend one with the component's name
        if key[0] not in owners:  # a component of the user's own
            continue
        (kinds, example), (more, another) = (known.get(name, (frozenset(), None)) for name in (key, place))
        kinds, example = kinds | more, another if example is None else example
        kind = _kind(value)
        wanted = kinds - {"null"}
        if wanted and "text" not in wanted and not _fits(kind, kinds):
            expected = " or ".join(_WORDS[name] for name in _WORDS if name in wanted)
            raise ConfigError(f"{path}={_shown(value)}: expected {expected}, such as {path}={_shown(example)}")
        whole = isinstance(example, list) and example and all(isinstance(number, int) for number in example)
        if whole and kind == "numbers" and not all(isinstance(number, int) for number in value):
            raise ConfigError(f"{path}={_shown(value)}: expected whole numbers, such as {path}={_shown(example)}")
        if path in _PAIRS and isinstance(value, list) and len(value) != 2:
            raise ConfigError(f"{path}={_shown(value)}: expected two numbers, such as {path}={_shown(example)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{path}={_shown(value)}: expected a finite number")
        if isinstance(value, int | float) and path in _LEAST:
            least, most = _LEAST[path], _MOST.get(path)
            if value < least or (most is not None and value > most):
                end = f" and at most {most}" if most is not None else ""
                raise ConfigError(f"{path}={value}: expected at least {least}{end}")


def expect_known(config: DictConfig) -> None:
    """See that a config, not resolved, sets nothing that nothing reads: what has a component is its component's matter.

    Raises:
        ConfigError: a setting that no installed config has there and that no other one refers to: a misspelt one.
    """
    written = OmegaConf.to_container(config, resolve=False)
    assert isinstance(written, dict)
    read = set(_READ.findall(json.dumps(written, default=str)))
    if not read:  # it is resolved, so that nothing says what is read
        return
    for path, names in (("", _TOP), *((group, _names(group)) for group in _PLAIN_GROUPS)):
        for name in (written.get(path) or {}) if path else written:
            place = f"{path}.{name!s}".lstrip(".")
            if name in names or any(known == place or known.startswith(f"{place}.") for known in read):
                continue
            if place == "experiment":
                raise ConfigError(
                    f"experiment={written[place] if isinstance(written[place], str) else '...'}: its settings are in a "
                    "place of their own, where nothing reads them: the first line of its file is "
                    "`# @package _global_`"
                )
            close = difflib.get_close_matches(str(name), names, 1)
            meant = f"is it {f'{path}.{close[0]}'.lstrip('.')}?" if close else f"there are {', '.join(sorted(names))}"
            raise ConfigError(f"{place}: nothing reads this setting; {meant}")


def _names(group: str) -> set[str]:
    return {name for owner, name in _known() if owner == group}


def _fits(kind: str, kinds: frozenset[str]) -> bool:
    if kind == "null":  # an option that is a mapping or a list may be left out
        return bool(kinds & {"null", "mapping", "list", "numbers"})
    return kind in kinds or (kind == "int" and "float" in kinds) or (kind == "numbers" and "list" in kinds)


@cache
def _known() -> dict[Key, tuple[frozenset[str], Any]]:
    """The kinds of every setting in the files of `conf`, and of every default, each with a value as an example."""
    kinds: dict[Key, set[str]] = {}
    examples: dict[Key, Any] = {}
    for component, options in DEFAULTS.items():
        for name, value in options.items():
            kinds.setdefault((component, name), set()).add(_kind(value))
            examples.setdefault((component, name), value)
    for key, values in _NULL_IN_CONF.items():
        kinds.setdefault(key, {"null"}).update(map(_kind, values))
        examples[key] = values[0]
    for file in sorted(CONF.rglob("*.yaml")):
        group = file.relative_to(CONF).parts[0] if file.parent != CONF else ""
        if group == "hydra":
            continue
        start = "" if file.read_text(encoding="utf-8").startswith("# @package _global_") else group
        node: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        for _, key, value in _settings(node, start, _owner(node, start)):
            here = kinds.setdefault(key, set())
            if not (isinstance(value, str) and "${" in value):
                here.add(_kind(value))
                if value is not None:
                    examples.setdefault(key, value)
    return {key: (frozenset(found), examples.get(key)) for key, found in kinds.items()}


def _settings(node: Mapping[str, Any], path: str, owner: str) -> Iterator[tuple[str, Key, Any]]:
    for name, value in node.items():
        place = f"{path}.{name}".lstrip(".")
        if name == "defaults" or name.startswith("_"):
            continue
        yield place, (owner, name), value
        if isinstance(value, Mapping):
            yield from _settings(value, place, _owner(value, place))


def _owner(node: Mapping[str, Any], path: str) -> str:
    target = node.get("_target_")
    return public_name(target) if isinstance(target, str) else path


def _kind(value: Any) -> str:
    if isinstance(value, list) and value and all(_kind(item) in ("int", "float") for item in value):
        return "numbers"
    for kind, name in ((bool, "bool"), (int, "int"), (float, "float"), (Mapping, "mapping"), (list, "list")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "text"


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower().replace("none", "null")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shown(item)}" for key, item in value.items()) + "}"
    return repr(value) if isinstance(value, str) and value.replace(".", "", 1).isdigit() else str(value)
