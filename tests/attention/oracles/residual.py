"""Residual attention: the hourglass as a list of levels, down and up again."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import Oracle, batch_norm, conv1x1
from .strip_pooling import bilinear


def depth(height: int, width: int) -> int:
    side, halvings = min(height, width), 0
    while side > 7:
        side, halvings = -(-side // 2), halvings + 1
    return max(halvings, 1)


def maxima(x: Tensor) -> Tensor:
    """The maximum of the 3x3 neighbours of every second position."""
    padded = F.pad(x, (1, 1, 1, 1), value=float("-inf"))
    height, width = x.shape[2:]
    shifts = [padded[:, :, i : i + height : 2, j : j + width : 2] for i in range(3) for j in range(3)]
    return torch.stack(shifts).sort(dim=0).values[-1]


def residual(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()

    def layer(name: str, number: int, x: Tensor) -> Tensor:
        """BatchNorm, ReLU and a convolution, three entries of an nn.Sequential."""
        weight = state[f"{name}.{number + 2}.weight"]
        return F.conv2d(batch_norm(x, state, f"{name}.{number}").clamp(min=0), weight, padding=weight.shape[2] // 2)

    def unit(name: str, x: Tensor) -> Tensor:
        y = layer(f"{name}.residual", 0, x)
        return x + layer(f"{name}.residual", 6, layer(f"{name}.residual", 3, y))

    levels = [x]
    for number in range(depth(*x.shape[2:])):
        levels.append(unit(f"down.{number}", maxima(levels[-1])))
    y = levels.pop()
    while levels:
        number, outer = len(levels) - 1, levels.pop()
        y = bilinear(unit(f"up.{number}", y), (outer.shape[2], outer.shape[3]), True)
        if levels:
            y = y + unit(f"skip.{number - 1}", outer)
    y = conv1x1(batch_norm(y, state, "mask.0").clamp(min=0), state["mask.2.weight"])
    y = conv1x1(batch_norm(y, state, "mask.3").clamp(min=0), state["mask.5.weight"])
    return (1 + torch.sigmoid(y)) * x


def parameters(channels: int, height: int, width: int) -> int:
    quarter = max(channels // 4, 1)
    unit = (2 + quarter) * channels + (2 + 9 * quarter) * quarter + (2 + channels) * quarter
    return (3 * depth(height, width) - 1) * unit + 2 * (2 + channels) * channels


ORACLES = {"residual": Oracle(residual, parameters, (1, 2))}
