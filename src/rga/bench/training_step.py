"""A training step of ResNet-50, bare, with RGA-SC and with RGA-SC's N x N form."""

from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from rga.attention import RGASC
from rga.backbones import torchvision_trunk
from rga.bench.memory import peak_bytes
from rga.bench.options import FORMATS, SIZE, STAGES, about, autocast, saved_megabytes
from rga.bench.textbook.nxn import NxN
from rga.bench.timing import interleaved, medians
from rga.plugin import plug

CLASSES = 751  # identities of Market-1501
NETWORKS: dict[str, Callable[[int, tuple[int, int]], nn.Module] | None] = {
    "bare": None,
    "ours": RGASC,
    "nxn": lambda channels, size: NxN(RGASC(channels, size)),
}


def main(
    *,
    device: str = "cpu",
    batch: int = 8,
    rounds: int = 5,
    dtype: str = "float32",
    compile: bool = False,
    nxn: bool = True,
) -> dict[str, Any]:
    """Time a training step (256 x 128, last stride 1), interleaved in one run; prints a table.

    A step is forward, cross entropy over 751 classes, backward and plain SGD, without data loading. Every network runs
    in both memory formats; the ratios compare each one's faster format with the bare network's faster format.

    Args:
        device: cpu, cuda, cuda:1, ...
        batch: images.
        rounds: how often everything is timed; the times are medians.
        dtype: float32, or bfloat16 for autocast.
        compile: run the networks through torch.compile.
        nxn: whether to time the slow N x N form as well.

    Returns:
        Per network and format the seconds and the memory: `saved_mb`, activation memory; on a GPU
        also `peak_mb`, the most allocated by a step (1 MB = 1e6 bytes). `ratios`: step time over the bare one's.
    """
    torch.manual_seed(0)
    images, labels = torch.randn(batch, 3, *SIZE, device=device), torch.randint(CLASSES, (batch,), device=device)
    calls: dict[str, Callable[[], None]] = {}
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name, block in NETWORKS.items():
        if name == "nxn" and not nxn:
            continue
        results[name] = {}
        for layout, memory_format in FORMATS.items():
            trunk = plug(torchvision_trunk("resnet50", last_stride=1), block, STAGES, SIZE)
            network = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, CLASSES))
            network.to(device).to(memory_format=memory_format)
            x = images.to(memory_format=memory_format)
            call = _step(network, torch.compile(network) if compile else network, x, labels, dtype)
            call()
            results[name][layout] = {"saved_mb": saved_megabytes(network, x, dtype)}
            if x.is_cuda:
                results[name][layout]["peak_mb"] = peak_bytes(call, x.device) / 1e6
            calls[f"{name} {layout}"] = call
    for key, median in medians(interleaved(calls, rounds, warmup=0)).items():
        name, layout = key.split()
        results[name][layout]["seconds"] = median
    fastest = {name: min(row["seconds"] for row in formats.values()) for name, formats in results.items()}
    report = {
        **about(device),
        "batch": batch,
        "rounds": rounds,
        "dtype": dtype,
        "compile": compile,
        "networks": results,
        "ratios": {name: seconds / fastest["bare"] for name, seconds in fastest.items()},
        "images_per_second": {name: batch / seconds for name, seconds in fastest.items()},
    }
    _print(report)
    return report


def _step(
    network: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor, dtype: str
) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        with autocast(x.device.type, dtype):
            loss = F.cross_entropy(forward(x), labels)
        loss.backward()
        optimizer.step()

    return step


def _print(report: dict[str, Any]) -> None:
    title = "Training step of ResNet-50: {device}, batch {batch}, {dtype}".format(**report)
    memory = "saved_mb" if report["device"] == "cpu" else "peak_mb"
    unit = "peak\nMB" if memory == "peak_mb" else "activation\nMB"
    columns = *(f"{layout}\nms" for layout in FORMATS), "x bare", "images\nper s", unit
    table = Table("network", *columns, title=title)
    labels = {"bare": "bare", "ours": "+ RGA-SC", "nxn": "+ RGA-SC, N x N"}
    for name, row in report["networks"].items():
        times = [f"{row[layout]['seconds'] * 1e3:.0f}" for layout in FORMATS]
        rates = f"{report['ratios'][name]:.2f}", f"{report['images_per_second'][name]:.1f}"
        table.add_row(labels[name], *times, *rates, f"{row['contiguous'][memory]:.0f}")
    Console().print(table)
