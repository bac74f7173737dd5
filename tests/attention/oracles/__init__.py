"""What each block of conf/attention computes and how many parameters it has, written a second time.

A file of this folder serves one family of blocks. Its dict `ORACLES` maps the name of a config (`cbam_s` for
conf/attention/cbam_s.yaml) to an `Oracle`; nothing else has to be registered. The functions take the paper's equations
literally, with loops or einsum and the block's state dict, or run another library's version with the same parameters.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Oracle:
    """The second opinion about one config.

    Attributes:
        forward: (block, x) -> y; the block is in eval mode, it and x are float64. Reads the block's parameters and
            statistics, never calls its methods.
        parameters: (channels, height, width) -> the number of learnable parameters, in closed form.
        gate: the open interval of the block's `gate(x)`; None if the block does more than scale its input, so that it
            has no `gate`.
    """

    forward: Callable[[nn.Module, Tensor], Tensor]
    parameters: Callable[[int, int, int], int]
    gate: tuple[float, float] | None


def find(name: str) -> Oracle:
    """The oracle of conf/attention/NAME.yaml. Raises a LookupError that says what to add."""
    for module in pkgutil.iter_modules(__path__):
        oracles: dict[str, Oracle] = importlib.import_module(f"{__name__}.{module.name}").ORACLES
        if name in oracles:
            return oracles[name]
    raise LookupError(
        f"conf/attention/{name}.yaml has no second opinion: give an old or a new file of tests/attention/oracles "
        f"ORACLES = {{{name!r}: Oracle(forward=..., parameters=..., gate=...)}}"
    )


def conv1x1(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1x1 convolution, or a linear layer on the channels: (B, C, H, W) -> (B, D, H, W)."""
    y = (weight.flatten(1)[None, :, :, None, None] * x[:, None]).sum(2)
    return y if bias is None else y + bias[:, None, None]


def batch_norm(x: Tensor, state: Mapping[str, Tensor], name: str, eps: float = 1e-5) -> Tensor:
    """BatchNorm in eval mode with the tensors `name.weight`, `name.running_mean`, ... on dimension 1 of x."""
    mean, var, weight, bias = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    shape = (-1, *[1] * (x.dim() - 2))
    scale = weight / (var + eps).sqrt()
    return x * scale.view(shape) + (bias - mean * scale).view(shape)
