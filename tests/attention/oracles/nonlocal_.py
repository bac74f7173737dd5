"""The non-local block: timm's module without its scaling and biases, with the N x N matrix; then RGA-S."""

import torch
from timm.layers.non_local_attn import NonLocalAttn
from torch import Tensor, nn

from . import Oracle
from .rga import one, spatial


def non_local(block: nn.Module, x: Tensor) -> Tensor:
    state = block.state_dict()
    module = NonLocalAttn(x.shape[1], use_scale=False, rd_channels=x.shape[1] // 2).to(x.dtype).eval()
    theirs = {name: torch.zeros_like(tensor) for name, tensor in module.state_dict().items() if name.endswith("bias")}
    parts = state["embed.weight"].chunk(3)
    theirs |= {f"{name}.weight": part for name, part in zip("tpg", parts, strict=True)}
    theirs |= {"z.weight": state["project.weight"]}
    theirs |= {name: tensor for name, tensor in state.items() if name.startswith("norm.")}
    module.load_state_dict(theirs)
    return module(x)


def parameters(channels: int, height: int, width: int) -> int:
    return 4 * channels * (channels // 2) + 2 * channels


ORACLES = {
    "nonlocal": Oracle(non_local, parameters, None),
    "nonlocal_rga_s": Oracle(
        lambda block, x: one(block.spatial, non_local(block.non_local, x)),
        lambda *shape: parameters(*shape) + spatial()(*shape),
        None,
    ),
}
