"""BAM: x + x sigmoid(M_c + M_s), the branches layer by layer."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import Oracle, batch_norm, conv1x1


def bam(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()
    hidden = x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])
    hidden = batch_norm(conv1x1(hidden, state["channel.0.weight"]), state, "channel.1").clamp(min=0)
    channel = batch_norm(conv1x1(hidden, state["channel.3.weight"]), state, "channel.4")
    hidden = batch_norm(conv1x1(x, state["spatial.0.weight"]), state, "spatial.1").clamp(min=0)
    for conv, norm in (("spatial.3", "spatial.4"), ("spatial.6", "spatial.7")):
        hidden = F.conv2d(hidden, state[f"{conv}.weight"], padding=4, dilation=4)
        hidden = batch_norm(hidden, state, norm).clamp(min=0)
    spatial = batch_norm(conv1x1(hidden, state["spatial.9.weight"]), state, "spatial.10")
    return x + x * torch.sigmoid(channel.expand_as(x) + spatial.expand_as(x))


def parameters(channels: int, height: int, width: int) -> int:
    reduced = max(channels // 16, 1)
    channel = 2 * channels * reduced + 2 * reduced + 2 * channels
    return channel + (channels + 2) * reduced + 2 * (9 * reduced + 2) * reduced + reduced + 2


ORACLES = {"bam": Oracle(bam, parameters, (1, 2))}
