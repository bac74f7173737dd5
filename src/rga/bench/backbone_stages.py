"""`rga backbone`: the stages of a network of timm, and what RGA-SC costs behind each of them."""

import copy
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text
from torch import nn

from rga.attention import RGASC
from rga.backbones import timm_trunk
from rga.backbones.stages import own_stages, pretrained_config
from rga.errors import ConfigError
from rga.inspection import Outputs, forward_flop, inspect, parameter_count
from rga.network import build
from rga.plugin import ChannelsLast, feature_map, plug

_BLOCK = {"_target_": "rga.attention.RGASC", "_partial_": True}
_MANY = 6  # stages: a network with more counts every layer of one size
_HEADINGS = {  # whether it stands at the left
    "stage": True, "module": True, "channels": False, "size": False, "parameters (M)": False, "GFLOP": False, "": True,
}  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """What a stage puts out, and what RGA-SC behind it adds.

    Args:
        module: its name.
        shape: (C, H, W); None where `problem` says why no block can stand there.
        parameters, flop: that are added; FLOPs of a forward of one image, 2 per multiply-add.
        problem: why no block can stand there.
    """

    module: str
    shape: tuple[int, int, int] | None = None
    parameters: int = 0
    flop: int = 0
    problem: str | None = None


@dataclass(frozen=True)
class Backbone:
    """A network of timm as a trunk: without pooling and classifier.

    Args:
        name: timm's.
        size: (H, W) of the images.
        options: of `timm_trunk`, which images of this size need.
        parameters, flop: of the trunk alone.
        stages: the network's own.
    """

    name: str
    size: tuple[int, int]
    options: dict[str, Any]
    parameters: int
    flop: int
    stages: tuple[Stage, ...]

    @property
    def chosen(self) -> list[int]:
        """Numbers of stages behind which a block can stand: all, or of many four, evenly spread up to the last."""
        usable = [number for number, stage in enumerate(self.stages, 1) if stage.problem is None]
        count = len(usable)
        return usable if count <= _MANY else [usable[count * part // 4 - 1] for part in range(1, 5)]


def look(name: str, size: Sequence[int] | None = None) -> Backbone:
    """Build a network of timm without weights and see what it puts out. No number depends on the machine.

    Args:
        name: timm's, such as `efficientnet_b0`.
        size: (H, W) of the images; None: those that the network was made for.

    Raises:
        ConfigError: there is no such network, or it cannot be a trunk; the error says why.
    """
    options: dict[str, Any] = {}
    trunk = _trunk(name, options)
    made_for = pretrained_config(trunk)
    own = tuple(made_for["input_size"][1:])
    height, width = size or own
    if (height, width) != own and made_for.get("fixed_input_size"):
        options = {"img_size": [height, width]}
        trunk = _trunk(name, options)
    try:
        outputs, names = inspect(trunk, (height, width)), own_stages(trunk)
        feature_map(trunk, "", outputs)
    except ValueError as error:
        raise ConfigError(f"{name} cannot be a trunk: {error}") from error
    flop, parameters = forward_flop(trunk, (height, width)), parameter_count(trunk)
    return Backbone(name, (height, width), options, parameters, flop, _stages(trunk, names, outputs, (height, width)))


def network_with_rga(backbone: Backbone) -> tuple[nn.Module, int]:
    """The trunk with RGA-SC behind the chosen stages, and its channels, as `rga train backbone=timm` has it.

    Raises:
        ConfigError: it cannot be built.
    """
    trunk = {"_target_": "rga.backbones.timm_trunk", "_convert_": "all", "name": backbone.name, **backbone.options}
    node = {"name": backbone.name, "trunk": trunk, "stages": list(range(1, len(backbone.stages) + 1))}
    return build(node, {"block": _BLOCK, "after": backbone.chosen}, backbone.size)


def text(backbone: Backbone) -> str:
    """A table of the stages, and the command that trains the network with RGA-SC behind them."""
    table = RichTable(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for heading, left in _HEADINGS.items():
        table.add_column(Text(heading), justify="left" if left else "right", no_wrap=True)
    for number, stage in enumerate(backbone.stages, 1):
        if stage.shape is None:
            table.add_row(str(number), stage.module, "", "", "", "", stage.problem)
        else:
            (channels, height, width), (added, flop) = stage.shape, (stage.parameters, stage.flop)
            numbers = f"{channels}", f"{height} x {width}", f"+{added / 1e6:.3f}", f"+{flop / 1e9:.2f}"
            table.add_row(str(number), stage.module, *numbers, "")
    console = Console(file=io.StringIO(), width=1000, color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    body = [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]
    height, width = backbone.size
    head = (
        f"{backbone.name} of timm at {height} x {width}, without pooling and classifier: "
        f"{backbone.parameters / 1e6:.3f} M parameters, {backbone.flop / 1e9:.2f} GFLOP (2 per multiply-add) an image. "
        "What RGA-SC behind a stage adds:"
    )
    return "\n".join([head, *body, "", _command(backbone)])


def _command(backbone: Backbone) -> str:
    """How to train it, with what images of this size need."""
    if not backbone.chosen:
        return "No stage of its own can have a block."
    numbers = ",".join(map(str, backbone.chosen))
    size = "[{},{}]".format(*backbone.size)
    words = [f"rga train backbone=timm backbone.name={backbone.name} attention=rga_sc attention.after=[{numbers}]"]
    return " ".join([*words, f"data.size={size}", *(f"+backbone.trunk.{key}={size}" for key in backbone.options)])


def _trunk(name: str, options: dict[str, Any]) -> nn.Module:
    try:
        with torch.device("meta"):  # no memory, however large it is
            return timm_trunk(name, **options)
    except Exception as error:  # whatever a network raises that cannot be without its pooling, or for another size
        reason = str(error) or type(error).__name__
        said = reason if isinstance(error, ValueError) else f"{name} cannot be a trunk: {reason}"
        raise ConfigError(said) from error


def _stages(trunk: nn.Module, names: Sequence[str], outputs: Outputs, size: tuple[int, int]) -> tuple[Stage, ...]:
    """Put a block behind all stages at once, or, where that fails, see behind which one can stand."""
    try:
        return _plugged(trunk, names, outputs, size)
    except ValueError as error:
        if len(names) == 1:
            return (Stage(names[0], problem=str(error).partition("\n")[0]),)
    return tuple(stage for name in names for stage in _stages(trunk, [name], outputs, size))


def _plugged(trunk: nn.Module, names: Sequence[str], outputs: Outputs, size: tuple[int, int]) -> tuple[Stage, ...]:
    network = plug(copy.deepcopy(trunk), RGASC, names, size)
    found = []
    for name in names:
        block, shape = network.get_submodule(f"{name}.attention"), outputs.shapes[name]
        assert shape is not None
        flop = forward_flop(block, shape[1:], shape[0])
        if isinstance(block, ChannelsLast):
            shape = (shape[2], shape[0], shape[1])
        found.append(Stage(name, (shape[0], shape[1], shape[2]), parameter_count(block), flop))
    return tuple(found)
