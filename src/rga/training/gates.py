"""What the gates of a network do while it is trained: mean, spread and saturation of each stage's.

They are those of a few training images of the epoch's last batch, as the network would be tested now: one forward an
epoch, none of whose numbers acts on the training, and nothing that a step has to wait for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rga.attention.gate_values import gates_in
from rga.inspection import ATTENTION, attention_blocks
from rga.training.speed import uncompiled

IMAGES = 32
BINS = 50
_ENDS = 0.05  # below it, and above 1 minus it, a gate is saturated
STATISTICS = ("mean", "std", "saturated")


@dataclass(frozen=True)
class Seen:
    """Of all gates.

    Args:
        values: `gates/STAGE/spatial/mean` and so on: the mean, the standard deviation over images and positions (or
            channels), and the share below 0.05 or above 0.95.
        histograms: how many lie in each of `BINS` equal parts of 0..1, those outside at its ends.
    """

    values: dict[str, float]
    histograms: dict[str, list[int]]


def blocks_of(network: nn.Module) -> dict[str, nn.Module]:
    """The attention blocks by the names of their stages."""
    return {
        path.rpartition(".")[0].removeprefix("backbone.").removeprefix("segmenter.") or ATTENTION: module
        for path, module in attention_blocks(network).items()
    }


def see(network: nn.Module, images: Tensor) -> Seen:
    """Look at the gates of a network for images (B, 3, H, W), normalised; what it holds is left as it was."""
    numbers: dict[str, Tensor] = {}
    with uncompiled(), torch.no_grad(), _evaluating(network):
        for stage, gates in gates_in(network, images[:IMAGES], blocks_of(network)).items():
            for kind, gate in (("spatial", gates.spatial()), ("channel", gates.channel())):
                if gate is not None:
                    numbers[f"gates/{stage}/{kind}"] = _statistics(gate.float())
    if not numbers:
        return Seen({}, {})
    rows = torch.stack(list(numbers.values())).tolist()  # the one transfer
    found = dict(zip(numbers, rows, strict=True))
    return Seen(
        {
            f"{name}/{statistic}": row[place]
            for name, row in found.items()
            for place, statistic in enumerate(STATISTICS)
        },
        {name: [int(count) for count in row[len(STATISTICS) :]] for name, row in found.items()},
    )


def _statistics(gate: Tensor) -> Tensor:
    saturated = ((gate < _ENDS) | (gate > 1 - _ENDS)).float().mean()
    edges = torch.linspace(0, 1, BINS + 1, device=gate.device)[1:-1]
    below = torch.searchsorted(gate.flatten().sort().values, edges)  # torch.histc is not deterministic on GPUs
    counts = below.diff(prepend=below.new_zeros(1), append=below.new_full((1,), gate.numel()))
    return torch.cat([torch.stack([gate.mean(), gate.std(correction=0), saturated]), counts]).double()


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
