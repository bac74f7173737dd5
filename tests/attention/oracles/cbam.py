"""CBAM: the halves from the paper's equations, the whole from timm's module with biases added to its MLP."""

import torch
from timm.layers.cbam import CbamModule
from torch import Tensor, nn
from torch.nn import functional as F

from . import Oracle, batch_norm


def cbam_c(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()

    def mlp(vector: Tensor) -> Tensor:
        hidden = (state["fc1.weight"] @ vector + state["fc1.bias"]).clamp(min=0)
        return state["fc2.weight"] @ hidden + state["fc2.bias"]

    scaled = []
    for image in x:
        mean = torch.stack([channel.sum() / channel.numel() for channel in image])
        maximum = torch.stack([channel.flatten().sort().values[-1] for channel in image])
        scaled.append(image * torch.sigmoid(mlp(mean) + mlp(maximum))[:, None, None])
    return torch.stack(scaled)


def cbam_s(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()
    height, width = x.shape[2:]
    pooled = F.pad(torch.stack([x.sum(1) / x.shape[1], x.sort(dim=1).values[:, -1]], dim=1), (3, 3, 3, 3))
    score = torch.zeros_like(x[:, :1])
    for row in range(7):
        for column in range(7):
            window = pooled[:, :, row : row + height, column : column + width]
            score += (window * state["conv.weight"][0, :, row, column, None, None]).sum(1, keepdim=True)
    return x * torch.sigmoid(batch_norm(score, state, "norm"))


def cbam(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()
    module = CbamModule(x.shape[1], rd_channels=x.shape[1] // 16, mlp_bias=True).to(x.dtype).eval()
    theirs = {}
    for name, tensor in state.items():
        name = name.replace("spatial.conv.", "spatial.conv.conv.").replace("spatial.norm.", "spatial.conv.bn.")
        theirs[name] = tensor[:, :, None, None] if tensor.dim() == 2 else tensor  # their linear layers are 1x1 convs
    module.load_state_dict(theirs)
    return module(x)


def channel(channels: int, height: int, width: int) -> int:
    reduced = max(channels // 16, 1)
    return 2 * channels * reduced + reduced + channels


def spatial(channels: int, height: int, width: int) -> int:
    return 2 * 7 * 7 + 2


ORACLES = {
    "cbam_c": Oracle(cbam_c, channel, (0, 1)),
    "cbam_s": Oracle(cbam_s, spatial, (0, 1)),
    "cbam": Oracle(cbam, lambda *shape: channel(*shape) + spatial(*shape), (0, 1)),
}
