"""One run: compose -> build -> fit -> test -> record. Torch is imported only where there is something to do."""

import logging
import shutil
import sys
from contextlib import nullcontext
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rga.compose import ConfigError
from rga.runs import Run

log = logging.getLogger("rga")


def run(config: DictConfig) -> Any:
    """Make the run that a config describes, or go on with it, unless it is finished; the task function of `rga train`.

    Returns:
        The metric that `objective` names, or all metrics: what a sweeper is given.
    """
    resolved: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    this = Run(resolved["paths"]["runs"], resolved)
    result = this.result()
    if result is not None and not resolved["rerun"]:
        print(f"finished before: {this.folder}", file=sys.stderr)
    else:
        result = _execute(config, this)
    objective = resolved["objective"]
    if objective is None or result is None:
        return result and result["metrics"]
    if objective not in result["metrics"]:
        raise ConfigError(f"objective={objective}: the metrics are {', '.join(result['metrics'])}")
    return result["metrics"][objective]


def _execute(config: DictConfig, this: Run) -> dict[str, Any] | None:
    """Train, test and record; None in the processes of a distributed run that do not record."""
    import lightning.pytorch as pl
    from hydra.utils import instantiate
    from lightning.pytorch.utilities import rank_zero_only

    from rga.checkpoints import LAST, AtomicCheckpointIO, EpochCheckpoint, StopWhenDiverged
    from rga.loggers import finished_wandb
    from rga.monitoring import EpochSeed, Monitor, Progress, log_to, quiet
    from rga.network import build, make
    from rga.provenance import provenance
    from rga.speed import tune
    from rga.sync import SyncBatchNorm
    from rga.tables.places import cells_of

    first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    with this.lock() if first else nullcontext(), finished_wandb():
        if first and this.finished:  # so a rerun was asked for
            (this.folder / LAST).unlink(missing_ok=True)
            shutil.rmtree(this.folder / "csv", ignore_errors=True)
            (this.folder / "result.json").unlink()
        quiet()
        log_to(this.folder / "train.log" if first else None)
        log.info("run %s/%d in %s", this.fingerprint, this.seed, this.folder)

        pl.seed_everything(this.seed, workers=True, verbose=False)
        data = make(config.data)
        if first:
            data.prepare_data()  # Lightning would ask for the data only after the network's weights are downloaded
        network, channels = build(config.backbone, config.attention, config.data.size)
        task = make(
            config.task,
            network=network,
            channels=channels,
            optimizer=instantiate(config.recipe.optimizer),
            schedule=instantiate(config.recipe.schedule),
        )
        settings = dict(config.trainer)
        minutes, synchronised = settings.pop("checkpoint_minutes"), settings.pop("sync_batchnorm")
        fast = {option: settings.pop(option) for option in ("channels_last", "compile")}
        monitor = Monitor(config.trainer.log_every_n_steps)
        trainer: pl.Trainer = make(
            settings,
            max_epochs=config.recipe.epochs,
            default_root_dir=str(this.folder),
            logger=[instantiate(logger)(save_dir=this.folder) for logger in config.logger.values()],
            callbacks=[
                EpochSeed(this.seed),
                StopWhenDiverged(config.trainer.log_every_n_steps),
                monitor,
                EpochCheckpoint(this.folder, minutes),
                *([Progress(monitor)] if sys.stderr.isatty() else []),
            ],
            plugins=[AtomicCheckpointIO(), *([SyncBatchNorm()] if synchronised else [])],
            use_distributed_sampler=False,  # the samplers deal the images to the processes themselves
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        _refuse_sweep_of_processes(trainer)
        if settings.get("fast_dev_run") or settings.get("limit_test_batches", 1.0) != 1.0:
            raise ConfigError(
                "a test on some batches is no result: for a quick try use scale=demo or limit_train_batches"
            )
        tune(network, trainer.strategy.root_device, **fast)
        cells = cells_of(this.config)
        for logger in trainer.loggers:
            logger.log_hyperparams({"fingerprint": this.fingerprint, "cells": cells, **this.config})

        last = this.folder / LAST
        if last.exists():
            log.info("going on from %s", last)
        trainer.fit(task, datamodule=data, ckpt_path=str(last) if last.exists() else None, weights_only=True)
        trainer.test(task, datamodule=data, verbose=False)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not first:
            return None
        result = {
            "metrics": metrics,
            "cells": cells,
            "data": data.summary,
            "parameters": sum(parameter.numel() for parameter in task.parameters()),  # with heads and classifiers
            "duration_s": round(monitor.seconds, 1),
            "curve": monitor.curve,
            **provenance(trainer.strategy.root_device, trainer.world_size),
        }
        this.write_result(result)
        log.info("%s", "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        return result


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
