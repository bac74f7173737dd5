"""RGA-SC against its N x N form, block by block, at the four stages of a ResNet-50 (256 x 128, last stride 1)."""

from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from rga.attention import RGASC
from rga.bench.memory import peak_bytes
from rga.bench.options import FORMATS, STAGES, about, autocast, saved_megabytes
from rga.bench.textbook.nxn import NxN
from rga.bench.timing import interleaved, medians


def main(
    *,
    device: str = "cpu",
    batch: int = 8,
    rounds: int = 5,
    dtype: str = "float32",
    memory_format: str = "contiguous",
    compile: bool = False,
) -> dict[str, Any]:
    """Time forward + backward of our form and of the N x N form, interleaved in one run; prints a table.

    Args:
        device: cpu, cuda, cuda:1, ...
        batch: images.
        rounds: how often everything is timed; the times are medians.
        dtype: float32, or bfloat16 for autocast.
        memory_format: contiguous or channels_last, of the feature maps and the blocks.
        compile: run both through torch.compile.

    Returns:
        Seconds, ratios and memory per stage. `saved_mb`: activation memory; on a GPU also
        `peak_mb`: the most allocated by forward + backward (1 MB = 1e6 bytes).
    """
    report: dict[str, Any] = {
        **about(device),
        "batch": batch,
        "rounds": rounds,
        "dtype": dtype,
        "memory_format": memory_format,
        "compile": compile,
        "stages": {},
    }
    for stage, (channels, size) in STAGES.items():
        torch.manual_seed(0)
        ours = RGASC(channels, size)
        networks: dict[str, nn.Module] = {"ours": ours, "nxn": NxN(ours)}
        x = torch.randn(batch, channels, *size, device=device).to(memory_format=FORMATS[memory_format])
        gradient, x = torch.randn_like(x), x.relu().requires_grad_()
        calls, measured = {}, {}
        for name, network in networks.items():
            network.to(device).to(memory_format=FORMATS[memory_format])
            call = _step(torch.compile(network) if compile else network, x, gradient, dtype)
            call()
            measured[name] = {"saved_mb": saved_megabytes(network, x, dtype)}
            if x.is_cuda:
                measured[name]["peak_mb"] = peak_bytes(call, x.device) / 1e6
            calls[name] = call
        for name, median in medians(interleaved(calls, rounds, warmup=0)).items():
            measured[name]["seconds"] = median
        report["stages"][stage] = {**measured, "speedup": measured["nxn"]["seconds"] / measured["ours"]["seconds"]}
    _print(report)
    return report


def _step(network: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor, dtype: str) -> Callable[[], None]:
    def step() -> None:
        x.grad = None
        with autocast(x.device.type, dtype):
            y = network(x)
        y.backward(gradient.to(y.dtype))

    return step


def _print(report: dict[str, Any]) -> None:
    title = "RGA-SC, forward + backward: {device}, batch {batch}, {dtype}, {memory_format}".format(**report)
    memory = "saved_mb" if report["device"] == "cpu" else "peak_mb"
    unit = "peak MB" if memory == "peak_mb" else "MB kept\nfor backward"
    table = Table("stage", "ours\nms", "N x N\nms", "speed-up", f"ours\n{unit}", f"N x N\n{unit}", title=title)
    for stage, row in report["stages"].items():
        times = [f"{row[name]['seconds'] * 1e3:.1f}" for name in ("ours", "nxn")]
        table.add_row(stage, *times, f"{row['speedup']:.1f}", *(f"{row[name][memory]:.0f}" for name in ("ours", "nxn")))
    Console().print(table)
