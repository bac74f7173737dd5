"""Triplet attention: x is permuted, scaled by the spatial attention of CBAM's kind and permuted back, three times."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import Oracle, batch_norm


def scaled(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    """x (B, P, Q, R) scaled by a map (Q, R)."""
    pooled = torch.stack([x.sort(dim=1).values[:, -1], x.sum(1) / x.shape[1]], dim=1)
    score = batch_norm(F.conv2d(pooled, state[f"{name}.0.weight"], padding=3), state, f"{name}.1")
    return x * torch.sigmoid(score)


def triplet(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()
    y = scaled(x, state, "hw")
    y = y + scaled(x.permute(0, 2, 1, 3), state, "cw").permute(0, 2, 1, 3)
    y = y + scaled(x.permute(0, 3, 1, 2), state, "ch").permute(0, 2, 3, 1)
    return y / 3


ORACLES = {"triplet": Oracle(triplet, lambda *shape: 3 * (2 * 7 * 7 + 2), (0, 1))}
