"""Parameters under the names of the authors' published code for re-ID, to and from this package's blocks.

Their block keeps theta, phi and psi (`gx`) as three convolutions, the relation embedding as `gg` and the two layers
behind it as `W`, each with `.0` for the convolution and `.1` for its BatchNorm (`.3` and `.4` for the second of `W`).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from torch import Tensor, nn

from rga.attention import RGAC, RGACS, RGAS, RGASC, RGAParallel
from rga.attention.rga import RelationAttention
from rga.backbones.weights import fill

Combined = RGASC | RGACS | RGAParallel
Block = RGAS | RGAC | Combined


def reference_tensors(
    block: nn.Module, pick: Callable[[Tensor], Tensor | None] = lambda tensor: tensor
) -> dict[str, Tensor]:
    """The tensors of an RGA block under the authors' names and in their shapes, as views of the block's memory.

    Args:
        block: RGAS, RGAC or a combination of the two.
        pick: applied to each parameter and statistic first; `lambda p: p.grad` gives the gradients.

    Raises:
        TypeError: for any other module.
    """
    tensors: dict[str, Tensor] = {}
    for kind, attention in _attentions(block).items():
        attention.count()
        for name, owner, key, part in _parts(attention):
            picked = pick(getattr(owner, key))
            if picked is None:
                continue
            view = picked.detach() if part is None else picked.detach()[part]
            stem, dot, rest = name.partition(".")
            # Linear layers act as 1x1 convolutions: (out, in) -> (out, in, 1, 1)
            tensors[f"{stem}_{kind}{dot}{rest}"] = view[..., None, None] if view.dim() == 2 else view
    return tensors


def load_reference(block: nn.Module, state: Mapping[str, Any]) -> None:
    """Load parameters and statistics under the authors' names (`theta_spatial.0.weight`, ...) into an RGA block.

    Args:
        block: built as RGAS, RGAC or RGASC (or the other two) with the sizes and ratios of the state.
        state: arrays or tensors by name; the prefix `state/` may stand before each name.

    Raises:
        ValueError: lists the names that are missing, unexpected or of another shape; then nothing was loaded.
    """
    fill(reference_tensors(block), {name.removeprefix("state/"): value for name, value in state.items()})


def load_reference_model(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Load a whole checkpoint of the authors' re-ID model into ours.

    Args:
        model: `backbone` is torchvision's ResNet-50 trunk with RGA blocks plugged in after layer1 to layer4, `neck` the
            BatchNorm (theirs: `feat_bn`), `classifier` the bias-free linear layer (theirs: `cls`).
        state: their state dict, or a dict that holds it as `state_dict`; `module.` may stand before each name.

    Raises:
        ValueError: lists the names that are missing, unexpected or of another shape; then nothing was loaded.
    """
    state = cast("Mapping[str, Any]", state.get("state_dict", state))
    targets: dict[str, Tensor] = {}
    blocks: dict[str, nn.Module] = {}
    for name, module in model.named_modules():  # outer modules come first; a block's own blocks are its parts
        if isinstance(module, Block) and not name.startswith(tuple(f"{path}." for path in blocks)):
            blocks[name] = module
    for path, block in blocks.items():
        stage = re.fullmatch(r"backbone\.layer(\d)\.attention", path)
        if stage is None:
            raise ValueError(f"the authors' model has its blocks at backbone.layerN.attention, this one at {path}")
        targets |= {f"backbone.rga_att{stage[1]}.{name}": view for name, view in reference_tensors(block).items()}
    for name, tensor in model.state_dict().items():
        if not name.startswith(tuple(f"{path}." for path in blocks)):
            name = re.sub(r"^(backbone\.layer\d)\.stage\.", r"\1.", name)
            name = re.sub(r"^neck\.", "feat_bn.", re.sub(r"^classifier\.", "cls.", name))
            targets[name] = tensor
    fill(targets, {name.removeprefix("module."): value for name, value in state.items()})


def _attentions(block: nn.Module) -> dict[str, RelationAttention]:
    if isinstance(block, RGAS):
        return {"spatial": block.attention}
    if isinstance(block, RGAC):
        return {"channel": block.attention}
    if isinstance(block, Combined):
        return {"spatial": block.spatial.attention, "channel": block.channel.attention}
    raise TypeError(f"the authors' code has no counterpart of {type(block).__name__}")


def _parts(attention: RelationAttention) -> Iterable[tuple[str, nn.Module, str, slice | None]]:
    """(their name without the kind, our module, its tensor, the part of it along the first dimension)."""
    bn = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

    def layer(name: str, index: int, weight: nn.Module, norm: nn.Module, rows: slice | None = None) -> Any:
        yield f"{name}.{index}.weight", weight, "weight", rows
        for key in bn:
            yield f"{name}.{index + 1}.{key}", norm, key, None if key == "num_batches_tracked" else rows

    stacked = ("theta", "phi") * attention.relation + ("gx",) * attention.vision
    for index, name in enumerate(stacked):
        rows = slice(index * attention.width, (index + 1) * attention.width)
        yield from layer(name, 0, attention.embed, attention.embed_bn, rows)
    if attention.relation:
        yield from layer("gg", 0, attention.relate, attention.relate_bn)
    yield from layer("W", 0, attention.squeeze, attention.squeeze_bn)
    yield from layer("W", 3, attention.score, attention.score_bn)
