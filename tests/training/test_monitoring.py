"""What a run tells while it trains: the averages are right, and reading them costs the training loop nothing."""

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from rga.tasks import Classification
from rga.training.checkpoints import StopWhenDiverged
from rga.training.monitor import EpochSeed, Monitor

STEPS, EPOCHS = 12, 2


class Reads(TorchDispatchMode):
    """Counts what makes the host wait for the device: reading a tensor, and results whose size is not known before."""

    WAIT = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::equal")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.name().startswith(self.WAIT)
        return func(*args, **(kwargs or {}))


class Data(pl.LightningDataModule):
    num_classes = 3

    def batches(self) -> list[dict[str, torch.Tensor]]:
        random = torch.Generator().manual_seed(0)
        return [
            {"image": torch.randn(4, 3, 6, 6, generator=random), "label": torch.randint(3, (4,), generator=random)}
            for _ in range(STEPS)
        ]

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.batches(), batch_size=None)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.batches()[:2], batch_size=None)  # type: ignore[arg-type]


def task() -> Classification:
    torch.manual_seed(0)
    return Classification(
        network=nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
        channels=4,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        schedule=lambda epoch: 0.5 ** int(epoch),
    )


class EachStep(pl.Callback):
    """Counts the reads of each step, from the moment its batch is there to the end of its last hook."""

    def __init__(self) -> None:
        self.reads: list[int] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.mode = Reads()
        self.mode.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        self.mode.__exit__(None, None, None)
        self.reads.append(self.mode.count)


def fit(*callbacks: pl.Callback, module: pl.LightningModule | None = None) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
    )
    trainer.fit(module or task(), datamodule=Data())
    return trainer


def test_a_step_reads_nothing_from_the_device() -> None:
    """Of 12 steps, those at which figures are reported read twice: the averages, and whether the loss is finite."""
    each = EachStep()
    fit(EpochSeed(0), StopWhenDiverged(5), Monitor(5), each)  # `each` is last, so that it sees the others' hooks
    reported = [step % STEPS % 5 == 4 for step in range(STEPS * EPOCHS)]
    assert [count > 0 for count in each.reads] == reported
    assert max(each.reads) <= 4


def test_the_curve_holds_the_means_of_the_epochs() -> None:
    class Kept(Classification):
        losses: list[float] = []  # noqa: RUF012

        def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> dict[str, torch.Tensor]:
            outputs = super().training_step(batch, batch_idx)
            self.losses.append(float(outputs["loss"]))
            return outputs

    parts = task()
    module = Kept(network=parts.backbone, channels=4, optimizer=parts.optimizer, schedule=parts.schedule)
    monitor = Monitor(5)
    fit(monitor, module=module)
    assert [entry["epoch"] for entry in monitor.curve] == [1, 2]
    assert [entry["lr"] for entry in monitor.curve] == pytest.approx([0.1, 0.05])
    for epoch, entry in enumerate(monitor.curve):
        losses = module.losses[epoch * STEPS : (epoch + 1) * STEPS]
        assert entry["loss"] == pytest.approx(sum(losses) / STEPS, rel=1e-5)
        assert 0 <= entry["error"] <= 1
        assert 0 <= entry["val/error"] <= 1
    assert monitor.latest["loss"] == pytest.approx(sum(module.losses[-STEPS + 5 : -STEPS + 10]) / 5, rel=1e-5)
    assert monitor.seconds > 0


def test_error_is_the_share_of_wrong_answers() -> None:
    module = task()
    trainer = fit(module=module)
    images = Data().batches()[:2]
    wrong = [module.eval()(batch["image"]).argmax(1) != batch["label"] for batch in images]
    assert float(trainer.callback_metrics["val/error"]) == pytest.approx(float(torch.cat(wrong).float().mean()))
    assert float(trainer.callback_metrics["val/top5_error"]) == 0.0  # of three classes
