"""Copies of our blocks' layers, also of those that the textbook form keeps apart or in another kind of layer."""

import copy
from typing import TypeVar

from torch import Tensor, nn

Layer = TypeVar("Layer", bound=nn.Module)


def same(layer: Layer) -> Layer:
    """A copy."""
    return copy.deepcopy(layer)


def linear(layer: nn.Conv2d) -> nn.Linear:
    """A 1x1 convolution as a linear layer."""
    made = nn.Linear(layer.in_channels, layer.out_channels, bias=layer.bias is not None)
    return _filled(made, layer.weight.flatten(1), layer.bias)


def conv1x1(layer: nn.Linear | nn.Conv2d, first: int = 0, last: int | None = None) -> nn.Conv2d:
    """The outputs [first, last) of a linear or 1x1 convolution layer as a 1x1 convolution."""
    weight, bias = layer.weight[first:last].flatten(1)[:, :, None, None], layer.bias
    made = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None)
    return _filled(made, weight, None if bias is None else bias[first:last])


def _filled(layer: Layer, weight: Tensor, bias: Tensor | None) -> Layer:
    tensors = {"weight": weight.detach()} if bias is None else {"weight": weight.detach(), "bias": bias.detach()}
    layer.to(weight.device, weight.dtype).load_state_dict(tensors)
    return layer
