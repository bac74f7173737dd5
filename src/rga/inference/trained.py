"""Networks with trained weights, for evaluation: of a finished run, a checkpoint, or a file of the authors' code.

The run may be anybody's: see `rga.runs.foreign`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from rga.backbones.weights import fill, read_checkpoint, state_dict_of
from rga.errors import ConfigError
from rga.files import LAST, weights_path
from rga.interop import load_reference_model
from rga.network import build, component
from rga.paths import CONF
from rga.runs import RESULT, determines_result, read_result
from rga.runs.checkpoint_run import other_run
from rga.runs.compose import compose
from rga.runs.foreign import vetted
from rga.runs.kinds import expect_kinds
from rga.runs.paths_in_overrides import quoted
from rga.tasks.task import Task

_CHANGEABLE = ("data", "task", "trainer", "paths")  # of a finished run; the rest is what its weights are of
_AUTHORS = ("feat_bn.", "cls.", "backbone.rga_att")  # names that only the authors' model has


@dataclass(frozen=True)
class Trained:
    """A task with its weights, in evaluation mode on the CPU.

    Args:
        task: rebuilt from its config.
        config: of its run, with overrides applied.
        weights: the file that they are from.
        epoch: of which they are, where the file says it.
        authors: whether the file is of the authors' code.
        own_data: whether it is of a finished run, and `config` names the run's own data.
        recorded_root: whether where the data lie is what the run has recorded, and nobody's choice here.
        asked: the overrides of a single value of the data or the task, which a test's metrics are to be read with.
    """

    task: Task
    config: DictConfig
    weights: Path
    epoch: int | None
    authors: bool
    own_data: bool
    recorded_root: bool
    asked: tuple[str, ...] = ()

    @property
    def network(self) -> str:
        """Backbone and attention in words, such as `resnet50 + RGASC`."""
        block = self.config.attention.block
        return self.config.backbone.name + (f" + {block._target_.rpartition('.')[2]}" if block else "")


def load(what: Path, overrides: Sequence[str] = (), kind: type[Task] = Task, config_dir: Path | None = None) -> Trained:
    """Rebuild what was trained.

    Args:
        what: the folder of a finished run, `runs/<fingerprint>/<seed>`; or a file: a run's `last.ckpt`, or a checkpoint
            of the authors' code for re-ID (`checkpoint_600.pth.tar`, with or without DataParallel's `module.`).
        overrides: of a run's config: `data=NAME` and `scale=NAME` choose other data, which then have the run's size;
            `data.X=`, `task.X=` and `trainer.X=` change single values. For a file that lies outside of its finished run
            they say which network it is of, as for `rga train`; the authors' is by default `attention=rga_sc`.
        kind: the task that is expected.
        config_dir: a further folder of configs, whose components are built as the installed ones are.

    Raises:
        ConfigError: no finished run, no such file, one that is damaged or of another network or task, a component that
            no config names, an override that names nothing.
    """
    if what.is_dir():
        recorded = read_result((what / RESULT).absolute())
        what = weights_path(what)
        if recorded is None:
            raise ConfigError(f"{what.with_name(RESULT)} is damaged, or is not of this folder's run")
    else:
        recorded = read_result((what.parent / RESULT).absolute()) if what.name == LAST else None
    config: DictConfig | None = None
    if recorded is not None:
        folders = [CONF, *([config_dir] if config_dir else [])]
        config = OmegaConf.create(vetted(recorded.get("config"), folders, what.with_name(RESULT)))
    state, epoch = _read(what, recorded)
    authors = any(name.startswith(_AUTHORS) for name in state)
    own = None if config is None else config.data.name
    if config is None:
        words = [*(["attention=rga_sc"] if authors else []), *overrides]
        config = OmegaConf.create(compose(words, config_dir=config_dir))
    else:
        config = _changed(config, overrides, config_dir)
    expect_kinds(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    chosen = any(word.lstrip("+").startswith(("data=", "data.root=", "data.table=", "scale=")) for word in overrides)
    task = _build(config)
    if not isinstance(task, kind):
        raise ConfigError(f"{what} is of a run of {type(task).__name__}, expected one of {kind.__name__}")
    _fill(task, state, config, what, authors)
    own_data = own is not None and own == config.data.name
    keys = {word: word.lstrip("+").partition("=")[0] for word in overrides}
    asked = tuple(word for word, key in keys.items() if key.startswith(("data.", "task.")) and determines_result(key))
    recorded_root = recorded is not None and not chosen
    return Trained(task.eval(), config, what, epoch, authors, own_data, recorded_root, asked)


def _read(file: Path, recorded: Mapping[str, Any] | None) -> tuple[dict[str, Tensor], int | None]:
    """Tensors by name, see `state_dict_of`; and the epoch, counted from 1, that the file says it is of.

    `recorded` is the result beside it, if it is a run's: a checkpoint of another run, or of an epoch before the last
    one, is not what that is of (two folders may have been copied into one another).
    """
    try:
        content = read_checkpoint(file)
        state = state_dict_of(content, file)
    except FileNotFoundError:
        raise ConfigError(f"no run and no checkpoint at {file.absolute()}") from None
    except ValueError as error:
        raise ConfigError(str(error)) from error
    epoch = content.get("epoch") if isinstance(content, Mapping) else None
    if isinstance(epoch, int) and "pytorch-lightning_version" in content:
        epoch += 1  # Lightning counts from 0
    if recorded is not None and isinstance(content, Mapping):
        run, epochs = "{fingerprint}/{seed}".format(**recorded), (recorded["config"].get("recipe") or {}).get("epochs")
        if (other := other_run(content, run)) is not None:
            raise ConfigError(f"{file} is of run {other}, the result beside it of {run}")
        if isinstance(epoch, int) and isinstance(epochs, int) and epoch != epochs:
            raise ConfigError(f"{file} is of epoch {epoch}, the result beside it of a run of {epochs} epochs")
    return state, epoch if isinstance(epoch, int) else None


def _build(config: DictConfig) -> Task:
    for node in (config.backbone, config.backbone.trunk):
        if "weights" in node:
            node.weights = None  # the checkpoint has them
    network, channels = build(config.backbone, config.attention, config.data.size)
    try:
        task: Task = component(config.task, network=network, channels=channels, optimizer=None, schedule=None)
    except ConfigError as error:
        raise ConfigError(f"task {config.task._target_.rpartition('.')[2]}: {error}") from error
    return task


def _fill(task: Task, state: dict[str, Tensor], config: DictConfig, file: Path, authors: bool) -> None:
    """Load the weights, in double precision where they were trained in it."""
    height, width = config.data.size
    try:
        classifier = {"classifier.weight": state["cls.weight"]} if "cls.weight" in state else {}
        task.complete(classifier if authors else state, (height, width))
        if any(tensor.dtype == torch.float64 for tensor in state.values()):
            task.double()
        if authors:
            load_reference_model(task, state)
        else:
            fill(task.state_dict(), state)
    except (ValueError, KeyError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError(
            f"{file} is of another network than backbone={config.backbone.name} with "
            f"attention.after={list(config.attention.after)}, data.size={list(config.data.size)}: {reason}\n"
            f"{_hint(state, file)}"
        ) from error


def _hint(state: Mapping[str, Tensor], file: Path) -> str:
    """What to do with a file that does not fit."""
    start = f"Its backbone can be the start of a training: backbone.weights={file}"
    if any(name.startswith("heads.") for name in state) and any(name.startswith("backbone.") for name in state):
        return f"These are fast-reid's names: that is another network, which pools and embeds otherwise. {start}"
    if not any(name.startswith("backbone.") for name in state):
        return f"These are the names of a network alone, as torchreid's or torchvision's files have them. {start}"
    return "Overrides (attention=..., backbone=..., scale=...) say which network a file is of."


def _changed(config: DictConfig, overrides: Sequence[str], config_dir: Path | None) -> DictConfig:
    """A finished run's config, which is resolved, with overrides."""
    try:
        parsed = OverridesParser.create().parse_overrides(quoted(overrides))
    except HydraException as error:
        raise ConfigError(str(error)) from error
    choices = [override for override in parsed if override.key_or_group in ("data", "scale")]
    values = [override for override in parsed if override not in choices]
    for override in values:
        group, dot, _ = override.key_or_group.partition(".")
        if group not in _CHANGEABLE or not dot or override.is_sweep_override() or override.is_delete():
            raise ConfigError(
                f"{override.input_line}: a finished run is tested as it is, but for data=NAME, scale=NAME and values "
                f"such as {', '.join(f'{name}.X=...' for name in _CHANGEABLE)}"
            )
    for override in values:
        if not override.key_or_group.startswith("data."):
            _set(config, override)
    if choices:
        config.data = _other_data(config, [str(override.input_line) for override in choices], config_dir)
    for override in values:
        if override.key_or_group.startswith("data."):
            _set(config, override)
    return config


def _other_data(config: DictConfig, choices: list[str], config_dir: Path | None) -> DictConfig:
    """The node `data` of other data, in the size that the network is for; what it refers to is the run's."""
    folders = [folder for folder in (CONF, config_dir) if folder]
    paths = [path for folder in folders for path in sorted((folder / "task").glob("*.yaml"))]
    tasks: dict[str, list[str]] = {}
    for path in paths:
        tasks.setdefault(str(OmegaConf.select(OmegaConf.load(path), "_target_")), []).append(path.stem)
    files = tasks[config.task._target_]
    task = config.recipe.get("task") if config.recipe.get("task") in files else files[0]
    same = [] if any(choice.startswith("data=") for choice in choices) else [f"data={config.data.name}"]
    if same and not any((folder / "data" / f"{config.data.name}.yaml").is_file() for folder in folders):
        raise ConfigError(
            f"{' '.join(choices)}: of which data set? The run's own, {config.data.name}, has no config here"
        )
    fresh = compose([f"task={task}", *same, *choices], config_dir=config_dir, resolve=False)["data"]
    if fresh["_target_"] != config.data._target_:
        raise ConfigError(
            f"{' '.join(choices)}: the run needs data of {config.data._target_.rpartition('.')[2]}, these are of "
            f"{fresh['_target_'].rpartition('.')[2]}"
        )
    fresh["size"] = list(config.data.size)
    whole = OmegaConf.merge({key: config[key] for key in config if key != "data"}, {"data": fresh})
    try:
        resolved = OmegaConf.to_container(whole.data, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{' '.join(choices)} does not fit this run: {error}") from error
    return OmegaConf.create(resolved)  # type: ignore[return-value]


def _set(config: DictConfig, override: Override) -> None:
    """One `key=value`; as with Hydra, `+` adds a key that is not there, `++` does either."""
    adds = override.is_add() or override.is_force_add()
    OmegaConf.set_struct(config, True)
    try:
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True, force_add=adds)
    except (OmegaConfBaseException, AttributeError, TypeError) as error:
        first = str(error).partition("\n")[0]
        raise ConfigError(f"{override.input_line}: {first} (+{override.input_line} adds a key)") from error
    finally:
        OmegaConf.set_struct(config, False)
