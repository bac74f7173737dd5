"""What attention costs: parameters, FLOPs, memory and time of networks with a block, side by side."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from hydra.utils import get_class
from torch import Tensor, nn

from rga.bench.memory import saved_bytes
from rga.bench.options import autocast
from rga.bench.timing import interleaved
from rga.errors import ConfigError
from rga.inspection import forward_flop, parameter_count
from rga.network import build, component
from rga.tasks import Segmentation
from rga.training.speed import speed_up

DTYPES = {"32-true": "float32", "bf16-mixed": "bfloat16"}  # Lightning's names -> those of the benches
CLASSES = 19  # of a segmentation network: Cityscapes'
_FEW = (2, 3)  # images: of a single one a block may keep less, as it needs no copies


@dataclass(frozen=True)
class Cost:
    """The numbers of one network; None where `problem` says why there is none."""

    parameters: int | None = None  # without the classifier of re-ID and classification
    flop: int | None = None  # of a forward, per image: 2 per multiply-add of convolutions and matrix products
    saved_bytes: int | None = None  # that a forward keeps for its backward, of each image
    forward: float | None = None  # time in evaluation mode without gradients, relative to the bare network's
    step: float | None = None  # the same for forward, backward and plain SGD in training mode
    problem: str | None = None


def costs(
    configs: Mapping[str, Mapping[str, Any]], *, device: str = "cpu", batch: int = 2, rounds: int = 5
) -> dict[str, Cost]:
    """Measure the networks that configs describe: as `rga train` builds them, but with random weights and images.

    Parameters, FLOPs and bytes are deterministic. The bytes are those that one image more adds, without compilation, so
    they do not depend on `batch`, and weights that autocast has cast are not among them. Every network is timed beside
    the bare one, in turn; times are medians of the ratios of two neighbours, as a machine's speed drifts. The configs'
    `trainer.precision`, `trainer.channels_last` and `trainer.compile=true` are honoured. No data and no weights are
    read.

    Args:
        configs: resolved configs by name; the first one is the bare network.
        device: cpu, cuda, cuda:1, ...
        batch: images that are timed at once.
        rounds: how often each pair is timed.

    Raises:
        ConfigError: the bare network cannot be measured. Where another one cannot, its `problem` says why.
    """
    found: dict[str, Cost] = {}
    bare: _Timed | None = None
    for name, config in configs.items():
        dtype, trainer = dtype_of(config), config["trainer"]
        cost = Cost()
        try:
            network = network_of(config)
            images = torch.randn(max(batch, *_FEW), 3, *config["data"]["size"], device=device)
            cost = replace(cost, parameters=parameter_count(network))
            cost = replace(cost, flop=forward_flop(network, config["data"]["size"]))
            network.to(device)
            with autocast(device, dtype):
                fewer, more = (saved_bytes(network.train(), images[:count].clone()) for count in _FEW)
            cost = replace(cost, saved_bytes=more - fewer)
            speed_up(network, images.device, trainer["channels_last"], trainer["compile"] is True, trainer["tf32"])
            this = _Timed(network, *_calls(network, images[:batch], dtype))
            bare = bare or this
            cost = replace(cost, forward=_relative(this, bare, rounds, training=False))
            cost = replace(cost, step=_relative(this, bare, rounds, training=True))
        except (ValueError, RuntimeError) as error:  # out of memory is a RuntimeError
            if not found:
                raise ConfigError(f"the network without attention cannot be measured: {error}") from error
            cost = replace(cost, problem=str(error).partition("\n")[0])
        found[name] = cost
    return found


def network_of(config: Mapping[str, Any]) -> nn.Module:
    """The network of a resolved config without weights: the backbone with attention, for segmentation with its head."""
    backbone, trunk = config["backbone"], config["backbone"]["trunk"]
    if "weights" in trunk:
        backbone = {**backbone, "trunk": {**trunk, "weights": None}}
    size = config["data"]["size"]
    network, channels = build(backbone, config["attention"], size)
    if not issubclass(get_class(config["task"]["_target_"]), Segmentation):
        return network
    task: Segmentation = component(config["task"], network=network, channels=channels, optimizer=None, schedule=None)
    task.build((size[0], size[1]), torch.zeros(CLASSES, 3, dtype=torch.uint8))
    assert task.segmenter is not None
    return task.segmenter


def dtype_of(config: Mapping[str, Any]) -> str:
    """`float32`, or `bfloat16` for autocast."""
    precision = config["trainer"]["precision"]
    if precision not in DTYPES:
        raise ConfigError(f"trainer.precision={precision}: the cost is measured with {' or '.join(DTYPES)}")
    return DTYPES[precision]


def _calls(network: nn.Module, images: Tensor, dtype: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """A forward without gradients, and a training step."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)

    def forward() -> None:
        with autocast(images.device.type, dtype), torch.no_grad():
            network(images)

    def step() -> None:
        with autocast(images.device.type, dtype):
            outputs = network(images)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)  # an auxiliary head's beside the head's
        torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return forward, step


class _Timed(NamedTuple):
    network: nn.Module
    forward: Callable[[], None]
    step: Callable[[], None]


def _relative(this: _Timed, bare: _Timed, rounds: int, *, training: bool) -> float:
    """How many times as long as the bare network's it takes: 1 for the bare network itself."""
    calls = {}
    for name, timed in {"bare": bare, "this": this}.items():
        timed.network.train(training)
        calls[name] = timed.step if training else timed.forward
    seconds = interleaved(calls, rounds)
    if this is bare:
        return 1.0
    return statistics.median(mine / its for mine, its in zip(seconds["this"], seconds["bare"], strict=True))
