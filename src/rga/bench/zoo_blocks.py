"""Every block of conf/attention that is not RGA against its textbook form, at the four stages of a ResNet-50."""

import statistics
from collections.abc import Callable
from typing import Annotated, Any

import torch
import typer
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from rga.bench.options import FORMATS, STAGES, about, autocast, saved_megabytes
from rga.bench.textbook import FORMS
from rga.bench.timing import interleaved
from rga.errors import ConfigError
from rga.paths import CONF

_HEADING = f"""\
{"":24}{"times":>6}{"":12}{"milliseconds":>20} {"MB of activations":>20}
{"block":16}{"stage":8}{"ratio":>6}  {"quartiles":9} {"ours":>9} {"textbook":>9} {"ours":>9} {"textbook":>9}"""


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Configs of conf/attention; without any, all.")] = None,
    *,
    device: str = "cpu",
    batch: int = 4,
    rounds: int = 9,
    dtype: str = "float32",
    memory_format: str = "contiguous",
) -> dict[str, Any]:
    """Time forward + backward of our form and of the textbook's, interleaved, in training mode; prints a line for each.

    Both have the same parameters and compute the same numbers (256 x 128 images, last stride 1). A ratio is the
    median, over the rounds, of our time divided by the textbook's in the same round; the quartiles tell the noise.

    Args:
        names: configs of conf/attention.
        device: cpu, cuda, cuda:1, ...
        batch: images.
        rounds: how often everything is timed.
        dtype: float32, or bfloat16 for autocast.
        memory_format: contiguous or channels_last, of the feature maps and the blocks.

    Returns:
        Per block and stage `ratio`, its `quartiles`, the median seconds of both and `saved_mb`, the activation
        memory of each (1 MB = 1e6 bytes).

    Raises:
        ConfigError: a name without a textbook form.
    """
    report: dict[str, Any] = {
        **about(device),
        "batch": batch,
        "rounds": rounds,
        "dtype": dtype,
        "memory_format": memory_format,
        "blocks": {},
    }
    if unknown := set(names or ()) - set(FORMS):
        raise ConfigError(f"no textbook form of {', '.join(sorted(unknown))}; there are {', '.join(FORMS)}")
    print("Ours / textbook, forward + backward: {device}, batch {batch}, {dtype}, {memory_format}".format(**report))
    print(_HEADING)
    for name in names or FORMS:
        report["blocks"][name] = {}
        for stage, (channels, size) in STAGES.items():
            x = torch.randn(batch, channels, *size, device=device).to(memory_format=FORMATS[memory_format])
            pair = {side: network.to(x.device) for side, network in pair_of(name, channels, size).items()}
            row = report["blocks"][name][stage] = _compare(pair, x, dtype, rounds)
            print(_line(name, stage, row), flush=True)  # as they come: all of them take minutes
    return report


def pair_of(name: str, channels: int, size: tuple[int, int]) -> dict[str, nn.Module]:
    """`ours`, the block of conf/attention/NAME.yaml, and `textbook`, the other form with a copy of its parameters."""
    torch.manual_seed(0)
    ours = instantiate(OmegaConf.load(CONF / "attention" / f"{name}.yaml").block)(channels, size)
    return {"ours": ours, "textbook": FORMS[name](ours)}


def _compare(pair: dict[str, nn.Module], x: Tensor, dtype: str, rounds: int) -> dict[str, Any]:
    layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last
    gradient, x = torch.randn_like(x), x.relu().requires_grad_()
    networks = {side: network.to(memory_format=layout) for side, network in pair.items()}
    saved = {side: saved_megabytes(network, x, dtype) for side, network in networks.items()}
    seconds = interleaved({side: _step(network, x, gradient, dtype) for side, network in networks.items()}, rounds)
    ratios = [ours / textbook for ours, textbook in zip(seconds["ours"], seconds["textbook"], strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive") if rounds > 1 else ratios * 3
    return {
        "ratio": median,
        "quartiles": [low, high],
        "seconds": {side: statistics.median(values) for side, values in seconds.items()},
        "saved_mb": saved,
    }


def _step(network: nn.Module, x: Tensor, gradient: Tensor, dtype: str) -> Callable[[], None]:
    def step() -> None:
        x.grad = None
        network.zero_grad()
        with autocast(x.device.type, dtype):
            y = network(x)
        y.backward(gradient.to(y.dtype))

    return step


def _line(name: str, stage: str, row: dict[str, Any]) -> str:
    low, high = row["quartiles"]
    times = "{ours:9.1f} {textbook:9.1f}".format(**{side: 1e3 * value for side, value in row["seconds"].items()})
    kept = "{ours:9.1f} {textbook:9.1f}".format(**row["saved_mb"])
    return f"{name:16}{stage:8}{row['ratio']:6.2f}  {low:.2f}-{high:.2f} {times} {kept}"
