"""What a run tells while it trains: averages of each epoch, images per second, one line an epoch in the log."""

import logging
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from torch import Tensor

from rga.training.gates import IMAGES, Seen, blocks_of, see
from rga.training.loggers import begins_anew, log_histograms

log = logging.getLogger("rga")
_NOT_AVERAGES = ("epoch", "lr", "images_per_second")  # of an entry of the curve


class EpochSeed(Callback):
    """Seed the global generators anew in each epoch, so that what draws from them (dropout, ...) can be resumed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl.seed_everything(hash((self.seed, trainer.current_epoch, trainer.global_rank)) % 2**32, verbose=False)


class Monitor(Callback):
    """Average whatever `training_step` returns over each epoch and keep the curve and the time spent in the checkpoint.

    `curve` is a list of {epoch, lr, images_per_second, <what training_step returns>, <what validation logs>, <the
    statistics of the gates, see `rga.training.gates`>};
    `seconds` counts the training of all sessions of a run that was resumed, and `histograms` are the gates' of each
    epoch, kept where a logger will have to be told of them again (`begins_anew`). `sessions` are what they
    computed with.

    The averages are kept on the device and read every `steps` steps and at the end of an epoch: reading makes the host
    wait for the device. (Lightning's `self.log(prog_bar=True)` reads in every step.)

    Lightning hands over "loss" divided by `accumulate_grad_batches`, its parts as they are: here all are of one batch.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.curve: list[dict[str, float]] = []
        self.seconds = 0.0
        self.histograms: list[dict[str, list[int]]] = []
        self.session: dict[str, Any] = {}  # what this session computes with, see `rga.training.provenance`
        self.sessions: list[dict[str, Any]] = []  # those that have trained
        self.latest: dict[str, float] = {}  # for the progress bar
        self._sums: dict[str, Tensor] = {}
        self._read: dict[str, float] = {}  # the sums when they were last read
        self._done = self._images = 0
        self._shows_gates = True
        self._validation: dict[str, float] = {}
        self._validating = 0.0

    def state_dict(self) -> dict[str, Any]:
        kept = {"curve": self.curve, "seconds": self.seconds, "histograms": self.histograms}
        return {**kept, "sessions": self.sessions}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.curve, self.seconds = state_dict["curve"], state_dict["seconds"]
        self.histograms = state_dict.get("histograms", [])  # older checkpoints have none
        self.sessions = state_dict.get("sessions", [])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell of the epochs before, where the loggers of a run that is resumed cannot resume from what they had."""
        if self.session not in self.sessions:
            self.sessions.append(self.session)
        for logger in trainer.loggers:
            if self.curve and begins_anew(logger):
                for number, entry in enumerate(self.curve, start=1):
                    values = {name: value for name, value in entry.items() if name not in _NOT_AVERAGES}
                    named = {name if "/" in name else f"epoch/{name}": value for name, value in values.items()}
                    step = trainer.global_step * number // len(self.curve)
                    logger.log_metrics({**named, "epoch": number}, step=step)
                    if len(self.histograms) == len(self.curve):
                        log_histograms(logger, self.histograms[number - 1], number, step)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._sums, self._read, self._done, self._images = {}, {}, 0, 0
        self._validation, self._validating = {}, 0.0
        self._lr = float(trainer.optimizers[0].param_groups[0]["lr"])
        self._seen: Tensor | None = None  # images of the last batch
        self._norm: Tensor | None = None
        self._gated = self._shows_gates and trainer.is_global_zero and bool(blocks_of(pl_module))
        self._started = time.monotonic()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Take the gradient's norm in the steps that are reported: on the device, and read with the averages."""
        left = self.steps - self._done % self.steps
        if left <= trainer.accumulate_grad_batches:
            gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
            self._norm = torch.nn.utils.get_total_norm(gradients)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for name, value in outputs.items():
            value = value.detach() * (trainer.accumulate_grad_batches if name == "loss" else 1)
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._done += 1
        self._images += len(batch["image"]) * trainer.world_size
        if self._gated:
            self._seen = batch["image"][:IMAGES]
        if self._done % self.steps == 0:
            sums = self._fetch()
            means = {name: (total - self._read.get(name, 0.0)) / self.steps for name, total in sums.items()}
            self._read = sums
            self.latest = {**means, "lr": self._lr, "images/s": self._images / (time.monotonic() - self._started)}
            told = {**self.latest, **self._rates(trainer), **self._memory(pl_module.device)}
            if self._norm is not None:
                told["gradient_norm"] = float(self._norm)
            epoch = trainer.current_epoch + self._done / trainer.num_training_batches
            self._report(trainer, {f"train/{name}": value for name, value in told.items()}, epoch)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validating -= time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validating += time.monotonic()
        found = trainer.callback_metrics.items()
        self._validation = {name: float(value) for name, value in found if name.startswith("val/")}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._done < trainer.num_training_batches:
            return  # it was stopped in the middle of an epoch, which a resumed run begins anew
        names = sorted(self._sums)
        sums = self._fetch()
        means = torch.tensor([sums[name] / self._done for name in names], device=pl_module.device)
        means = trainer.strategy.reduce(means, reduce_op="mean")
        seconds = time.monotonic() - self._started
        self.seconds += seconds
        averages = {**dict(zip(names, means.tolist(), strict=True)), **self._validation}
        entry = {
            "epoch": float(trainer.current_epoch + 1),
            "lr": self._lr,
            "images_per_second": round(self._images / (seconds - self._validating), 2),
            **averages,
        }
        gates = self._gates(trainer, pl_module)
        entry |= gates.values
        self.curve.append(entry)
        told = {f"epoch/{name}": entry[name] for name in names} | self._validation | gates.values
        self._report(trainer, told, entry["epoch"])
        for logger in trainer.loggers:
            log_histograms(logger, gates.histograms, trainer.current_epoch + 1, trainer.global_step)
        if any(map(begins_anew, trainer.loggers)):
            self.histograms.append(gates.histograms)
        if trainer.is_global_zero:
            values = "  ".join(f"{name} {value:.4f}" for name, value in averages.items())
            log.info(
                "epoch %d/%d  %s  lr %.2e  %.0f images/s",
                trainer.current_epoch + 1, trainer.max_epochs or 0, values, entry["lr"], entry["images_per_second"],
            )  # fmt: skip

    def _fetch(self) -> dict[str, float]:
        """The sums on the host, in one transfer."""
        return dict(
            zip(self._sums, torch.stack([value.double() for value in self._sums.values()]).tolist(), strict=True)
        )

    def _gates(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Seen:
        if self._seen is None:
            return Seen({}, {})
        try:
            with trainer.precision_plugin.forward_context():
                return see(pl_module, self._seen)
        except Exception as error:  # of a block of somebody's own, say: a look at a run must not end it
            self._shows_gates = False
            log.warning("the gates are not logged: %s: %s", type(error).__name__, error)
            return Seen({}, {})

    @staticmethod
    def _rates(trainer: pl.Trainer) -> dict[str, float]:
        """The learning rates of the groups after the first, whose is `lr`."""
        groups = trainer.optimizers[0].param_groups[1:]
        return {f"lr_{group.get('name', number)}": float(group["lr"]) for number, group in enumerate(groups, 2)}

    @staticmethod
    def _memory(device: torch.device) -> dict[str, float]:
        """The most that was allocated so far, in MiB; the host knows it."""
        return {"memory_mib": torch.cuda.max_memory_allocated(device) / 2**20} if device.type == "cuda" else {}

    @staticmethod
    def _report(trainer: pl.Trainer, values: dict[str, float], epoch: float) -> None:
        for logger in trainer.loggers:
            logger.log_metrics({**values, "epoch": epoch}, step=trainer.global_step)
            logger.save()


class Progress(TQDMProgressBar):
    """Lightning's bar with the metrics that the monitor read last."""

    def __init__(self, monitor: Monitor) -> None:
        super().__init__()
        self.monitor = monitor

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        return {name: f"{value:.3g}" for name, value in self.monitor.latest.items()}


def log_to(path: Path | None) -> None:
    """Log to the console and to a file, which a resumed run appends to; only warnings where `path` is None."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
    log.propagate = False
    log.setLevel(logging.INFO if path else logging.WARNING)
    form = logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path))
    for handler in handlers:
        handler.setFormatter(form)
        log.addHandler(handler)


def note(line: str) -> None:
    """Add a line to the file of the log, that has been told already."""
    for handler in log.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(log.makeRecord(log.name, logging.INFO, "", 0, line, (), None))


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
        r"It is recommended to use `self\.log\(.*sync_dist=True",  # every process computes the same metric
        r"Starting from v1\.9\.0.*tensorboardX.*",
        r"The `srun` command is available on your system but is not used.*",
    ):
        warnings.filterwarnings("ignore", message=message)
