"""DANet: both attentions with their matrices, N x N and C x C."""

import torch
from torch import Tensor, nn

from . import Oracle, conv1x1


def softmax(energy: Tensor) -> Tensor:
    """Over the last dimension."""
    weights = torch.exp(energy - energy.max(-1, keepdim=True).values)
    return weights / weights.sum(-1, keepdim=True)


def danet(block: nn.Module, x: Tensor) -> Tensor:
    state, channels = block.state_dict(), x.shape[1]
    reduced = channels // 8
    weights, biases = (state[f"embed.{name}"].split([reduced, reduced, channels]) for name in ("weight", "bias"))
    query, key, value = (conv1x1(x, w, b).flatten(2) for w, b in zip(weights, biases, strict=True))
    maps = x.flatten(2)  # (B, C, N)
    position = torch.einsum("bij,bcj->bci", softmax(torch.einsum("bdi,bdj->bij", query, key)), value)
    channel = torch.einsum("bac,bcn->ban", softmax(torch.einsum("ban,bcn->bac", maps, maps)), maps)
    return x + state["alpha"] * position.view_as(x) + state["beta"] * channel.view_as(x)


def parameters(channels: int, height: int, width: int) -> int:
    reduced = max(channels // 8, 1)
    return (channels + 1) * (2 * reduced + channels) + 2


ORACLES = {"danet": Oracle(danet, parameters, None)}
