"""Coordinate attention: row by row and column by column."""

import torch
from torch import Tensor, nn

from . import Oracle, batch_norm, conv1x1


def coordinate(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()

    def gate(line: Tensor, name: str) -> Tensor:
        """The mean of one row or column (B, C, L) -> its weights (B, C)."""
        mean = (line.sum(2) / line.shape[2])[:, :, None, None]
        z = batch_norm(conv1x1(mean, state["embed.weight"]), state, "norm")
        f = z * (z + 3).clamp(min=0, max=6) / 6
        return torch.sigmoid(conv1x1(f, state[f"{name}.weight"], state[f"{name}.bias"])).flatten(1)

    y = x.clone()
    for row in range(x.shape[2]):
        y[:, :, row] *= gate(x[:, :, row], "rows")[:, :, None]
    for column in range(x.shape[3]):
        y[:, :, :, column] *= gate(x[:, :, :, column], "columns")[:, :, None]
    return y


def parameters(channels: int, height: int, width: int) -> int:
    reduced = max(channels // 32, 8)
    return channels * reduced + 2 * reduced + 2 * (reduced + 1) * channels


ORACLES = {"coordinate": Oracle(coordinate, parameters, (0, 1))}
