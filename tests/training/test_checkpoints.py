"""What stops a diverging run, and what a checkpoint may hold."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rga.training.checkpoints import LAST, AtomicCheckpointIO, DivergedError, EpochCheckpoint, StopWhenDiverged


class Toy(pl.LightningModule):
    """A parameter that learns nothing, until something goes wrong in the second epoch."""

    def __init__(self, fault: str | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.fault = fault

    def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        loss = (self.weight * batch).sum()
        if self.current_epoch == 1 and batch_idx == 1:
            if self.fault == "loss":
                loss = loss * float("nan")
            elif self.fault == "parameter":  # in the last step of an epoch, when no further loss can tell
                self.weight.register_hook(lambda gradient: gradient * float("inf"))
        return {"loss": loss}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, toy: Toy, **options: Any) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[StopWhenDiverged(50), EpochCheckpoint(folder, minutes=options.get("minutes", 0.0), run="toy/0")],
        plugins=[AtomicCheckpointIO()],
    )
    trainer.fit(toy, DataLoader([torch.ones(3)] * 2, batch_size=1))


@pytest.mark.parametrize("fault", ["loss", "parameter"])
def test_divergence_keeps_the_last_good_checkpoint(tmp_path: Path, fault: str) -> None:
    with pytest.raises(DivergedError, match="not finite in epoch 2") as raised:
        fit(tmp_path, Toy(fault))
    assert str(tmp_path / LAST) in str(raised.value)
    state = torch.load(tmp_path / LAST, weights_only=True)
    assert state["epoch"] == 0
    assert state["state_dict"]["weight"].isfinite().all()


def test_only_the_last_epoch_is_saved_when_the_minutes_are_not_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    write = AtomicCheckpointIO.save_checkpoint

    def count(self: AtomicCheckpointIO, *args: Any, **kwargs: Any) -> None:
        saved.append(args)
        write(self, *args, **kwargs)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", count)
    fit(tmp_path, Toy(), minutes=60.0)
    assert len(saved) == 1
    assert torch.load(tmp_path / LAST, weights_only=True)["epoch"] == 2


def test_a_write_that_is_cut_off_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"epoch": 1}, tmp_path / LAST)

    def full(checkpoint: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        writer.save_checkpoint({"epoch": 2}, tmp_path / LAST)
    assert torch.load(tmp_path / LAST, weights_only=True) == {"epoch": 1}
