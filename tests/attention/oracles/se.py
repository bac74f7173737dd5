"""SE: timm's module with the same parameters and the paper's width."""

from timm.layers import SEModule
from torch import Tensor, nn

from . import Oracle


def se(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()
    module = SEModule(x.shape[1], rd_channels=x.shape[1] // 16).to(x.dtype)
    module.load_state_dict(state)
    return module(x)


def parameters(channels: int, height: int, width: int) -> int:
    reduced = max(channels // 16, 1)
    return 2 * channels * reduced + reduced + channels


ORACLES = {"se": Oracle(se, parameters, (0, 1))}
