"""Polarized self-attention: the equations in their order, W_v applied to every position."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from . import Oracle, conv1x1


def channel(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The weights (B, C, 1, 1)."""
    scores = torch.exp(conv1x1(x, state["channel.query.weight"])).flatten(1)  # (B, N)
    attention = scores / scores.sum(1, keepdim=True)
    values = conv1x1(x, state["channel.value.weight"]).flatten(2)  # (B, C/2, N)
    z = torch.einsum("oc,bcn,bn->bo", state["channel.up.weight"], values, attention)
    deviation = z - z.mean(1, keepdim=True)
    normed = deviation / (deviation.square().mean(1, keepdim=True) + 1e-5).sqrt()
    return torch.sigmoid(normed * state["channel.norm.weight"] + state["channel.norm.bias"])[:, :, None, None]


def spatial(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The weights (B, 1, H, W)."""
    query = torch.exp(conv1x1(x, state["spatial.query.weight"]).mean((2, 3)))  # pooled after the convolution
    attention = query / query.sum(1, keepdim=True)
    values = conv1x1(x, state["spatial.value.weight"])  # (B, C/2, H, W)
    return torch.sigmoid(torch.einsum("bd,bdhw->bhw", attention, values)).unsqueeze(1)


def parallel(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()
    return channel(state, x) * x + spatial(state, x) * x


def sequential(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()
    y = channel(state, x) * x
    return spatial(state, y) * y


def parameters(channels: int, height: int, width: int) -> int:
    half = max(channels // 2, 1)
    return channels + 4 * channels * half + 2 * channels


ORACLES = {
    "psa_parallel": Oracle(parallel, parameters, (0, 2)),
    "psa_sequential": Oracle(sequential, parameters, (0, 1)),
}
