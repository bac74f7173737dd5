"""One run: compose -> build -> fit -> test -> record. Torch is imported only where there is something to do."""

import json
import logging
import math
import shutil
import sys
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rga.errors import ConfigError, DataError
from rga.runs import RESULT, Run
from rga.runs.identity import starting_weights, weights_file
from rga.runs.inputs import INPUTS, Index, Inputs
from rga.runs.kinds import expect_kinds
from rga.runs.settings import explained, resolved

log = logging.getLogger("rga")


def run(config: DictConfig) -> Any:
    """Make the run that a config describes, or resume it, unless it is finished; the task function of `rga train`.

    Returns:
        The metric that `objective` names, or all metrics: what a sweeper is given.

    Raises:
        ConfigError: choices that do not belong together, or an option that makes no sense.
        InputsError: the run was made of other data or other weights than are there now.
        UnfinishedError: it ended before its last epoch.
    """
    plain = resolved(config)
    expect_kinds(plain)
    this = Run(plain["paths"]["runs"], plain)
    result = this.result()
    if result is not None and not plain["rerun"]:
        print(f"finished before: {this.folder}{compare_reused(this)}", file=sys.stderr)
    else:
        result = _execute(config, this)
    objective = plain["objective"]
    if objective is None or result is None:
        return result and result["metrics"]
    if objective not in result["metrics"]:
        raise ConfigError(f"objective={objective}: the metrics are {', '.join(result['metrics'])}")
    return result["metrics"][objective]


def compare_reused(this: Run) -> str:
    """Compare what a finished run was made of with what is there now; gives what is to be said where that cannot be.

    Synthetic data are a function of the config, which is the run's name; a file of weights is compared all the same.

    Raises:
        InputsError: they are not the same.
    """
    if not (this.folder / INPUTS).exists():
        return ""
    data, weights = this.config["data"], starting_weights(this.config)
    index, gone = None, []
    if data.get("demo") is None:
        if Path(data["root"]).exists():
            index = _index(json.dumps({key: value for key, value in data.items() if key != "seed"}))
        else:
            gone.append(f"its data: nothing is at {data['root']}")
    if weights_file(weights) is not None and not Path(str(weights)).expanduser().exists():
        gone.append(f"its weights: nothing is at {weights}")
        weights = None
    Inputs.of({"backbone": {"weights": weights}}, index).check(this.folder)
    return f" (not compared with {'; nor with '.join(gone)})" if gone else ""


@lru_cache(maxsize=4)  # the finished runs of a sweep are of few data sets
def _index(data: str) -> Index:
    from rga.network import make

    found: Index = make(json.loads(data)).index()
    return found


def _execute(config: DictConfig, this: Run) -> dict[str, Any] | None:
    """Train, test and record; None in the processes of a distributed run that do not record."""
    import lightning.pytorch as pl
    from hydra.utils import instantiate
    from lightning.pytorch.utilities import rank_zero_only

    from rga.network import build
    from rga.tables.cells_of_run import cells_of
    from rga.training.checkpoints import (
        LAST,
        AtomicCheckpointIO,
        EpochCheckpoint,
        StopInTime,
        StopWhenDiverged,
        time_limit,
    )
    from rga.training.loggers import finished_wandb
    from rga.training.monitor import EpochSeed, Monitor, Progress, log_to, quiet
    from rga.training.provenance import provenance
    from rga.training.speed import tune
    from rga.training.state_file import StateFile
    from rga.training.sync import SyncBatchNorm

    first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    state = StateFile(this.folder if first else None, config.recipe.epochs)
    with this.lock() if first else nullcontext(), state, finished_wandb():
        again = first and this.finished  # a rerun was asked for
        quiet()
        log_to(this.folder / "train.log" if first else None)
        log.info("run %s/%d in %s", this.fingerprint, this.seed, this.folder)
        for line in explained() if first else ():
            log.info("%s", line)

        pl.seed_everything(this.seed, workers=True, verbose=False)
        settings = _trainer_settings(config)
        own = {option: settings.pop(option) for option in ("checkpoint_minutes", "sync_batchnorm", "max_time")}
        fast = {option: settings.pop(option) for option in ("channels_last", "compile")}
        monitor = Monitor(config.trainer.log_every_n_steps)
        trainer: pl.Trainer = _made(
            "trainer",
            settings,
            max_epochs=config.recipe.epochs,
            default_root_dir=str(this.folder),
            logger=[instantiate(logger)(save_dir=this.folder) for logger in config.logger.values()],
            callbacks=[
                EpochSeed(this.seed),
                StopWhenDiverged(config.trainer.log_every_n_steps),
                monitor,
                state,
                StopInTime(time_limit(own["max_time"])),
                EpochCheckpoint(this.folder, own["checkpoint_minutes"]),
                *([Progress(monitor)] if sys.stderr.isatty() else []),
            ],
            plugins=[AtomicCheckpointIO(), *([SyncBatchNorm()] if own["sync_batchnorm"] else [])],
            use_distributed_sampler=False,  # the samplers deal the images to the processes themselves
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        _refuse_sweep_of_processes(trainer)
        _refuse_processes_instead_of_gpus(trainer, config.trainer)
        data = _made("data", config.data)
        data.expect_shares(trainer.world_size, trainer.num_nodes)
        inputs = None
        if first:
            data.prepare_data()  # Lightning would ask for the data only after the network's weights are downloaded
            _expect_real(data)
            inputs = _inputs(this, data.index())
            if (this.folder / LAST).exists() and not again:
                inputs.check(this.folder)
        network, channels = build(config.backbone, config.attention, config.data.size)
        task = _made(
            "task",
            config.task,
            network=network,
            channels=channels,
            optimizer=instantiate(config.recipe.optimizer),
            schedule=instantiate(config.recipe.schedule),
        )
        tune(network, trainer.strategy.root_device, **fast)
        if inputs is not None:
            if again:  # and can begin: only now the old run goes
                (this.folder / LAST).unlink(missing_ok=True)
                shutil.rmtree(this.folder / "csv", ignore_errors=True)
                (this.folder / RESULT).unlink()
            inputs.write(this.folder)
        cells = cells_of(this.config)
        state.fills(cells)
        for logger in trainer.loggers:
            logger.log_hyperparams({"fingerprint": this.fingerprint, "cells": cells, **this.config})

        last = this.folder / LAST
        if last.exists():
            log.info("resuming from %s", last)
        trainer.fit(task, datamodule=data, ckpt_path=str(last) if last.exists() else None, weights_only=True)
        _expect_finished(monitor.curve, config.recipe.epochs, last)
        trainer.test(task, datamodule=data, verbose=False)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not first:
            return None
        _expect_finite(metrics, last)
        assert inputs is not None
        result = {
            "metrics": metrics,
            "cells": cells,
            "data": data.summary,
            "inputs": inputs.summary(),
            "parameters": sum(parameter.numel() for parameter in task.parameters()),  # with heads and classifiers
            "duration_s": round(monitor.seconds, 1),
            "curve": [{name: _number(value) for name, value in entry.items()} for entry in monitor.curve],
            **provenance(trainer.strategy.root_device, trainer.world_size),
        }
        this.write_result(result)
        log.info("%s", "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        return result


def _made(group: str, node: Any, **parts: Any) -> Any:
    from rga.network import make

    try:
        return make(node, **parts)
    except ConfigError as error:
        raise ConfigError(f"{group}: {error}") from error


def _expect_real(data: Any) -> None:
    """Refuse synthetic data under the name of real ones: their figures would stand as those of the data set."""
    if data.demo is None and data.synthetic:
        raise DataError(
            f"{data.root} holds synthetic images in the layout of {data.name}, and a run of them says so: scale=demo "
            "writes its own, and data.demo={...} with the options in demo.json there takes these"
        )


def _inputs(this: Run, index: Index) -> Inputs:
    try:
        return Inputs.of(this.config, index)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file of weights at {error.filename}") from error


def _trainer_settings(config: DictConfig) -> dict[str, Any]:
    """The options of Lightning's Trainer, but for those that would make a result what it does not say."""
    settings = {str(option): value for option, value in config.trainer.items()}
    if "max_epochs" in settings:
        raise ConfigError("trainer.max_epochs: how many epochs a run has is recipe.epochs")
    limit = settings.get("limit_test_batches")
    whole = limit is None or (isinstance(limit, float) and limit == 1)  # 1, without the point, is one batch
    if settings.get("fast_dev_run") or not whole:
        raise ConfigError("a test on some batches is no result: for a quick try use scale=demo or limit_train_batches")
    return settings


def _expect_finished(curve: list[dict[str, float]], epochs: int, last: Path) -> None:
    """Refuse to test a network that was not trained to the end, whatever ended it.

    Raises:
        UnfinishedError: the learning curve does not end at the last epoch.
    """
    from rga.training.checkpoints import UnfinishedError

    done = int(curve[-1]["epoch"]) if curve else 0
    if done == epochs == len(curve):
        return
    kept = f"{last} is kept" if last.exists() else "no checkpoint was saved yet"
    raise UnfinishedError(
        f"the run stopped after epoch {done} of {epochs} (trainer.max_time, trainer.max_steps or a callback ended it): "
        f"it is not finished and nothing is recorded; {kept}, and the same command resumes it"
    )


def _expect_finite(metrics: dict[str, float], last: Path) -> None:
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        from rga.training.checkpoints import DivergedError

        raise DivergedError(
            f"{', '.join(bad)} {'is' if len(bad) == 1 else 'are'} not finite, so nothing is recorded. The trained "
            f"network is in {last}; rga data check says whether the data can be tested on"
        )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _refuse_sweep_of_processes(trainer: Any) -> None:
    """Lightning starts further processes by repeating the command line, which under -m is the whole sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

    sweeping = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if sweeping and trainer.num_devices > 1 and isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher):
        raise ConfigError(
            "this launcher runs the jobs of a sweep inside one process, which cannot start the processes of a "
            "distributed run: use hydra/launcher=processes (the default), or trainer.devices=1"
        )


def _refuse_processes_instead_of_gpus(trainer: Any, settings: DictConfig) -> None:
    """Where there is no GPU, `accelerator=auto` takes the CPU, and several devices are as many processes on it."""
    if trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu" and settings.accelerator != "cpu":
        raise ConfigError(
            f"trainer.devices={settings.devices}: PyTorch finds no GPU here. trainer=auto trains on the CPU, "
            "trainer=ddp_cpu in several processes on it"
        )
