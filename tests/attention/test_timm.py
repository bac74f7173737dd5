"""timm's blocks with the same weights, where timm has one: an independent judge beside the oracles."""

from collections.abc import Mapping

import pytest
import torch
from timm.layers import GlobalContext, NonLocalAttn, SqueezeExcite
from timm.layers.cbam import CbamModule
from timm.layers.coord_attn import CoordAttn
from torch import Tensor, nn

from rga.attention import CBAM, GC, SE, Coordinate, NonLocal

from .test_zoo import CHANNELS, SIZE, images, perturb


def squeeze(state: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    return SqueezeExcite(CHANNELS, rd_channels=2), dict(state)


def cbam(state: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    theirs = {name.replace("spatial.conv", "spatial.conv.conv"): value for name, value in state.items()}
    theirs = {name.replace("spatial.norm", "spatial.conv.bn"): value for name, value in theirs.items()}
    theirs = {
        name: value[..., None, None] if "fc" in name and value.dim() == 2 else value for name, value in theirs.items()
    }
    return CbamModule(CHANNELS, rd_channels=2, mlp_bias=True), theirs


def context(state: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    module = GlobalContext(CHANNELS, fuse_add=True, fuse_scale=False, rd_channels=2)
    module.mlp_add.norm.eps = 1e-5
    theirs = {name.removeprefix("context."): value for name, value in state.items()}
    return module, {"conv_attn.bias": torch.tensor([0.7]).double(), **theirs}  # any bias: it cancels in the softmax


def non_local(state: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    width = CHANNELS // 2
    weights = dict(zip(("t.weight", "p.weight", "g.weight"), state["embed.weight"].split(width), strict=True))
    norm = {name: value for name, value in state.items() if name.startswith("norm.")}
    biases = {f"{name}.bias": torch.zeros(CHANNELS if name == "z" else width).double() for name in "tpgz"}
    module = NonLocalAttn(CHANNELS, use_scale=False, rd_channels=width)
    return module, {**weights, **biases, "z.weight": state["project.weight"], **norm}


def coordinate(state: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    """timm has biases everywhere or nowhere; that of the first convolution is 0 here."""
    names = {"embed": "conv1", "norm": "bn1", "rows": "conv_h", "columns": "conv_w"}
    theirs = {".".join([names[name.split(".")[0]], *name.split(".")[1:]]): value for name, value in state.items()}
    return CoordAttn(CHANNELS, rd_channels=8, bias=True), {**theirs, "conv1.bias": torch.zeros(8).double()}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("kind", "convert"),
    [(SE, squeeze), (CBAM, cbam), (GC, context), (NonLocal, non_local), (Coordinate, coordinate)],
)
def test_the_same_weights_give_the_same_numbers(kind: type[nn.Module], convert: object, training: bool) -> None:
    torch.manual_seed(0)
    ours = kind(CHANNELS, SIZE).double()
    perturb(ours)
    theirs, state = convert(ours.state_dict())
    theirs.double().load_state_dict(state)
    x = images().double().requires_grad_()
    y, expected = ours.train(training)(x), theirs.train(training)(x)
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    cotangent = torch.randn_like(x)
    gradients = [torch.autograd.grad(result, x, cotangent)[0] for result in (y, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-8)
