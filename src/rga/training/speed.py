"""What makes training fast without changing what is computed: memory format, compilation, TF32."""

from typing import Literal

import torch
from torch import nn

from rga.torch_internals import run_what_does_not_compile

Switch = bool | Literal["auto"]


def speed_up(
    network: nn.Module, device: torch.device, channels_last: Switch = "auto", compile: Switch = "auto"
) -> None:
    """Prepare a network, in place, for training on a device. Names and values of its parameters stay.

    Args:
        network: with its attention.
        device: where it will run.
        channels_last: keep feature maps as (B, H, W, C) in memory, which convolutions on GPUs and most on CPUs prefer.
        compile: fuse the operations between convolutions (torch.compile), after a minute or more of compilation.
            What "auto" cannot compile, for want of a C compiler for instance, runs uncompiled, with a warning;
            with `true` that is an error.

    Both are on for "auto" on a GPU and off elsewhere. On GPUs single-precision products use TF32, as convolutions do
    by PyTorch's own choice.
    """
    gpu = device.type == "cuda"
    if gpu:
        torch.set_float32_matmul_precision("high")
    if gpu if channels_last == "auto" else channels_last:
        network.to(memory_format=torch.channels_last)
    if gpu if compile == "auto" else compile:
        run_what_does_not_compile(compile == "auto")
        network.compile(dynamic=False)
