"""scSE: both scaled maps as the papers write them, then their fusion."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import Oracle, conv1x1


def scse(fuse: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[nn.Module, Tensor], Tensor]:
    """`fuse` gets the map scaled by channel, the map scaled by position and x."""

    def forward(block: nn.Module, x: Tensor) -> Tensor:
        state = block.state_dict()
        z = torch.stack([torch.stack([channel.sum() / channel.numel() for channel in image]) for image in x])
        hidden = (z @ state["channel.fc1.weight"].flatten(1).T + state["channel.fc1.bias"]).clamp(min=0)
        weights = torch.sigmoid(hidden @ state["channel.fc2.weight"].flatten(1).T + state["channel.fc2.bias"])
        by_channel = torch.einsum("bc,bchw->bchw", weights, x)
        score = conv1x1(x, state["spatial.weight"], state["spatial.bias"])[:, 0]
        by_position = torch.einsum("bhw,bchw->bchw", torch.sigmoid(score), x)
        return fuse(by_channel, by_position, x)

    return forward


FUSIONS = {
    "add": scse(lambda a, b, x: a + b),
    "max": scse(lambda a, b, x: torch.maximum(a, b)),
    "multiply": scse(lambda a, b, x: a * b / x),
}


def parameters(channels: int, height: int, width: int) -> int:
    reduced = max(channels // 2, 1)
    return (channels + 1) * reduced + (reduced + 1) * channels + channels + 1


ORACLES = {"scse": Oracle(FUSIONS["add"], parameters, (0, 2))}
