"""Keep `state.json` in a run's folder up to date, for `rga status`."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from rga.runs.state import State, read_state
from rga.training.checkpoints import EpochCheckpoint, UnfinishedError
from rga.training.monitor import Monitor
from rga.training.signals import StoppedError


class StateFile(Callback):
    """Tells how far a run is after each epoch, and what has ended its session when that left no result.

    Used as a context around the session and as a callback of its Trainer.

    Args:
        folder: the run's; None in a process that records nothing.
        epochs: how many the run has.
        monitor: what the epochs gave; it is called before.
        checkpoint: how many are saved; Lightning calls it last, so that it is looked at when the next epoch starts.
    """

    def __init__(self, folder: Path | None, epochs: int, monitor: Monitor, checkpoint: EpochCheckpoint) -> None:
        self.folder, self.epochs, self.monitor, self.checkpoint = folder, epochs, monitor, checkpoint
        before = read_state(folder) if folder is not None else None
        cells, epoch, saved = (before.cells, before.epoch, before.saved) if before else ((), 0, 0)
        self.state = State.begun(cells, epochs, epoch, saved)

    def __enter__(self) -> "StateFile":
        self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, StoppedError | UnfinishedError):  # those are no failures
            self.state = self.state.ended(error)
            self._write()

    def fills(self, cells: Sequence[str]) -> None:
        """Say which cells of the tables the run fills."""
        self.state = State.begun(tuple(cells), self.epochs, self.state.epoch, self.state.saved)
        self._write()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.state = State.begun(self.state.cells, self.epochs, trainer.current_epoch, self.checkpoint.epoch)
        self._write()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.monotonic()
        self._look_at_checkpoint()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look_at_checkpoint()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        last = self.monitor.curve[-1] if self.monitor.curve else {}
        told = {
            name: value
            for name, value in last.items()
            if (name == "loss" or name.startswith("val/")) and math.isfinite(value)
        }
        self.state = self.state.after(trainer.current_epoch + 1, time.monotonic() - self._started, told)
        self._write()

    def _look_at_checkpoint(self) -> None:
        if self.state.saved != self.checkpoint.epoch:
            self.state = replace(self.state, saved=self.checkpoint.epoch)
            self._write()

    def _write(self) -> None:
        if self.folder is not None:
            self.state.write(self.folder)
