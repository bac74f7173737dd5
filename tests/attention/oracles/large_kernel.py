"""LKA: the two depthwise convolutions as sums over their kernels' positions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import Oracle, conv1x1


def depthwise(x: Tensor, weight: Tensor, bias: Tensor, dilation: int = 1) -> Tensor:
    """(B, C, H, W) -> the same shape, `weight` (C, 1, K, K)."""
    size, (height, width) = weight.shape[2], x.shape[2:]
    margin = dilation * (size // 2)
    padded = F.pad(x, (margin, margin, margin, margin))
    y = torch.zeros_like(x) + bias[:, None, None]
    for row in range(size):
        for column in range(size):
            top, left = row * dilation, column * dilation
            y += weight[:, :, row, column, None] * padded[:, :, top : top + height, left : left + width]
    return y


def lka(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()
    attention = depthwise(x, state["local.weight"], state["local.bias"])
    attention = depthwise(attention, state["distant.weight"], state["distant.bias"], dilation=3)
    return x * conv1x1(attention, state["mix.weight"], state["mix.bias"])


def parameters(channels: int, height: int, width: int) -> int:
    return (25 + 1) * channels + (49 + 1) * channels + (channels + 1) * channels


ORACLES = {"lka": Oracle(lka, parameters, (float("-inf"), float("inf")))}
