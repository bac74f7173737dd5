"""Put an attention block behind named stages of any convolutional network."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


def plug(
    network: nn.Module,
    block: Callable[[int, tuple[int, int]], nn.Module] | None,
    after: Iterable[str],
    input_size: tuple[int, int],
) -> nn.Module:
    """Replace each stage by the sequence of the stage and a block, in the network itself, and return the network.

    A stage `layer1` becomes `nn.Sequential` with the children `stage` (the old module) and `attention`: plain modules
    and no hooks, so copying, pickling, compiling, exporting and wrapping for several devices work as before. Load
    pretrained weights first: the names of the parameters change.

    Args:
        network: maps images to anything, by stages whose output is (B, C, H, W).
        block: called as `block(channels, (height, width))` with the stage's output; None leaves the network as it is.
        after: names of the stages, such as `layer1` or `features.3`.
        input_size: (H, W) of the images.

    Raises:
        ValueError: a name is unknown (the error lists the names there are), or its output is not one feature map.
    """
    after = list(after)
    if block is None or not after:
        return network
    outputs = output_shapes(network, input_size)
    for name in after:
        if name not in outputs:
            maps = [known for known, shape in outputs.items() if known and shape and known.count(".") <= 1]
            raise ValueError(f"no stage named {name!r} is run by this network; there are: {', '.join(maps)}")
        if outputs[name] is None:
            raise ValueError(f"stage {name!r} does not put out one feature map of shape (B, C, H, W)")
    places = [(network.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in after]
    for name, (parent, child) in zip(after, places, strict=True):
        channels, height, width = outputs[name] or ()
        stage = parent.get_submodule(child)
        attention = block(channels, (height, width)).train(stage.training)
        for parameter in stage.parameters():
            attention.to(parameter.device, parameter.dtype)
            break
        setattr(parent, child, nn.Sequential(OrderedDict(stage=stage, attention=attention)))
    return network


def output_shapes(network: nn.Module, input_size: tuple[int, int]) -> dict[str, tuple[int, ...] | None]:
    """(C, H, W) of the output of each module that a forward runs, by name; None where it is not one 4-D tensor.

    One pass on the meta device: it computes nothing, copies no parameter and touches neither mode nor statistics.
    """
    shapes: dict[str, tuple[int, ...] | None] = {}

    def record(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            shapes[name] = tuple(output.shape[1:]) if isinstance(output, torch.Tensor) and output.dim() == 4 else None

        return hook

    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    abstract = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    dtype = next((tensor.dtype for tensor in abstract.values() if tensor.is_floating_point()), None)
    channels = next((module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d)), 3)
    modes = [(module, module.training) for module in network.modules()]
    hooks = [module.register_forward_hook(record(name)) for name, module in network.named_modules()]
    try:
        network.eval()
        with torch.no_grad(), torch.device("meta"):
            torch.func.functional_call(network, abstract, (torch.empty(1, channels, *input_size, dtype=dtype),))
    finally:
        for handle in hooks:
            handle.remove()
        for module, training in modes:
            module.training = training
    return shapes
