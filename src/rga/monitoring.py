"""What a run tells while it trains: averages of each epoch, images per second, one line an epoch in the log."""

import logging
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

log = logging.getLogger("rga")


class EpochSeed(Callback):
    """Seed the global generators anew in each epoch, so that what draws from them (dropout, ...) can be resumed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl.seed_everything(hash((self.seed, trainer.current_epoch, trainer.global_rank)) % 2**32, verbose=False)


class Monitor(Callback):
    """Average whatever `training_step` returns over each epoch and keep the curve and the time spent in the checkpoint.

    `curve` is a list of {epoch, lr, images_per_second, <what training_step returns>}; `seconds` counts the training of
    all sessions of a run that was resumed.
    """

    def __init__(self) -> None:
        self.curve: list[dict[str, float]] = []
        self.seconds = 0.0
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._images = 0

    def state_dict(self) -> dict[str, Any]:
        return {"curve": self.curve, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.curve, self.seconds = state_dict["curve"], state_dict["seconds"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._sums, self._steps, self._images, self._started = {}, 0, 0, time.monotonic()
        self._lr = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for name, value in outputs.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._steps += 1
        self._images += len(batch["image"]) * trainer.world_size
        pl_module.log("lr", self._lr, prog_bar=True)
        pl_module.log("images/s", self._images / (time.monotonic() - self._started), prog_bar=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._steps == 0:
            return
        names = sorted(self._sums)
        means = torch.stack([self._sums[name].float() for name in names]) / self._steps
        means = trainer.strategy.reduce(means, reduce_op="mean")
        seconds = time.monotonic() - self._started
        self.seconds += seconds
        entry = {
            "epoch": float(trainer.current_epoch + 1),
            "lr": self._lr,
            "images_per_second": round(self._images / seconds, 2),
            **dict(zip(names, means.tolist(), strict=True)),
        }
        self.curve.append(entry)
        pl_module.log_dict({f"epoch/{name}": entry[name] for name in names}, rank_zero_only=True)
        if trainer.is_global_zero:
            values = "  ".join(f"{name} {entry[name]:.4f}" for name in names)
            log.info(
                "epoch %d/%d  %s  lr %.2e  %.0f images/s",
                trainer.current_epoch + 1, trainer.max_epochs or 0, values, entry["lr"], entry["images_per_second"],
            )  # fmt: skip


def log_to(path: Path | None) -> None:
    """Log to the console and to a file, which a resumed run appends to; only warnings where `path` is None."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
    log.propagate = False
    log.setLevel(logging.INFO if path else logging.WARNING)
    form = logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path is not None:
        handlers.append(logging.FileHandler(path))
    for handler in handlers:
        handler.setFormatter(form)
        log.addHandler(handler)


def quiet() -> None:
    """Silence what Lightning says in every run and what nobody can act on."""
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r"Checkpoint directory .* exists and is not empty",
        r"The number of training batches .* is smaller than the logging interval",
        r".*does not have many workers.*",
        r"`Trainer.fit` stopped.*",
        r"You're resuming from a checkpoint that ended before the epoch ended.*",
        r"`isinstance\(treespec, LeafSpec\)` is deprecated.*",
        r"It is recommended to use `self\.log\(.*sync_dist=True",  # every process computes the same figure
        r"Starting from v1\.9\.0.*tensorboardX.*",
    ):
        warnings.filterwarnings("ignore", message=message)
