"""What a training step launches and moves: counted, not timed, so that a CPU can tell it of a GPU."""

from collections.abc import Iterable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from rga.backbones import torchvision_trunk
from rga.bench.options import SIZE, STAGES
from rga.bench.training_step import CLASSES, NETWORKS
from rga.plugin import plug
from rga.torch_internals import TorchDispatchMode, schema, tree_leaves

_ALLOCATIONS = ("empty", "detach", "unsafe_view")  # they launch nothing, as the views do
# What the host has to wait for, since it wants a value or the shape of a result depends on values.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "equal")


class Operations(TorchDispatchMode):
    """Counts the operators that PyTorch dispatches inside, but for views and allocations.

    Attributes:
        count: how many.
        bytes: of their inputs and outputs. What an operator changes in place is both; what broadcasts counts once.
        waits: those after which a device's host waits (`WAITING`, and an index by a mask), by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count, self.bytes = 0, 0
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = schema(func).name.removeprefix("aten::")
        if name in WAITING or (name.startswith("index") and _has_mask(args)):
            self.waits.append(name)
        if not func.is_view and not any(word in name for word in _ALLOCATIONS):
            written = {argument.name for argument in schema(func).arguments if argument.is_out}
            read = [value for key, value in (kwargs or {}).items() if key not in written]
            self.count += 1
            self.bytes += sum(_bytes(x) for x in tree_leaves((args, read, result)) if isinstance(x, Tensor))
        return result


def _bytes(x: Tensor) -> int:
    sides = (side for side, stride in zip(x.shape, x.stride(), strict=True) if stride != 0)
    return torch.Size(sides).numel() * x.element_size()


def _has_mask(arguments: Iterable[Any]) -> bool:
    return any(isinstance(x, Tensor) and x.dtype == torch.bool for x in tree_leaves(list(arguments)[1:2]))


def step(name: str, batch: int) -> dict[str, Operations]:
    """`forward` and `backward` of ResNet-50 with one of `NETWORKS`' blocks, in bfloat16; nothing is computed."""
    with torch.device("meta"):
        trunk = plug(torchvision_trunk("resnet50", last_stride=1), NETWORKS[name], STAGES, SIZE)
        network = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, CLASSES)).bfloat16()
        images = torch.empty(batch, 3, *SIZE, dtype=torch.bfloat16)
    with Operations() as forward:
        loss = network(images).mean()
    with Operations() as backward:
        loss.backward()
    return {"forward": forward, "backward": backward}


def main(*, batch: int = 64) -> dict[str, Any]:
    """Count operations and bytes of a training step of ResNet-50 (256 x 128, bfloat16), without the optimiser's.

    Args:
        batch: images.

    Returns:
        Per network and for `forward` and `backward` the `operations` and the `gigabytes` that they read and write,
        those of the blocks `over` the bare network.
    """
    report: dict[str, Any] = {"batch": batch, "networks": {}}
    for name in NETWORKS:
        counted = step(name, batch)
        report["networks"][name] = {
            part: {"operations": found.count, "gigabytes": found.bytes / 1e9} for part, found in counted.items()
        }
    networks = report["networks"]
    report["over"] = {
        name: {part: {key: row[part][key] - networks["bare"][part][key] for key in row[part]} for part in row}
        for name, row in networks.items()
    }
    _print(report)
    return report


def _print(report: dict[str, Any]) -> None:
    table = Table(
        "network", "operations\nforward", "backward", "GB\nforward", "backward", "over bare:\noperations", "GB",
        title=f"Training step of ResNet-50, counted: batch {report['batch']}, bfloat16",
    )  # fmt: skip
    labels = {"bare": "bare", "ours": "+ RGA-SC", "nxn": "+ RGA-SC, N x N"}
    for name, row in report["networks"].items():
        operations = [str(row[part]["operations"]) for part in row]
        moved = [f"{row[part]['gigabytes']:.2f}" for part in row]
        over = report["over"][name]
        added = " + ".join(str(over[part]["operations"]) for part in over)
        table.add_row(labels[name], *operations, *moved, added, f"{sum(p['gigabytes'] for p in over.values()):.2f}")
    Console().print(table)
