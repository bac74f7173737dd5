"""What a run is refused for: before it begins, when it is resumed, and before its result is written."""

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rga.errors import ConfigError, DataError
from rga.runs import Run
from rga.runs.identity import is_name
from rga.runs.inputs import Inputs, InputsError
from rga.runs.published import unpublished
from rga.tables.against import lower_is_better

log = logging.getLogger("rga")

# Where Hydra's sweepers that search say so (those of Optuna, Nevergrad and Ax), and whether a value of it minimizes.
_SEARCHES: Mapping[str, Callable[[Any], bool]] = {
    "direction": lambda value: str(getattr(value, "name", value)) == "minimize",
    "optim.maximize": lambda value: not value,
    "ax_config.experiment.minimize": bool,
}

# Options of `conf/trainer` that are ours, not Lightning's.
OWN = ("checkpoint_minutes", "sync_batchnorm", "max_time", "channels_last", "compile", "tf32")


def expect_job(this: Run) -> None:
    """See that a job of Hydra's is the run that its sweep or plan has asked for, which gives it the run's name.

    Raises:
        ConfigError: the job's command composes to another run, or what `expect_search` and
            `refuse_another_working_directory` refuse.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized():
        return
    hydra = HydraConfig.get()
    refuse_another_working_directory(hydra)
    if hydra.mode == RunMode.MULTIRUN:
        expect_search(this.config["objective"], hydra)
    asked = str(hydra.job.name)
    if is_name(asked) and asked != this.name:
        raise ConfigError(
            f"this would be run {this.name}, and {asked} was to be made: the configs or the sources have changed since "
            "the sweep or the plan was begun, so nothing is done"
        )


def expect_search(objective: str | None, hydra: DictConfig) -> None:
    """See that a sweeper that searches is given a metric, and looks for the right end of it.

    Args:
        objective: of the job's config.
        hydra: the node `hydra` of its config.

    Raises:
        ConfigError: there is no objective, or the search is for the worst value of it.
    """
    for path, minimizes in _SEARCHES.items():
        value = OmegaConf.select(hydra.sweeper, path)
        if value is None or OmegaConf.is_config(value):  # not this sweeper; or several directions
            continue
        if objective is None:
            raise ConfigError("a search is for the best value of one metric: objective=METRIC, such as objective=map")
        if minimizes(value) != lower_is_better(objective):
            best = "lower" if lower_is_better(objective) else "higher"
            raise ConfigError(
                f"the search is for the worst {objective}, whose {best} value is the better one: "
                f"hydra.sweeper.{path} is {getattr(value, 'name', value)}"
            )


def refuse_another_working_directory(hydra: DictConfig) -> None:
    """Hydra can give a job a working directory, in which relative paths would be others than in the next command."""
    if hydra.job.chdir:
        raise ConfigError(
            "hydra.job.chdir=true: runs and data have folders of their own, paths.runs=FOLDER and paths.data=FOLDER, "
            "and all paths are relative to where the command is given"
        )


def expect_same(inputs: Inputs, last: Path, rerun: bool) -> None:
    """See that what is resumed was made of the same; where a run is to be made anew, it is not resumed if it was not.

    Images that are only tested on may be others: one of them may have been what the run ended at, and was mended. Only
    the curve has metrics of the earlier ones.

    Raises:
        InputsError: it was trained on other inputs.
    """
    if not last.exists():
        return
    try:
        if (found := inputs.unlike(last.parent)) and not inputs.to_train.unlike(last.parent, whole=False):
            log.warning("resuming with other images to test on than before: %s", "; ".join(found))
        elif found:
            inputs.check(last.parent)
    except InputsError:
        if not rerun:
            raise
        log.info("%s is of other inputs: the run is begun anew", last)
        last.unlink()


def warn_of_other_data(config: Mapping[str, Any], inputs: Inputs) -> None:
    if other := unpublished(config, inputs.summary().get("data") or {}):
        data = config["data"]
        log.warning("%s in %s is %s. data.name=NAME gives it a name of its own", data["name"], data["root"], other)


def expect_loggers(loggers: Mapping[str, Any]) -> None:
    """See that each is whole, and lets a run give it its folder.

    Raises:
        ConfigError: one is not.
    """
    for name, logger in loggers.items():
        if "_target_" not in (logger or {}):
            raise ConfigError(f"logger.{name} is no whole logger: choose it as well, logger={name}")
        if not logger.get("_partial_"):
            raise ConfigError(f"logger.{name} is made by the run, with its folder as save_dir: add _partial_: true")


def expect_real(data: Any) -> None:
    """Refuse synthetic data under the name of real ones: their metrics would stand as those of the data set."""
    if data.demo is None and data.synthetic:
        raise DataError(
            f"{data.root} holds synthetic images in the layout of {data.name}, and a run of them says so: scale=demo "
            "writes its own, and data.demo={...} with the options in demo.json there takes these"
        )


def expect_objective(objective: str | None, metrics: Sequence[str]) -> None:
    """See, before a run begins, that the metric which a sweeper is to be given is one that the task has.

    Raises:
        ConfigError: it is none of them.
    """
    if objective is None or not metrics or objective in metrics:
        return
    if objective.startswith("iou/") and "miou" in metrics:  # the data say which classes there are
        return
    raise ConfigError(f"objective={objective}: the metrics are {', '.join(metrics)}")


def asked_for(objective: str | None, metrics: Mapping[str, float]) -> Any:
    """What a sweeper is given of a result: the metric that it asks for, or all.

    Raises:
        ConfigError: it is none of them.
    """
    if objective is None:
        return metrics
    if objective not in metrics:
        raise ConfigError(f"objective={objective}: the metrics are {', '.join(metrics)}")
    return metrics[objective]


def refuse_defaults_of_environment() -> None:
    """Lightning takes options of its Trainer from the environment as well, of which no config and no name would tell.

    Raises:
        ConfigError: one of these variables is set.
    """
    if found := sorted(name for name, value in os.environ.items() if name.startswith("PL_TRAINER_") and value):
        option = found[0].removeprefix("PL_TRAINER_").lower()
        raise ConfigError(
            f"the environment has {', '.join(found)}, by which Lightning would make another run than its config says: "
            f"unset {found[0]}, and give +trainer.{option}=... if it is meant"
        )


def trainer_settings(config: DictConfig) -> dict[str, Any]:
    """The options of Lightning's Trainer, but for those that would make a result what it does not say."""
    settings = {str(option): value for option, value in config.trainer.items()}
    if gone := [option for option in OWN if option not in settings]:
        raise ConfigError(f"trainer.{gone[0]} has no value: give one, trainer.{gone[0]}=...")
    if "max_epochs" in settings:
        raise ConfigError("trainer.max_epochs: how many epochs a run has is recipe.epochs")
    if settings.get("overfit_batches"):
        raise ConfigError("trainer.overfit_batches: for a training on some batches, trainer.limit_train_batches")
    refuse_test_of_a_part(settings)
    return {**settings, "accelerator": accelerator(settings.get("accelerator"))}


def refuse_test_of_a_part(settings: Mapping[str, Any]) -> None:
    limit = settings.get("limit_test_batches")
    whole = limit is None or (isinstance(limit, float) and limit == 1)  # 1, without the point, is one batch
    if settings.get("fast_dev_run") or not whole:
        raise ConfigError("a test on some batches is no result: for a quick try use scale=demo or limit_train_batches")


def accelerator(name: Any) -> Any:
    """What Lightning is asked for: "auto" is a GPU or the CPU, and no GPU of Apple's, on which nothing here was tried.

    Raises:
        ConfigError: it is one of Apple's.
    """
    if name == "mps":
        raise ConfigError("trainer.accelerator=mps: runs on Apple's GPUs are not supported, trainer.accelerator=cpu is")
    if name != "auto":
        return name
    import torch

    return "cpu" if torch.backends.mps.is_available() else name


def expect_finished(curve: list[dict[str, float]], epochs: int, kept: str) -> None:
    """Refuse to test a network that was not trained to the end, whatever ended it.

    Raises:
        UnfinishedError: the learning curve does not end at the last epoch.
    """
    from rga.training.checkpoints import UnfinishedError

    done = int(curve[-1]["epoch"]) if curve else 0
    if done == epochs == len(curve):
        return
    raise UnfinishedError(
        f"the run stopped after epoch {done} of {epochs} (trainer.max_time, trainer.max_steps or a callback ended it): "
        f"it is not finished and nothing is recorded; {kept}"
    )


def expect_finite(metrics: dict[str, float], last: Path) -> None:
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        from rga.training.checkpoints import DivergedError

        raise DivergedError(
            f"{', '.join(bad)} {'is' if len(bad) == 1 else 'are'} not finite, so nothing is recorded. The trained "
            f"network is in {last}; rga data check says whether the data can be tested on"
        )


def refuse_other_launchers(trainer: Any) -> None:
    """Refuse how further processes would be started, where that is no way for this run.

    Lightning starts them by repeating the command line, which under -m is the whole sweep, or by pickling the run.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher, _SubprocessScriptLauncher

    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise ConfigError(
            "trainer.strategy: a run cannot be sent to processes that are spawned or forked. trainer=ddp trains on all "
            "GPUs, trainer=ddp_cpu in several processes on the CPU"
        )
    sweeping = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if sweeping and trainer.num_devices > 1 and isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher):
        raise ConfigError(
            "this launcher runs the jobs of a sweep inside one process, which cannot start the processes of a "
            "distributed run: use hydra/launcher=processes (the default), or trainer.devices=1"
        )


def refuse_processes_instead_of_gpus(trainer: Any, settings: DictConfig) -> None:
    """Where there is no GPU, `accelerator=auto` takes the CPU, and several devices are as many processes on it."""
    if trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu" and settings.accelerator != "cpu":
        raise ConfigError(
            f"trainer.devices={settings.devices}: PyTorch finds no GPU here. trainer=auto trains on the CPU, "
            "trainer=ddp_cpu in several processes on it"
        )
