"""What a block multiplies its input by: the weights of its positions and of its channels.

The protocol is one method, `gate(x)`, broadcastable to x. A block made of gates (RGA-SC, CBAM, ...) has them as
submodules; each is asked for its weights of what it really sees, which for the second of two is the scaled features.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Gates:
    """All weights that a block computes for one input, those of its parts first, its own last.

    Args:
        block: a gate, or made of gates; anything else has no weights.
        x: its input, (B, C, H, W).

    Examples:
        >>> from rga.attention import CBAM
        >>> gates = Gates(CBAM(64, (16, 8)), torch.rand(2, 64, 16, 8))
        >>> gates.spatial().shape, gates.channel().shape
        (torch.Size([2, 16, 8]), torch.Size([2, 64]))
    """

    def __init__(self, block: nn.Module, x: Tensor) -> None:
        with torch.no_grad(), _recorded(block) as self.found:
            block.gate(x) if _is_gate(block) else block(x)  # type: ignore[operator]

    def spatial(self) -> Tensor | None:
        """One weight for each position, (B, H, W); None if no weight depends on the position.

        Of the last gate that has one channel; else of the last that has both, the mean over the channels.
        """
        return self._one(kept=(2, 3))

    def channel(self) -> Tensor | None:
        """One weight for each channel, (B, C); None if no weight depends on the channel. As `spatial`."""
        return self._one(kept=(1,))

    def _one(self, kept: tuple[int, ...]) -> Tensor | None:
        """The mean over the dimensions that are not kept, of the gate that varies along the fewest others."""
        other = [dim for dim in (1, 2, 3) if dim not in kept]
        varying = [gate for gate in self.found if any(gate.shape[dim] > 1 for dim in kept)]
        pure = [gate for gate in varying if all(gate.shape[dim] == 1 for dim in other)]
        return (pure or varying)[-1].mean(other) if varying else None


def gates_in(network: nn.Module, images: Tensor, blocks: Mapping[str, nn.Module]) -> dict[str, Gates]:
    """The gates of blocks of a network, each for what it is given first in a forward of images (B, 3, H, W)."""
    inputs: dict[str, Tensor] = {}

    def keeping(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def keep(_: nn.Module, args: tuple[Any, ...]) -> None:
            inputs.setdefault(name, args[0])

        return keep

    with torch.no_grad():
        with ExitStack() as hooks:
            for name, block in blocks.items():
                hooks.callback(block.register_forward_pre_hook(keeping(name)).remove)
            network(images)
        return {name: Gates(blocks[name], x) for name, x in inputs.items()}


def _is_gate(module: nn.Module) -> bool:
    return callable(getattr(type(module), "gate", None))  # the class: some have a submodule of this name


@contextmanager
def _recorded(block: nn.Module) -> Iterator[list[Tensor]]:
    """Keep what every `gate` in a block gives while it runs."""
    found: list[Tensor] = []

    def kept(gate: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def recorded(x: Tensor) -> Tensor:
            found.append(gate(x))
            return found[-1]

        return recorded

    gates: list[Any] = [module for module in block.modules() if _is_gate(module)]
    for gate in gates:
        gate.gate = kept(gate.gate)  # of the instance, before the class's
    try:
        yield found
    finally:
        for gate in gates:
            del gate.gate
