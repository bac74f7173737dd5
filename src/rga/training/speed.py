"""What makes training fast without changing what is computed: memory format, compilation, TF32."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import nn

from rga.errors import ConfigError
from rga.tasks.task import Task
from rga.torch_internals import run_what_does_not_compile

Switch = bool | Literal["auto"]


def speed_up(
    network: nn.Module,
    device: torch.device,
    channels_last: Switch = "auto",
    compile: Switch = "auto",
    tf32: bool = True,
) -> None:
    """Prepare a network, in place, for training on a device. Names and values of its parameters stay.

    Args:
        network: with its attention.
        device: where it will run.
        channels_last: keep feature maps as (B, H, W, C) in memory, which convolutions on GPUs and most on CPUs prefer.
        compile: fuse the operations between convolutions (torch.compile), after a minute or more of compilation.
            What "auto" cannot compile, for want of a C compiler for instance, runs uncompiled, with a warning;
            with `true` that is an error.
        tf32: let GPUs that have it multiply in TF32 where the format is float32, in products and convolutions. This
            alone changes numbers, and holds for the whole process.

    The first two are on for "auto" on a GPU and off elsewhere.
    """
    gpu = device.type == "cuda"
    if gpu:
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
    if gpu if channels_last == "auto" else channels_last:
        network.to(memory_format=torch.channels_last)
    if gpu if compile == "auto" else compile:
        run_what_does_not_compile(compile == "auto")
        network.compile(dynamic=False)


PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "64-true")  # Lightning's names; in others not all layers work


def prepare_inference(network: nn.Module, device: torch.device, trainer: Mapping[str, Any]) -> None:
    """Prepare a trained network, in place, as the `trainer` of its config says; nothing is compiled for it."""
    tf32 = trainer.get("tf32", True)  # runs of before there was a choice have none
    speed_up(network, device, trainer["channels_last"], compile=False, tf32=tf32)


def expect_precision(device: torch.device, precision: str) -> None:
    """See that a run computes in the format that it is named after.

    Raises:
        ConfigError: a format that is not supported, or one that Lightning replaces on this device.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"trainer.precision={precision}: expected {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}")
    if precision == "16-mixed" and device.type == "cpu":
        raise ConfigError(
            "trainer.precision=16-mixed takes a GPU: Lightning would compute in bf16-mixed on this CPU. Give "
            "trainer.precision=bf16-mixed or 32-true"
        )


def precision_in_force(device: torch.device, precision: str, tf32: bool) -> str:
    """What a run has computed in: Lightning's name of the format, and whether float32 was TF32.

    Args:
        device: where it ran.
        precision: `trainer.precision`, such as 32-true.
        tf32: `trainer.tf32`.
    """
    has_it = device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)
    has_it = has_it and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0"  # by which NVIDIA's libraries do without
    return f"{precision}, TF32" if has_it and tf32 and not precision.startswith("64") else precision


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run a network that may be compiled as it is written: for a look at it that is not worth a compilation."""
    with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext():
        yield


class Speed(pl.Callback):
    """A training with `speed_up`, of all that a task trains, and compiled once: for batches of the first one's size.

    A smaller batch at the end of an epoch, and evaluations, run as they are: each would be compiled anew.

    Args:
        channels_last, compile, tf32: see `speed_up`.
    """

    def __init__(self, channels_last: Switch = "auto", compile: Switch = "auto", tf32: bool = True) -> None:
        self.channels_last, self.compile, self.tf32 = channels_last, compile, tf32

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        assert isinstance(pl_module, Task)
        if stage == "fit":
            device = trainer.strategy.root_device
            pl_module.prepared = lambda network: speed_up(network, device, self.channels_last, self.compile, self.tf32)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stance("default")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any) -> None:
        self._stance("eager_on_recompile")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stance("force_eager")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stance("eager_on_recompile")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stance("force_eager")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._stance("default")  # it is the whole process's, in which other runs may follow

    def _stance(self, stance: Literal["default", "eager_on_recompile", "force_eager"]) -> None:
        if self.compile is not False and "torch._dynamo" in sys.modules:  # which takes seconds to import
            torch.compiler.set_stance(stance)
