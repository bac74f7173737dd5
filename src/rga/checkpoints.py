"""Checkpoints that a kill at any moment cannot damage, and that never hold a diverged network."""

import os
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint
from torch import Tensor

LAST = "last.ckpt"


class DivergedError(RuntimeError):
    """The loss or a parameter is not finite."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the old checkpoint, syncs, renames.

    Lightning writes to the system's temporary folder and moves the file; where that is another file system, the move
    is a copy and can be cut off in the middle.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.writing")
        with temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


class EpochCheckpoint(Checkpoint):
    """Save `folder/last.ckpt` at the end of an epoch, when the last save is `minutes` ago, and after the last epoch.

    At the end of an epoch only, because everything random in an epoch is a function of the seed and the epoch: a
    resumed run then repeats exactly what the uninterrupted one does.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        self.path = folder / LAST
        self.minutes = minutes
        self.saved = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        last = trainer.current_epoch + 1 == trainer.max_epochs
        due = trainer.strategy.broadcast(last or time.monotonic() - self.saved >= 60 * self.minutes)
        if not due:
            return
        finite = torch.stack([tensor.isfinite().all() for tensor in _floats(pl_module)]).all()
        if not trainer.strategy.reduce_boolean_decision(bool(finite), all=True):
            raise DivergedError(message(trainer, "a parameter"))
        trainer.save_checkpoint(self.path)
        self.saved = time.monotonic()


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
    path = Path(trainer.default_root_dir) / LAST
    left = f"The last good checkpoint is {path}" if path.exists() else "No checkpoint had been saved yet"
    return (
        f"{what} is not finite in epoch {trainer.current_epoch + 1} (step {trainer.global_step}). {left}; a finite run "
        "needs another recipe: a lower recipe.optimizer.lr, a longer warm-up, or trainer.precision=32-true."
    )


def _floats(module: pl.LightningModule) -> list[Tensor]:
    return [tensor for tensor in module.state_dict().values() if tensor.is_floating_point()]
