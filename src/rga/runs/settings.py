"""A run's settings: resolved, with choices that belong together, and where each of them comes from.

What has the last word: the files of the groups < what a network changes of a block < scale < experiment < command line.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from rga.errors import ConfigError
from rga.hydra_internals import unresolved_item
from rga.paths import CONF
from rga.runs.identity import public_name
from rga.runs.kinds import expect_kinds, expect_known

_TASKS = {
    "ReIDData": "ReID", "SceneData": "Segmentation", "ImageData": "Classification", "FolderData": "Classification",
}  # fmt: skip
_WORDS = {"ReID": "re-identification", "Segmentation": "segmentation", "Classification": "classification"}
_GROUPS = ("task", "data", "backbone", "attention", "head", "recipe", "trainer", "logger")
_PATHS = [
    *(("paths", name) for name in ("data", "runs", "cache")),
    *(("data", name) for name in ("root", "table", "cache")),
    ("backbone", "weights"), ("backbone.trunk", "weights"),
]  # fmt: skip
_ABSENT = "absent"
_OWN = ("experiment", "scale")  # layers, not groups of settings


def resolved(config: DictConfig) -> dict[str, Any]:
    """A composed config as plain containers.

    Raises:
        ConfigError: data, a recipe or a head of another task; a value that is missing or refers to nothing.
    """
    _expect_one_task(config)
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key} has no value: give one, {error.full_key}=...") from error
    except InterpolationKeyError as error:
        raise ConfigError(f"{error.full_key}: {str(error).partition(chr(10))[0]}") from error
    except OmegaConfBaseException as error:
        raise ConfigError(str(error)) from error
    assert isinstance(plain, dict)
    return with_home({str(key): value for key, value in plain.items()})


def with_home(config: dict[str, Any]) -> dict[str, Any]:
    """A resolved config whose paths do not begin with ~, as they may in a file; changed in place."""
    for place, name in _PATHS:
        node: Any = config
        for part in place.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict) and isinstance(node.get(name), str):
            node[name] = os.path.expanduser(node[name])  # noqa: PTH111 - without a home it stays
    return config


def _expect_one_task(config: DictConfig) -> None:
    written = OmegaConf.to_container(config, resolve=False)
    task = public_name(str(_raw(written, "task", "_target_") or ""))
    if task not in _WORDS:
        return  # a task of the user's own knows what it takes
    data = _TASKS.get(public_name(str(_raw(written, "data", "_target_") or "")), task)
    name = _raw(written, "data", "name")
    if data != task:
        raise ConfigError(
            f"data={name} is a data set of {_WORDS[data]}, and the task is {_WORDS[task]}. For the data set: "
            f"{_instead(data, f'data={name}', _raw(written, 'data', '_target_'))}. For the task: {_instead(task)}"
        )
    recipe = _WORDS.get(_files().get(str(_raw(written, "recipe", "task")), ""))
    if recipe not in (None, _WORDS[task]):
        raise ConfigError(
            f"the recipe is one for {recipe}, and the task is {_WORDS[task]}. The recipes of the task: {_recipes(task)}"
        )
    head = _raw(written, "head", "_target_")
    if task == "Segmentation" and head is None:
        raise ConfigError(f"segmentation needs a head, head=plain, ppm or aspp: {_instead(task)}")
    if task != "Segmentation" and head is not None:
        raise ConfigError(f"head={public_name(str(head))} is for segmentation, and the task is {_WORDS[task]}")


def _raw(node: Any, group: str, key: str) -> Any:
    """A value of a config in plain containers; None where there is none."""
    part = node.get(group) if isinstance(node, dict) else None
    return part.get(key) if isinstance(part, dict) else None


@cache  # asked at every composition
def _files() -> dict[str, str]:
    """The task's public name by its file in conf/task; a task may have several."""
    paths = sorted((CONF / "task").glob("*.yaml"))
    return {path.stem: public_name(str(OmegaConf.select(OmegaConf.load(path), "_target_"))) for path in paths}


def _instead(task: str, rest: str = "", module: str | None = None) -> str:
    """The commands that have this task; and, of the experiments with data of a module of their own, those with this."""
    wanted = [{"override /task": file} for file, name in _files().items() if name == task]
    found = []
    for path in sorted((CONF / "experiment").glob("*.yaml")):
        chosen: Any = OmegaConf.to_container(OmegaConf.load(path)).get("defaults") or []  # type: ignore[union-attr]
        data = next((choice["override /data"] for choice in chosen if "override /data" in choice), "")
        own = CONF / "data" / f"{data}.yaml"
        theirs = OmegaConf.select(OmegaConf.load(own), "_target_") if own.is_file() else None
        if any(choice in chosen for choice in wanted) and (module is None or theirs in (None, module)):
            found.append(path.stem)
    return " or ".join(" ".join(["rga train", f"experiment={name}", *([rest] if rest else [])]) for name in found)


def _recipes(task: str) -> str:
    paths = sorted((CONF / "recipe").glob("*.yaml"))
    tasks = {path.stem: OmegaConf.select(OmegaConf.load(path), "task") for path in paths}
    return ", ".join(f"recipe={name}" for name, of in tasks.items() if _files().get(of) == task)


@dataclass(frozen=True)
class Setting:
    """A value that differs from the one in its group's file, and the layer that has set it."""

    key: str
    value: Any
    default: Any  # `_ABSENT` where the file has no such key, as a value that was deleted is
    layer: str

    def __str__(self) -> str:
        instead = "" if self.default in (None, _ABSENT) else f" instead of {_text(self.default)}"
        return f"{self.key} is {_text(self.value)}{instead} ({self.layer})"


def explain(overrides: Iterable[str], conf: Path = CONF, config_dir: str | Path | None = None) -> list[str]:
    """Say in lines what is chosen and every value that differs from its group's file, and which layer says so.

    Raises:
        ConfigError: as `rga.runs.compose.compose`.
    """
    from rga.runs.compose import composition
    from rga.runs.repeated import expect_set_at_source

    overrides = list(overrides)
    expect_set_at_source(overrides, conf=conf, config_dir=config_dir)

    def layer(*words: str) -> dict[str, Any]:
        return composition(words, conf=conf, config_dir=config_dir).unresolved

    final = composition(overrides, conf=conf, config_dir=config_dir)
    config = resolved(OmegaConf.create(final.unresolved))  # what makes no sense is not explained
    expect_kinds(config)
    expect_known(OmegaConf.create(final.unresolved))
    root = composition(["~experiment"], conf=conf, config_dir=config_dir).choices
    scale, experiment = final.choices.get("scale") or "paper", final.choices.get("experiment")
    layers = [f"scale={scale}", *([f"experiment={experiment}"] if experiment else [])]
    given = {word.split("=", 1)[0].lstrip("+~") for word in overrides}
    groups = {
        group: choice for group, choice in final.choices.items() if choice and "@" not in group and group not in _OWN
    }
    chosen = [f"{group}={choice}" for group, choice in groups.items()]
    files = layer(*chosen, "scale=paper", "~experiment")
    stages = [
        ("", {**files, "backbone": {key: value for key, value in files["backbone"].items() if key != "rga"}}),
        (f"backbone={groups.get('backbone')}", files),
        (f"scale={scale}", layer(*chosen, f"scale={scale}", "~experiment")),
        *([(f"experiment={experiment}", layer(*chosen, *layers))] if experiment else []),
        ("command line", final.unresolved),
    ]
    lines = []
    for group, choice in sorted(groups.items(), key=lambda item: _place(item[0])):
        shown = str(config[group]["name"]) if "/" in choice else choice  # small/reid stands for another file
        if shown != root.get(group):
            by = "command line" if group in given else f"experiment={experiment}" + f", scale={scale}" * ("/" in choice)
            lines.append(f"{group} is {shown} ({by})")
    lines += [str(setting) for setting in _differing(stages)]
    head = " ".join(reversed(layers))
    odd = _schedule(config["recipe"])
    if not lines:
        return [f"{head}: every value is as its file in conf/ has it", *odd]
    every = "and every other value is as its file in conf/ has it"
    return [f"{head}, where", *(f"  {line}" for line in lines), every, *odd]


def _schedule(recipe: Mapping[str, Any]) -> list[str]:
    """Say where a schedule is longer than the training, as after `recipe.epochs=10` alone."""
    epochs, schedule = recipe["epochs"], recipe.get("schedule") or {}
    if public_name(str(schedule.get("_target_"))) not in ("warmup_steps", "resnet_steps", "cosine"):
        return []  # of the user's own
    warmup, milestones = schedule.get("warmup") or 0, schedule.get("milestones") or []
    found = []
    if warmup >= epochs:
        found.append(f"but the warm-up of {warmup} epochs (recipe.schedule.warmup) is not over after {epochs}")
    if milestones and min(milestones) >= epochs:
        found.append(
            f"but the learning rate never falls: the first of recipe.schedule.milestones is {min(milestones)}, and "
            f"there are {epochs} epochs"
        )
    return found


def _place(group: str) -> int:
    return _GROUPS.index(group) if group in _GROUPS else len(_GROUPS)


def chosen() -> dict[str, str | None]:
    """What each config group of the run that Hydra has started was answered with; empty where it was not."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return {}
    return {str(group): choice for group, choice in HydraConfig.get().runtime.choices.items()}


def explained() -> list[str]:
    """The same of the run that Hydra has started, for its log; nothing where a run was started otherwise."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized() or HydraConfig.get().job.config_name != "train":
        return []
    hydra = HydraConfig.get()
    if any("searchpath" in source.provider for source in hydra.runtime.config_sources):
        return ["configs of hydra.searchpath: which layer says what is told for those of --config-dir alone"]
    folders = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    return explain(hydra.overrides.task, config_dir=folders[0] if folders else None)


def _differing(stages: list[tuple[str, dict[str, Any]]]) -> list[Setting]:
    values = [_flat(_resolved_where_possible(config)) for _, config in stages]
    written = _flat(stages[-1][1])
    every = dict.fromkeys(key for value in (values[-1], values[0]) for key in value)  # there may be some that are gone
    of = {key: [value.get(key, _ABSENT) for value in values] for key in every}
    changed = {key for key in every if of[key][-1] != of[key][0]}
    found = []
    for key in every:
        if key not in changed or key.startswith(("scale.", "backbone.rga.")):
            continue
        gone = of[key][-1] is _ABSENT  # but for what is null now, or a node, whose values are listed
        if gone and any(key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in values[-1]):
            continue
        if _repeats(key, written, changed):
            continue
        last = max(number for number in range(1, len(values)) if of[key][number] != of[key][number - 1])
        found.append(Setting(key, of[key][-1], of[key][0], stages[last][0]))
    return found


def _repeats(key: str, written: Mapping[str, Any], changed: set[str]) -> bool:
    """Whether a value is written as a reference to another one, or to a node around it, which is listed itself."""
    path, rest = key, ""
    while path not in written and "." in path:
        path, _, last = path.rpartition(".")
        rest = f".{last}{rest}"
    source = written.get(path)
    return isinstance(source, str) and source.startswith("${") and source[2:-1] + rest in changed


def _resolved_where_possible(config: Mapping[str, Any]) -> dict[str, Any]:
    """A layer alone may refer to what only a later one brings: that stays as it is written."""
    whole = OmegaConf.create(dict(config))

    def of(node: Any) -> Any:
        if isinstance(node, DictConfig):
            return {str(key): of(_item(node, key)) for key in node}
        return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node

    found = of(whole)
    assert isinstance(found, dict)
    return found


def _item(node: DictConfig, key: Any) -> Any:
    try:
        return node[key]
    except OmegaConfBaseException:
        return unresolved_item(node, key)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return str(value)
