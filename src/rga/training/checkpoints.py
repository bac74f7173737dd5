"""Checkpoints that a kill at any moment cannot damage, and that never hold a diverged network."""

import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint
from torch import Tensor

from rga.backbones.weights import read_checkpoint
from rga.errors import ConfigError
from rga.files import LAST, atomic_file
from rga.runs.checkpoint_run import other_run, with_run

# What a run is resumed from.
_NEEDED = {"state_dict", "epoch", "global_step", "loops", "callbacks", "optimizer_states", "lr_schedulers"}
_ANEW = "Nothing is resumed from it: put a good copy in its place, or remove it, and the run begins anew"


class DivergedError(RuntimeError):
    """The loss or a parameter is not finite."""


class UnfinishedError(RuntimeError):
    """A run ended before its last epoch; the same command resumes it."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the old checkpoint, syncs, renames.

    Lightning writes to the system's temporary folder and moves the file; where that is another file system, the move
    is a copy and can be cut off in the middle.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with atomic_file(Path(path)) as file:  # the run is locked: no other process writes it
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """A run's own checkpoint as data: tensors and plain containers, whatever Lightning asks for.

        Raises:
            ConfigError: it is damaged, or no checkpoint of a run.
        """
        try:
            content = read_checkpoint(Path(path))
        except ValueError as error:
            raise ConfigError(f"{error}. {_ANEW}") from error
        if not isinstance(content, dict) or (missing := _NEEDED - content.keys()):
            lacks = f": it lacks {', '.join(sorted(missing))}" if isinstance(content, dict) else ""
            raise ConfigError(f"{path} is no checkpoint of a run{lacks}. {_ANEW}")
        return content


class EpochCheckpoint(Checkpoint):
    """Save `folder/last.ckpt` at the end of an epoch, when the last save is `minutes` ago, and after the last epoch.

    At the end of an epoch only, because everything random in an epoch is a function of the seed and the epoch: a
    resumed run then repeats exactly what the uninterrupted one does.

    Args:
        folder: where the run is made.
        minutes: between two saves, at least.
        run: FINGERPRINT/SEED, which the checkpoint keeps: another run's is not resumed.
    """

    def __init__(self, folder: Path, minutes: float, run: str) -> None:
        self.path = folder / LAST
        self.minutes = minutes
        self.run = run
        self.epoch = 0  # the last one that is saved, counted from 1
        self.saved = time.monotonic()
        self.done = 0  # batches of the epoch

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint |= with_run(self.run)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if (other := other_run(checkpoint, self.run)) is not None:
            raise ConfigError(f"{self.path} is of run {other}, not of {self.run}. {_ANEW}")
        self.epoch = checkpoint["epoch"] + 1

    def kept(self) -> str:
        """What a run that is left now can be resumed from, and how."""
        if self.epoch:
            return f"epoch {self.epoch} is saved in {self.path}, and the same command resumes it"
        if self.path.exists():  # and is not loaded yet
            return f"{self.path} is kept, and the same command resumes it"
        return "no epoch is saved yet, and the same command begins it anew"

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.done = batch_idx + 1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.done < trainer.num_training_batches:
            return  # it was stopped in the middle of an epoch
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        due = trainer.strategy.broadcast(last or time.monotonic() - self.saved >= 60 * self.minutes)
        if not due:
            return
        finite = torch.stack([tensor.isfinite().all() for tensor in _floats(pl_module)]).all()
        if not trainer.strategy.reduce_boolean_decision(bool(finite), all=True):
            raise DivergedError(message(trainer, "a parameter"))
        trainer.save_checkpoint(self.path)
        self.epoch = trainer.current_epoch + 1
        self.saved = time.monotonic()


class StopInTime(Callback):
    """Stop at the end of the first epoch that ends after `limit`, counted from the start of this session."""

    def __init__(self, limit: timedelta | None) -> None:
        self.limit = limit
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.limit is None:
            return
        over = time.monotonic() - self.started >= self.limit.total_seconds()
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(over or trainer.should_stop, all=False)


def time_limit(text: str | None) -> timedelta | None:
    """Read `trainer.max_time`, DD:HH:MM:SS.

    >>> time_limit("00:01:30:00")
    datetime.timedelta(seconds=5400)

    Raises:
        ConfigError: it is no such text.
    """
    if text is None:
        return None
    if not (found := re.fullmatch(r"(\d+):(\d\d):(\d\d):(\d\d)", str(text))):
        raise ConfigError(f"trainer.max_time={text}: expected DD:HH:MM:SS, such as 00:08:30:00 for 8.5 hours")
    days, hours, minutes, seconds = map(int, found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


class StopWhenDiverged(Callback):
    """Stop a run whose loss is not finite, before its last good checkpoint is overwritten.

    The check is accumulated on the device and read only every `steps` steps and at the end of an epoch: reading each
    step would make the host wait for the device.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.bad: Tensor | None = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        bad = ~outputs["loss"].detach().isfinite()
        self.bad = bad if self.bad is None else self.bad | bad
        if (batch_idx + 1) % self.steps == 0:
            self._check(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check(trainer)

    def _check(self, trainer: pl.Trainer) -> None:
        bad = self.bad is not None and bool(self.bad)
        self.bad = None
        if trainer.strategy.reduce_boolean_decision(bad, all=False):
            raise DivergedError(message(trainer, "the loss"))


def message(trainer: pl.Trainer, what: str) -> str:
    """Say where a run diverged, what is left and what to try."""
    path = next((callback.path for callback in trainer.callbacks if isinstance(callback, EpochCheckpoint)), None)  # type: ignore[attr-defined]
    left = f"The last good checkpoint is {path}" if path and path.exists() else "No checkpoint had been saved yet"
    return (
        f"{what} is not finite in epoch {trainer.current_epoch + 1} (step {trainer.global_step}). {left}; a finite run "
        "needs another recipe: a lower recipe.optimizer.lr, a longer warm-up, or trainer.precision=32-true."
    )


def _floats(module: pl.LightningModule) -> list[Tensor]:
    return [tensor for tensor in module.state_dict().values() if tensor.is_floating_point()]
