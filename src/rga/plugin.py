"""Put an attention block behind named stages of any convolutional network."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import chain

from torch import Tensor, nn

from rga.inspection import ATTENTION, STAGE, Outputs, Shape, check_input_size, inspect, is_plugged
from rga.torch_internals import own_modules

Block = Callable[[int, tuple[int, int]], nn.Module]


def plug(network: nn.Module, block: Block | None, after: Iterable[str], input_size: tuple[int, int]) -> nn.Module:
    """Replace each stage by the sequence of the stage and a block, in the network itself, and return the network.

    A stage `layer1` becomes `nn.Sequential` with the children `stage` (the old module) and `attention`: plain modules
    and no hooks, so copying, pickling, compiling, exporting and wrapping for several devices work as before. Load
    pretrained weights first: the names of the parameters change. A stage that the network holds under several names
    is replaced under all of them. Behind a stage whose channels come last, (B, H, W, C), as in timm's Swin, the
    block is a `ChannelsLast`.

    Nothing is changed where anything fails: the blocks are all built before the first is put, and when they are there,
    the network is run once more (without computing) to see that each one is run, once, and keeps the shape.

    Args:
        network: maps images to anything, by stages whose output is (B, C, H, W) or (B, H, W, C).
        block: called as `block(channels, (height, width))` with the stage's output; None leaves the network as it is.
        after: names of the stages, such as `layer1` or `features.3`.
        input_size: (H, W) of the images.

    Raises:
        ValueError: a name is unknown (the error lists the names there are), its output is not one feature map, it has a
            block already, or a forward would not run the block once; `block` is a module itself, or gives none for each
            stage; or the network cannot be run without computing.

    Examples:
        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from rga.attention import RGASC
        >>> network = plug(resnet18(), RGASC, after=["layer1", "layer2"], input_size=(128, 64))
        >>> network.layer2.attention.spatial
        RGAS(
          channels=128, size=(16, 8)
          ...
        >>> network(torch.rand(2, 3, 128, 64)).shape
        torch.Size([2, 1000])
    """
    if isinstance(after, str):
        raise ValueError(f"after is a list of stages' names: write [{after!r}]")
    names, size = list(after), check_input_size(input_size)
    if block is None or not names:
        return network
    if isinstance(block, nn.Module):
        raise ValueError("block is called as block(channels, (height, width)): give its class, or a partial of it")
    outputs = inspect(network, size)
    stages = {name: _stage(network, name, outputs) for name in names}
    if len(stages) < len(names) or len(set(stages.values())) < len(stages):
        raise ValueError(f"one stage is named twice: after={names}")
    blocks: dict[str, nn.Module] = {}
    for name, stage in stages.items():
        first, second, third = feature_map(network, name, outputs)
        last = _channels_last(network, name, (first, second, third), size)
        made = block(third, (first, second)) if last else block(first, (second, third))
        if not isinstance(made, nn.Module):
            raise ValueError(f"block gives {made!r}, not a module, for the stage {name!r}")
        if any(made in one.modules() for one in (network, *blocks.values())):
            raise ValueError(f"block gives one module for several stages, {name!r} among them: each has one of its own")
        made = ChannelsLast(made) if last else made
        made.train(stage.training)
        for parameter in chain(stage.parameters(), network.parameters()):  # a pooling layer has none
            made.to(parameter.device, parameter.dtype)
            break
        blocks[name] = made
    put(network, blocks, size)
    return network


def assemble(
    trunk: nn.Module, block: Block | None, after: Iterable[str], input_size: tuple[int, int]
) -> tuple[nn.Module, int]:
    """A trunk with blocks, see `plug`, whose feature map has its channels first, and their number.

    Where the trunk's come last, as timm's Swin has them, it is permuted at its end.

    Raises:
        ValueError: see `plug`; or the trunk does not put out one feature map.
    """
    network = plug(trunk, block, after, input_size)
    shape = feature_map(network, "", inspect(network, input_size))
    if not _channels_last(network, "", shape, input_size):
        return network, shape[0]
    return nn.Sequential(OrderedDict(trunk=network, channels_first=ChannelsFirst())), shape[2]


def put(network: nn.Module, blocks: Mapping[str, nn.Module], input_size: tuple[int, int]) -> None:
    """Put modules that keep the shape behind stages, all or none of them; what `plug` does with its blocks.

    Raises:
        ValueError: a forward does not run each of them once, or one changes the shape; then nothing was changed.
    """
    stages = {network.get_submodule(name): name for name in blocks}
    places = [  # every place that holds a stage: a network may have it under several names
        (parent, child, module, stages[module])
        for parent in network.modules()
        for child, module in own_modules(parent)
        if module in stages
    ]
    pairs = {
        name: nn.Sequential(OrderedDict([(STAGE, stage), (ATTENTION, blocks[name])])) for stage, name in stages.items()
    }
    for parent, child, _, name in places:
        setattr(parent, child, pairs[name])
    try:
        _check(network, pairs, input_size)
    except BaseException:
        for parent, child, stage, _ in places:
            setattr(parent, child, stage)
        raise


def _check(network: nn.Module, pairs: Mapping[str, nn.Sequential], size: tuple[int, int]) -> None:
    """Each block is run once by a forward, and what it puts out has the shape of what its stage does."""
    try:
        outputs = inspect(network, size)
    except ValueError as error:
        cause = error.__cause__ or error  # without the advice for networks that do not run by themselves
        raise ValueError(
            f"with blocks after {', '.join(pairs)} the network does not run: {type(cause).__name__}: {cause}"
        ) from error
    where = {module: name for name, module in network.named_modules()}
    for name, pair in pairs.items():
        stage, attention = (where[module] for module in pair)
        if outputs.runs[attention] != 1:
            raise ValueError(
                f"a block after {name!r} would be run {outputs.runs[attention]} times by a forward of "
                f"{type(network).__name__}, not once: the network does not call this module just once, or reaches past "
                "it; name the module that contains it, or one within it"
            )
        if outputs.shapes[attention] != outputs.shapes[stage]:
            raise ValueError(
                f"the block after {name!r} puts out {outputs.shapes[attention]} for features {outputs.shapes[stage]}: "
                "a block keeps the shape"
            )


def output_shapes(network: nn.Module, input_size: tuple[int, int]) -> dict[str, Shape]:
    """(C, H, W) of the output of each module that a forward runs, by name; None where it is not one 4-D tensor.

    It computes nothing, copies no parameter and leaves the network alone, see `rga.inspection.inspect`. A module that
    the network holds under several names stands under each of them. Where channels come last it is (H, W, C).

    Raises:
        ValueError: the network cannot be run like this.

    Examples:
        >>> from torchvision.models import resnet18
        >>> shapes = output_shapes(resnet18(), (128, 64))
        >>> shapes["layer1"], shapes["layer4"], shapes["fc"]
        ((64, 32, 16), (512, 4, 2), None)
    """
    return inspect(network, input_size).shapes


class ChannelsLast(nn.Module):
    """A block for (B, C, H, W) behind a stage that puts out (B, H, W, C)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x.permute(0, 3, 1, 2))
        return y.permute(0, 2, 3, 1)


class ChannelsFirst(nn.Module):
    """(B, H, W, C) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


def is_channels_last(network: nn.Module, input_size: tuple[int, int]) -> bool:
    """Whether the network's own output is (B, H, W, C).

    Raises:
        ValueError: it is not one feature map, or its shape does not tell.

    Examples:
        >>> from torch import nn
        >>> is_channels_last(nn.Conv2d(3, 8, 3, stride=2), (64, 32))
        False
    """
    return _channels_last(network, "", feature_map(network, "", inspect(network, input_size)), input_size)


def _channels_last(network: nn.Module, name: str, shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether a feature map is (H, W, C) and not (C, H, W).

    Down and across, strides are alike. Where that can be said of both pairs of sides (or of neither), the height is
    what grows with the image's.

    Raises:
        ValueError: the network takes images of one size only, and its shape does not tell.
    """
    first, last = (_alike(shape[down], shape[down + 1], size) for down in (1, 0))
    if last or not first:
        try:
            other = inspect(network, (2 * size[0], size[1]), blocks=False).shapes[name] or shape
        except ValueError:
            pass
        else:
            grown = [axis for axis in range(3) if other[axis] != shape[axis]]
            first, last = grown in ([], [1]), grown == [0]  # none has grown: pooled to a fixed size
    if first == last:
        raise ValueError(f"stage {name!r} puts out {shape}, which does not tell whether channels come first or last")
    return last


def _alike(height: int, width: int, size: tuple[int, int]) -> bool:
    """Whether there is a stride, at least 1, that makes such a map of such an image, but for rounding."""
    if height > size[0] or width > size[1]:
        return False
    pairs = list(zip(size, (height, width), strict=True))
    smallest = max(side / (count + 1) for side, count in pairs)
    largest = min(side / max(count - 1, 1e-9) for side, count in pairs)
    return smallest < largest


def feature_map(network: nn.Module, name: str, outputs: Outputs) -> tuple[int, int, int]:
    """The shape of what a stage puts out, or the network itself (under the name ""), which is one feature map.

    Raises:
        ValueError: it is not, or there is no such stage; the error lists the names there are.
    """
    if name not in outputs.shapes:
        raise ValueError(_unknown(network, name, outputs))
    shape = outputs.shapes[name]
    if shape is None:
        what = f"stage {name!r}" if name else type(network).__name__
        raise ValueError(f"{what} does not put out one feature map of shape (B, C, H, W)")
    first, second, third = shape
    return first, second, third


def _stage(network: nn.Module, name: str, outputs: Outputs) -> nn.Module:
    """The module of a name, which puts out one feature map and has no block yet."""
    if not name:
        raise ValueError(_unknown(network, name, outputs))
    feature_map(network, name, outputs)
    path = name.split(".")
    for depth in range(1, len(path) + 1):
        if is_plugged(network.get_submodule(".".join(path[:depth]))) and path[depth:] in ([], [STAGE], [ATTENTION]):
            raise ValueError(f"stage {'.'.join(path[:depth])!r} has a block already: plug into a network once")
    return network.get_submodule(name)


def _unknown(network: nn.Module, name: str, outputs: Outputs) -> str:
    """The names there are: those that end alike, then those below what the name begins with, two levels deep."""
    maps = [known for known, shape in outputs.shapes.items() if known and shape]
    start = name
    while start and start not in outputs.shapes:
        start = start.rpartition(".")[0]
    inside = start and f"{start}."
    alike = [known for known in maps if known.endswith(f".{name}")]
    below = [known for known in maps if known.startswith(inside) and known.removeprefix(inside).count(".") <= 1]
    there = any(known == name for known, _ in network.named_modules(remove_duplicate=False)) and bool(name)
    what = f"{name!r} is a module of this network, but no forward runs it" if there else f"no stage named {name!r}"
    return f"{what}; there are: {', '.join(dict.fromkeys([*alike, *below]))}"
