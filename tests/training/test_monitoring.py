"""What a run tells while it trains: the averages are right, and reading them costs the training loop nothing."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from rga.errors import ConfigError
from rga.tasks import Classification, ReID, Segmentation
from rga.training.checkpoints import StopWhenDiverged
from rga.training.checks import OWN, accelerator, expect_objective, refuse_defaults_of_environment, trainer_settings
from rga.training.monitor import EpochSeed, Monitor
from rga.training.provenance import of_all

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
        return DataLoader(self.batches(), batch_size=None)

    def test_dataloader(self) -> DataLoader[Any]:
        return self.val_dataloader()

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.batches()[:2], batch_size=None)


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


def fit(*callbacks: pl.Callback, module: pl.LightningModule | None = None, **options: Any) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        **{"logger": False, **options},
    )
    trainer.fit(module or task(), datamodule=Data())
    return trainer


def test_a_step_reads_nothing_from_the_device() -> None:
    """Of 12 steps, those at which metrics are reported read twice: the averages, and whether the loss is finite."""
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


class Parts(Classification):
    """A loss of two parts, both of which are told."""

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> dict[str, torch.Tensor]:
        main = super().training_step(batch, batch_idx)["loss"]
        penalty = sum((parameter.square().sum() for parameter in self.parameters()), torch.zeros(()))
        return {"loss": main + penalty, "main": main, "penalty": penalty}


def parts() -> Parts:
    whole = task()
    return Parts(network=whole.backbone, channels=4, optimizer=whole.optimizer, schedule=lambda epoch: 0.5**epoch)


@pytest.mark.parametrize(
    ("accumulate", "options"),
    [
        (1, {}),
        (3, {}),
        (5, {}),  # 5, 5 and 2 batches
        (3, {"limit_train_batches": 0.6}),  # 3, 3 and 1
        (20, {}),  # more than an epoch has
        (3, {"precision": "bf16-mixed"}),
    ],
)
def test_what_is_told_of_a_batch_is_the_batchs(accumulate: int, options: dict[str, Any]) -> None:
    """The loss is the sum of its parts in the curve, on the bar and in what loggers are given."""
    logged: list[dict[str, float]] = []

    class Logger(pl.loggers.CSVLogger):
        def __init__(self) -> None:
            super().__init__("unused")

        def log_hyperparams(self, *_: Any, **__: Any) -> None: ...

        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
            logged.append(metrics)

        def save(self) -> None: ...

        def finalize(self, status: str) -> None: ...

    monitor = Monitor(2)
    fit(monitor, module=parts(), accumulate_grad_batches=accumulate, **{"logger": Logger(), **options})
    assert len(monitor.curve) == EPOCHS
    told = [*monitor.curve, monitor.latest]
    ours = [metrics for metrics in logged if not any(name.startswith("val/") for name in metrics)]
    assert len(ours) > EPOCHS
    told += [{name.partition("/")[2]: value for name, value in metrics.items()} for metrics in ours]
    for values in told:
        assert values["loss"] == pytest.approx(values["main"] + values["penalty"], rel=1e-4)


@pytest.mark.parametrize("accumulate", [1, 3, 5, 20])
def test_steps_of_several_batches(accumulate: int) -> None:
    """Each step takes the mean gradient of its batches, also the last of an epoch, and the schedule is in epochs."""
    module, plain = parts(), parts()
    for each in (module, plain):
        each.classifier = nn.Linear(4, 3)
    plain.load_state_dict(module.state_dict())
    monitor = Monitor(50)
    fit(monitor, module=module, accumulate_grad_batches=accumulate)

    optimizer = torch.optim.SGD(plain.train().parameters(), lr=0.1, momentum=0.9)
    batches = Data().batches()
    steps = [batches[start : start + accumulate] for start in range(0, STEPS, accumulate)]
    for epoch in range(EPOCHS):
        for number, step in enumerate(steps):
            optimizer.param_groups[0]["lr"] = 0.1 * 0.5 ** (epoch + number / len(steps))
            optimizer.zero_grad()
            torch.stack([plain.training_step(batch, 0)["loss"] for batch in step]).mean().backward()
            optimizer.step()
    assert [entry["lr"] for entry in monitor.curve] == pytest.approx([0.1, 0.05])
    for ours, expected in zip(module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("limit", "whole"), [(None, True), (1.0, True), (1, False), (0.5, False), (0, False)])
def test_a_test_is_of_all_batches(limit: float | None, whole: bool) -> None:
    """Lightning takes 1 as one batch."""
    config = OmegaConf.create({"trainer": {**dict.fromkeys(OWN), "limit_test_batches": limit}})
    with nullcontext() if whole else pytest.raises(ConfigError, match="no result"):
        trainer_settings(config)


def test_lightning_takes_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would: PL_TRAINER_LIMIT_TEST_BATCHES=2 is a test on two batches, under the name of the whole one."""
    refuse_defaults_of_environment()
    monkeypatch.setenv("PL_TRAINER_LIMIT_TEST_BATCHES", "2")
    assert pl.Trainer(logger=False, accelerator="cpu").limit_test_batches == 2
    with pytest.raises(ConfigError, match=r"unset PL_TRAINER_LIMIT_TEST_BATCHES, and give \+trainer\.limit_"):
        refuse_defaults_of_environment()
    monkeypatch.setenv("PL_TRAINER_LIMIT_TEST_BATCHES", "")
    refuse_defaults_of_environment()


def test_no_run_on_apples_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """On which Lightning would train by itself, and float64 and the border of a sampled grid are missing."""
    assert (accelerator("auto"), accelerator("gpu")) == ("auto", "gpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert (accelerator("auto"), accelerator("gpu")) == ("cpu", "gpu")
    with pytest.raises(ConfigError, match="Apple's GPUs are not supported"):
        accelerator("mps")


def test_what_all_sessions_have_computed_with() -> None:
    """A run that begins on eight GPUs and ends on a CPU is not one of a CPU."""
    state, said = Monitor(5).state_dict(), {"precision": "32-true", "commit": None}
    for device in ("8 x H100", "8 x H100", "1 x CPU"):
        monitor = Monitor(5)
        monitor.load_state_dict(state)
        monitor.session = {"device": device, "versions": {"torch": "2.9" if device == "8 x H100" else "2.10"}, **said}
        monitor.on_train_start(SimpleNamespace(loggers=[]), None)
        state = monitor.state_dict()
    assert of_all([*monitor.sessions, monitor.session]) == {
        "device": "8 x H100; 1 x CPU", "versions": {"torch": "2.9; 2.10"}, **said
    }  # fmt: skip


def test_a_sweepers_metric_is_one_of_the_tasks() -> None:
    reid, scenes = ReID.metric_names({"rerank": True}, ()), Segmentation.metric_names({}, ["val", "test"])
    for known in (None, "map", "pre_bn/rank1", "rerank/map"):
        expect_objective(known, reid)
    for known in ("miou", "iou/road", "test/miou"):
        expect_objective(known, scenes)
    expect_objective("anything", ())  # of a task of one's own
    for unknown, names in (("mAP", reid), ("val/map", reid), ("iou/road", reid), ("val/miou", scenes)):
        with pytest.raises(ConfigError, match=f"objective={unknown}: the metrics are (rank1, rank5|miou, test/miou)"):
            expect_objective(unknown, names)
    assert "rerank/map" not in ReID.metric_names({}, ())
    assert "post_bn/map" in ReID.metric_names({"feature": "before_bn"}, ())


def test_error_is_the_share_of_wrong_answers() -> None:
    module = task()
    trainer = fit(module=module)
    images = Data().batches()[:2]
    wrong = [module.eval()(batch["image"]).argmax(1) != batch["label"] for batch in images]
    assert float(trainer.callback_metrics["val/error"]) == pytest.approx(float(torch.cat(wrong).float().mean()))
    trainer.test(module, datamodule=Data(), verbose=False)
    answers = [module.eval()(batch["image"]).argmax(1) for batch in images]
    for label in range(3):
        for answer in range(3):
            pairs = zip(torch.cat(answers).tolist(), [int(x) for b in images for x in b["label"]], strict=True)
            assert module.answers[label, answer] == sum(pair == (answer, label) for pair in pairs)
    assert "val/top5_error" not in trainer.callback_metrics  # of three classes none is outside the first five
