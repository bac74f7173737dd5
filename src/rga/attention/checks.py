"""What blocks ask of their options and of what they are given."""

from numbers import Integral
from typing import cast

import torch
import torch.fx
from torch import Tensor, nn

from rga.torch_internals import is_plain_linear


def reduced(count: int, ratio: int, least: int = 1, *, name: str = "reduction") -> int:
    """How many channels or nodes `count` is reduced to: `count // ratio`, and at least `least`.

    Raises:
        ValueError: a ratio below 1, of which Python's division would make a width as well; `name` is the option's.
    """
    return max(count // positive(ratio, name), least)


def positive(value: int, name: str) -> int:
    """An option that is a whole number from 1; else a ValueError that names it."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value}: expected a whole number from 1")
    return value


def check_values(x: Tensor, module: nn.Module, positions: int) -> None:
    """Raise a ValueError if a module is to normalise with the statistics of one value per channel.

    One value has no deviation. Synchronised BatchNorm has the other devices' values as well; it is no `BatchNorm2d`.
    Left out while the module is traced or exported, where sizes are symbols.

    Args:
        x: a batch of images or features.
        module: with the BatchNorm layers.
        positions: of an image, that the BatchNorm with the fewest of them sees.
    """
    if isinstance(x, torch.fx.Proxy) or torch.compiler.is_exporting() or x.shape[0] * positions != 1:
        return
    if any(isinstance(layer, nn.BatchNorm2d) and layer.training for layer in module.modules()):
        raise ValueError(
            f"BatchNorm cannot train on a single value per channel, which is all that {type(module).__name__} has of a "
            f"batch of shape {tuple(x.shape)}: use at least two images per device, or synchronised BatchNorm on "
            "several devices"
        )


@torch.fx.wrap
def check_size(x: Tensor, channels: int, size: tuple[int, int]) -> None:
    """The weights of a block belong to one feature size; raise a ValueError that names both sizes if x has another."""
    if x.dim() != 4 or x.shape[1] != channels or x.shape[2] != size[0] or x.shape[3] != size[1]:
        raise ValueError(
            f"this block was built for feature maps of shape (B, {channels}, {size[0]}, {size[1]}), "
            f"but the input has shape {tuple(x.shape)}"
        )


torch.fx.node.has_side_effect(check_size)  # a traced network keeps it, although it gives nothing


def weight_of(layer: nn.Module) -> Tensor:
    """The weight of one of RGA's linear layers, which are read and never called.

    Raises:
        TypeError: something else has taken its place, such as LoRA, or a hook would compute its weight.
    """
    if not torch.compiler.is_compiling() and not is_plain_linear(layer):
        raise TypeError(
            f"RGA reads the weights of its linear layers and never calls them, so that {type(layer).__name__} in the "
            "place of one, or a hook that computes its weight, would do nothing (of torch.nn.utils.prune: prune.remove)"
        )
    return cast("Tensor", layer.weight)
