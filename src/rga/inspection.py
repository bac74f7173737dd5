"""What a forward pass of a network puts out, found without computing anything and without touching the network."""

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rga.torch_internals import forget_hooks, own_tensors

Shape = tuple[int, ...] | None
STAGE, ATTENTION = "stage", "attention"  # the children of what `rga.plugin.plug` puts in the place of a stage


@dataclass(frozen=True)
class Outputs:
    """Of each module that a forward runs, by each of its names, in the order in which they end.

    Args:
        shapes: the output without the batch; None where it is not one 4-D tensor. Of a module that runs several times
            it is the last one.
        runs: how often a forward runs it.
    """

    shapes: dict[str, Shape] = field(default_factory=dict)
    runs: Counter[str] = field(default_factory=Counter)


def inspect(network: nn.Module, input_size: tuple[int, int], *, blocks: bool = True) -> Outputs:
    """Run a copy of the network, in evaluation mode, on one image of (H, W) pixels.

    The copy shares no tensor with the network and lies on the meta device, where tensors have a shape and a number
    format, but no memory. Modules that the network holds under several names are one module in the copy as well.

    Args:
        network: maps images to anything.
        input_size: (H, W) of the images.
        blocks: False leaves out what `rga.plugin.plug` has put behind stages, which may be for one size only.

    Raises:
        ValueError: the network cannot be run like this; the error says why, and what to plug into instead.
    """
    height, width = check_input_size(input_size)
    lazy = [name for name, module in network.named_modules() if _is_lazy(module)]
    if lazy:
        raise ValueError(
            f"{type(network).__name__} has layers without weights yet ({', '.join(lazy[:3])}): "
            "run it once on a batch of images first"
        )
    first: Exception | None = None
    for channels in _channels(network):
        try:
            return _run(network, channels, (height, width), blocks)
        except Exception as error:  # whatever a network raises that cannot take such an image
            first = first or error
    raise ValueError(_unfit(network, (height, width), first)) from first


def forward_flop(network: nn.Module, input_size: Sequence[int], channels: int = 3) -> int:
    """FLOPs of a forward of one image, or one feature map, of (H, W) in evaluation mode.

    They are 2 per multiply-add of convolutions and products. Nothing is computed, and the network is left as it is;
    where it is compiled, its copy is not. The number format does not count: the copy is in single precision.
    """
    abstract = copy.deepcopy(network).to("meta", torch.float32).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        abstract(torch.empty(1, channels, *input_size, device="meta"))
    return int(counter.get_total_flops())


def parameter_count(module: nn.Module) -> int:
    """How many numbers it learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def attention_blocks(network: nn.Module) -> dict[str, nn.Module]:
    """What `plug` has put behind stages, and a segmentation network has beside its features, by their paths.

    Trunks may have modules of their own that are called so, as timm's CSPNeXt has.
    """
    modules = dict(network.named_modules())
    beside = (ATTENTION, f"segmenter.{ATTENTION}")
    return {
        path: module
        for path, module in modules.items()
        if path in beside or (path.endswith(f".{ATTENTION}") and is_plugged(modules[path.rpartition(".")[0]]))
    }


def is_plugged(module: nn.Module) -> bool:
    """Whether this is a stage with the block behind it."""
    return [name for name, _ in module.named_children()] == [STAGE, ATTENTION]


def check_input_size(input_size: Any) -> tuple[int, int]:
    """(H, W) as whole numbers; a ValueError for anything else."""
    try:
        height, width = input_size
        sizes = (int(height), int(width))
    except (TypeError, ValueError):
        raise ValueError(
            f"input_size is (height, width) of the images, such as (256, 128), got {input_size!r}"
        ) from None
    if min(sizes) < 1 or sizes != (height, width):
        raise ValueError(f"input_size is (height, width) in whole pixels, got {input_size!r}")
    return sizes


def _is_lazy(module: nn.Module) -> bool:
    return any(nn.parameter.is_lazy(tensor) for tensor in own_tensors(module) if tensor is not None)


def _channels(network: nn.Module) -> list[int]:
    """How many channels images may have: those of the first convolution, which is the stem of most networks, or 3."""
    stem = [module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d)][:1]
    return list(dict.fromkeys([*stem, 3, 1]))


def _run(network: nn.Module, channels: int, size: tuple[int, int], blocks: bool = True) -> Outputs:
    outputs = Outputs()

    def record(names: list[str]) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            for name in names:
                outputs.shapes.pop(name, None)  # to the end: the order is that of the last run
                outputs.shapes[name] = tuple(map(int, output.shape[1:])) if _is_map(output) else None
                outputs.runs[name] += 1

        return hook

    memo: dict[int, Any] = {}  # what the copy has in the place of each tensor
    for module in network.modules():
        for value in (*own_tensors(module), *vars(module).values()):
            if isinstance(value, nn.Parameter):
                memo[id(value)] = nn.Parameter(torch.empty_like(value, device="meta"), value.requires_grad)
            elif isinstance(value, Tensor):
                memo[id(value)] = torch.empty_like(value, device="meta")
    twin = copy.deepcopy(network, memo).eval()
    forget_hooks(twin)  # they may read values, and it has none
    for module in list(twin.modules()):
        if not blocks and is_plugged(module):
            setattr(module, ATTENTION, nn.Identity())
    names: dict[int, list[str]] = {}
    for name, module in twin.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    for module in twin.modules():
        module.register_forward_hook(record(names[id(module)]))
    tensors = [*network.parameters(), *network.buffers()]
    dtype = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), None)
    with torch.no_grad(), torch.device("meta"):
        twin(torch.empty(1, channels, *size, dtype=dtype))
    return outputs


def _is_map(output: Any) -> bool:
    return isinstance(output, Tensor) and output.dim() == 4


def _unfit(network: nn.Module, size: tuple[int, int], error: Exception | None) -> str:
    """Why a network cannot be run, and which of its parts can."""
    reason = (str(error).strip() or type(error).__name__).partition("\n")[0][:200]
    parts = []
    for name, child in network.named_children():
        for channels in _channels(child):
            try:
                outputs = _run(child, channels, size)
            except Exception:  # this part cannot be run either
                continue
            stages = [stage for stage, shape in outputs.shapes.items() if shape and stage and stage.count(".") <= 1]
            stages.sort(key=lambda stage: stage.count("."))
            if stages:
                parts.append(f"plug(network.{name}, ...), with the stages {', '.join(stages[:6])}")
            break
    return (
        f"{type(network).__name__} cannot be run on an image of {size[0]} x {size[1]} without computing it "
        f"({type(error).__name__}: {reason}). Plug into the part of it that maps images to feature maps"
        f"{': ' + '; or '.join(parts) if parts else ', its backbone'}"
    )
