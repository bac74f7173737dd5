"""FC-C, FC-S and FC-S//C: image by image."""

import torch
from torch import Tensor, nn

from . import Oracle, batch_norm, conv1x1


def gate_c(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()
    embedding = batch_norm(conv1x1(x, state["embed.weight"]), state, "norm").clamp(min=0)
    scores = [state["fc.weight"] @ image.flatten(1).sum(1) / image[0].numel() + state["fc.bias"] for image in embedding]
    return torch.sigmoid(torch.stack(scores))[:, :, None, None]


def gate_s(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()
    gates = []
    for image in x:
        means = torch.stack([node.sum() / len(node) for node in image.flatten(1).T])
        hidden = (state["fc1.weight"] @ means + state["fc1.bias"]).clamp(min=0)
        gates.append(torch.sigmoid(state["fc2.weight"] @ hidden + state["fc2.bias"]).view(1, *image.shape[1:]))
    return torch.stack(gates)


def channel(channels: int, height: int, width: int) -> int:
    reduced = max(channels // 8, 1)
    return channels * reduced + 2 * reduced + reduced * channels + channels


def spatial(channels: int, height: int, width: int) -> int:
    nodes = height * width
    reduced = max(nodes // 8, 1)
    return 2 * nodes * reduced + reduced + nodes


ORACLES = {
    "fc_c": Oracle(lambda block, x: x * gate_c(block, x), channel, (0, 1)),
    "fc_s": Oracle(lambda block, x: x * gate_s(block, x), spatial, (0, 1)),
    "fc_parallel": Oracle(
        lambda block, x: x * gate_s(block.spatial, x) * gate_c(block.channel, x),
        lambda *shape: channel(*shape) + spatial(*shape),
        (0, 1),
    ),
}
