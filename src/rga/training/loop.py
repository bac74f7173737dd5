"""One run: compose -> build -> fit -> test -> record. Torch is imported only where there is something to do."""

import json
import logging
import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from omegaconf import DictConfig

from rga.errors import ConfigError
from rga.files import expect_no_links_out
from rga.lightning_internals import install_no_signal_handlers
from rga.runs import RERUN, RESULT, Run
from rga.runs.index import Index
from rga.runs.inputs import Inputs
from rga.runs.kinds import expect_kinds, expect_known
from rga.runs.settings import chosen, explained, resolved
from rga.training import engine
from rga.training.checks import (
    asked_for,
    expect_finished,
    expect_finite,
    expect_job,
    expect_loggers,
    expect_objective,
    expect_real,
    expect_same,
    refuse_defaults_of_environment,
    refuse_other_launchers,
    refuse_processes_instead_of_gpus,
    trainer_settings,
    warn_of_other_data,
)
from rga.training.reused import compare_reused
from rga.training.signals import StoppedError, not_begun, stopping

log = logging.getLogger("rga")


def run(config: DictConfig) -> Any:
    """Make the run that a config describes, or resume it, unless it is finished; the task function of `rga train`.

    Returns:
        The metric that `objective` names, or all metrics: what a sweeper is given.

    Raises:
        ConfigError: choices that do not belong together, or an option that makes no sense.
        InputsError: the run was made of other data or other weights than are there now.
        UnfinishedError: it ended before its last epoch.
        StoppedError: a signal has ended it.
    """
    plain = resolved(config)
    groups = ("task", "data", "backbone", "recipe", "trainer", "logger")
    if gone := [group for group in groups if plain.get(group) is None]:
        raise ConfigError(f"{gone[0]} has no value: it is one of the files in conf/{gone[0]}")
    if str(plain["data"].get("_target_", "")).startswith("rga.") and "seed" not in plain["data"]:
        raise ConfigError("data.seed has no value: it is the run's, as in the files of conf/data, seed: ${seed}")
    expect_loggers(plain["logger"])
    expect_known(config)
    expect_kinds(plain)
    this = Run(plain["paths"]["runs"], plain)
    expect_job(this)
    settled = False
    if (this.folder / RERUN / RESULT).exists() and engine.rank() == 0 and not this.busy:
        with _claimed(this):
            pass  # a process was killed before the repeated run had taken its predecessor's place
        settled = engine.engine() is None  # of several processes only this one knows
    result = this.result()
    if result is not None and (settled or not plain["rerun"]):
        print(f"finished before: {this.folder}{compare_reused(this)}", file=sys.stderr)
    else:
        with stopping(not_begun):
            result = _execute(config, this)
    return result and asked_for(plain["objective"], result["metrics"])


def _execute(config: DictConfig, this: Run) -> dict[str, Any] | None:
    """Train, test and record; None in the processes of a distributed run that do not record."""
    import lightning.pytorch as pl
    from hydra.utils import get_class, instantiate

    from rga.inspection import forward_flop, parameter_count
    from rga.network import build
    from rga.tables.cells_of_run import cells_of
    from rga.tables.label import label
    from rga.training import world
    from rga.training.checkpoints import (
        LAST,
        AtomicCheckpointIO,
        EpochCheckpoint,
        StopInTime,
        StopWhenDiverged,
        time_limit,
    )
    from rga.training.images import show
    from rga.training.loggers import conclude, finished_wandb, introduce
    from rga.training.monitor import EpochSeed, Monitor, Progress, log_to, quiet
    from rga.training.provenance import of_all, provenance
    from rga.training.speed import Speed, expect_precision, precision_in_force
    from rga.training.state_file import StateFile
    from rga.training.sync import SyncBatchNorm

    engine.follow_parent()
    names = getattr(get_class(config.task._target_), "metric_names", lambda *_: ())
    expect_objective(config.objective, names(config.task, config.data.get("test") or ()))
    quiet()
    pl.seed_everything(this.seed, workers=True, verbose=False)
    refuse_defaults_of_environment()
    settings = world.shared_out(trainer_settings(config))
    given = dict(settings)
    own = {option: settings.pop(option) for option in ("checkpoint_minutes", "sync_batchnorm", "max_time")}
    fast = {option: settings.pop(option) for option in ("channels_last", "compile", "tf32")}
    workplace = this.workplace
    monitor = Monitor(config.trainer.log_every_n_steps)
    checkpoint = EpochCheckpoint(workplace, own["checkpoint_minutes"], this.name)
    state = StateFile(workplace, config.recipe.epochs, monitor, checkpoint)
    trainer: pl.Trainer = _made(
        "trainer",
        settings,
        max_epochs=config.recipe.epochs,
        default_root_dir=str(workplace / "lightning"),  # where Lightning would look for checkpoints of its own kind
        logger=[instantiate(logger)(save_dir=workplace) for logger in config.logger.values()],
        callbacks=[
            EpochSeed(this.seed),
            Speed(**fast),
            StopWhenDiverged(config.trainer.log_every_n_steps),
            monitor,
            state,
            StopInTime(time_limit(own["max_time"])),
            checkpoint,
            *([Progress(monitor)] if sys.stderr.isatty() else []),
        ],
        plugins=[AtomicCheckpointIO(), *world.environment(), *([SyncBatchNorm()] if own["sync_batchnorm"] else [])],
        use_distributed_sampler=False,  # the samplers deal the images to the processes themselves
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    install_no_signal_handlers(trainer)
    refuse_other_launchers(trainer)
    world.expect_one_world(trainer, given)
    refuse_processes_instead_of_gpus(trainer, config.trainer)
    device, precision = trainer.strategy.root_device, str(config.trainer.precision)
    expect_precision(device, precision)
    precision = precision_in_force(device, precision, config.trainer.tf32)
    monitor.session = {"precision": precision, **provenance(device, trainer.world_size)}
    data = _made("data", config.data)
    data.expect_shares(trainer.world_size, trainer.num_nodes)
    first, last = trainer.is_global_zero, workplace / LAST
    if not first:
        state.folder = None

    def claim() -> None:
        held.enter_context(_claimed(this))
        held.enter_context(state)

    def prepare() -> Inputs:
        data.prepare_data()  # Lightning would ask for the data only after the network's weights are downloaded
        expect_real(data)
        expect_same(inputs := _inputs(this, data.index()), last, this.config["rerun"])
        warn_of_other_data(this.config, inputs)
        inputs.write(workplace)
        return inputs

    def elsewhere() -> dict[str, Any]:
        data.prepare_data()
        return _inputs(this, data.index()).summary()

    with ExitStack() as held:
        held.enter_context(stopping(lambda: _where(trainer, checkpoint)))
        held.enter_context(_left_tidy(trainer))
        world.meet(trainer)
        world.together(trainer, claim)
        log_to(workplace / "train.log" if first else None)
        log.info("run %s/%d in %s", this.fingerprint, this.seed, workplace)
        for line in explained() if first else ():
            log.info("%s", line)

        inputs = world.together(trainer, prepare)
        hosts = world.expect_one_disk(trainer, workplace, inputs.summary if first and inputs else elsewhere)
        network, channels = build(config.backbone, config.attention, config.data.size)
        task = _made(
            "task",
            config.task,
            network=network,
            channels=channels,
            optimizer=instantiate(config.recipe.optimizer),
            schedule=instantiate(config.recipe.schedule),
        )
        cells = cells_of(this.config)
        state.fills(cells)
        resumed = world.together(trainer, last.exists)
        if resumed is None:  # in a process that Lightning has started, after the first one had looked
            resumed = last.exists()
        if resumed:
            log.info("resuming from %s", last)
        with finished_wandb():
            for logger in trainer.loggers:
                introduce(
                    logger,
                    label(this.config, cells, chosen()),
                    {"seed": this.seed, "fingerprint": this.fingerprint, "cells": cells, "config": this.config},
                )
            with world.ending_together(trainer, hosts):
                trainer.fit(task, datamodule=data, ckpt_path=str(last) if resumed else None, weights_only=True)
                expect_finished(monitor.curve, config.recipe.epochs, checkpoint.kept())
                trainer.test(task, datamodule=data, verbose=False)
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            if not first:
                return None
            expect_finite(metrics, last)
            assert inputs is not None
            result = {
                "metrics": metrics,
                **({"queries": task.queries} if task.queries else {}),
                "cells": cells,
                "data": data.summary,
                **({"classes": list(data.classes)} if getattr(data, "classes", None) else {}),  # in their order
                "inputs": inputs.summary(),
                "parameters": parameter_count(task),  # with heads and classifiers
                "duration_s": round(monitor.seconds, 1),
                "curve": [{name: _number(value) for name, value in entry.items()} for entry in monitor.curve],
                **of_all([*monitor.sessions, monitor.session]),
                "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            this.write_result(result, workplace)
            facts = {
                "parameters": result["parameters"],
                "flops": forward_flop(task.trained, config.data.size),
                "hours": monitor.seconds / 3600,
                "epoch": config.recipe.epochs,
                "data_digest": json.dumps(result["inputs"], sort_keys=True),
            }
            show(trainer.loggers, task, data, trainer.global_step)
            for logger in trainer.loggers:
                conclude(logger, facts, trainer.global_step)
            log.info("%s", "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        this.settle()
        return result


@contextmanager
def _claimed(this: Run) -> Iterator[None]:
    """Hold the run's folder, in which what a killed process has begun at its very end is completed."""
    with this.lock():
        this.settle()
        expect_no_links_out(this.workplace)
        yield


@contextmanager
def _left_tidy(trainer: Any) -> Iterator[None]:
    """Where the block is left before its end, by a signal or an error, no process is left behind."""
    from rga.training.monitor import note
    from rga.training.world import end_started

    try:
        yield
    except BaseException as error:
        if isinstance(error, StoppedError):
            note(error.line)
        end_started(trainer)
        raise


def _where(trainer: Any, checkpoint: Any) -> str | None:
    """Where a run is when a signal arrives, and what is saved of it; the first process tells it."""
    if not trainer.is_global_zero:
        return None
    if trainer.state.fn == "test":
        place = "while the trained network was tested"
    elif trainer.state.fn == "fit":
        place = f"in epoch {min(trainer.current_epoch + 1, trainer.max_epochs)} of {trainer.max_epochs}"
    else:
        place = "before its first epoch"
    return f"{place}: {checkpoint.kept()}"


def _made(group: str, node: Any, **parts: Any) -> Any:
    from rga.network import component

    try:
        return component(node, **parts)
    except ConfigError as error:
        raise ConfigError(f"{group}: {error}") from error


def _inputs(this: Run, index: Index) -> Inputs:
    try:
        return Inputs.of(this.config, index)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file of weights, and no run, at {error.filename}") from error


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
