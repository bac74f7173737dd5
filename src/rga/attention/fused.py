"""RGA in training, as one function with a backward of its own: fewer operations, fewer bytes, less memory.

The numbers are those of `RelationAttention`, layer by layer; what differs is what is stored and in which buffers:

* The mean of psi and the embedded relations are written side by side, so that W1 needs no slices and the sum of both
  no pass. The halves of a gradient are written where the whole is wanted.
* The scaled features x * gate, the relations' embedding before its BatchNorm and gradients' sums are not kept or
  written: the backward computes the first two again, and adds the embedding's gradient to that of the product in place.
* Both gradients of the product x * gate come from one reading of it where the layout allows that.

This file has what concerns the map; what lies between the nodes of one gate and their weights, `fused_branch`.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from rga.attention import fused_branch as branch
from rga.torch_internals import BatchNorm, has_hooks, in_forward_mode, in_functorch, is_plain_linear

if TYPE_CHECKING:
    from rga.attention.rga import _Gate

_PARAMETERS, _KEPT = len(branch.Parameters._fields), len(branch.Kept._fields)
_NAMES = [name for layer in branch.LAYERS for name in (f"{layer}.weight", f"{layer}_bn.weight", f"{layer}_bn.bias")]


def fits(x: Tensor, block: nn.Module) -> bool:
    """Whether the function may stand in for the modules of a block: in training, where nobody looks into them.

    Not in a trace or an export, not under torch.compile, which fuses by itself, under torch.func's transforms, nor
    without gradients. Not where a BatchNorm is frozen, synchronised or in any other way not PyTorch's plain one, where
    a module has a hook or a parametrization, for the blocks of the ablations, in forward mode, and in float16, whose
    products need float32.
    """
    if isinstance(x, torch.fx.Proxy) or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if in_functorch() or in_forward_mode():
        return False
    if not block.training or not torch.is_grad_enabled() or _dtype(x) == torch.float16:
        return False
    if len(x) == 1 and 1 in (x.shape[1], x.shape[2:].numel()):  # a single value, of which the modules complain
        return False
    for module in block.modules():
        if isinstance(module, BatchNorm) and not _is_plain(module):
            return False
        if any(type(norm) is not nn.BatchNorm2d for name, norm in module.named_children() if name.endswith("_bn")):
            return False  # another one has taken its place
        if isinstance(module, nn.Linear) and not is_plain_linear(module):
            return False
        if module is not block and (has_hooks(module) or is_parametrized(module)):
            return False
        if not getattr(module, "relation", True) or not getattr(module, "vision", True):
            return False
    return True


def _is_plain(norm: BatchNorm) -> bool:
    kept = norm.track_running_stats and norm.momentum is not None and norm.affine
    return type(norm) is nn.BatchNorm2d and norm.training and kept


def _dtype(x: Tensor) -> torch.dtype:
    """What products are computed in: under autocast its type."""
    device = x.device.type
    if device != "meta" and torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return x.dtype


def scaled(x: Tensor, *gates: "_Gate") -> Tensor:
    """x scaled by the gates, one after the other; each sees what those before it have scaled. Same shape."""
    return cast("Tensor", _Fused.apply(x, gates, True, *_parameters(gates)))


def gate(x: Tensor, gate: "_Gate") -> Tensor:
    """The weights of one gate, (B, 1, H, W) or (B, C, 1, 1)."""
    return cast("Tensor", _Fused.apply(x, (gate,), False, *_parameters([gate])))


def _parameters(gates: Sequence["_Gate"]) -> Iterator[Tensor]:
    """Twelve of each gate: of each layer its weight, and its BatchNorm's weight and bias."""
    for gate in gates:
        for layer in branch.LAYERS:
            norm = getattr(gate.attention, f"{layer}_bn")
            yield from (getattr(gate.attention, layer).weight, norm.weight, norm.bias)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gates: Sequence["_Gate"], scale: bool, *parameters: Tensor) -> Tensor:
        ctx.gates, ctx.scale, ctx.dtype = gates, scale, _dtype(x)
        kept: list[Tensor] = []
        y, weight = x, x
        with _no_autocast(x):
            for gate, own in zip(gates, _groups(parameters, _PARAMETERS), strict=True):
                nodes = _as_nodes(y, gate).to(ctx.dtype)
                found = branch.forward(nodes, gate.attention, branch.Parameters(*own).to(ctx.dtype))
                weight = _as_weight(found.weight, x, gate)
                y = y * weight if scale else y
                kept += found
        ctx.save_for_backward(x, *parameters, *kept)
        return y if scale else weight

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        if torch.is_grad_enabled():  # a second derivative is wanted (create_graph=True)
            return _by_modules(ctx, gradient)
        x, *tensors = ctx.saved_tensors
        count = _PARAMETERS * len(ctx.gates)
        parameters = [branch.Parameters(*own).to(ctx.dtype) for own in _groups(tensors[:count], _PARAMETERS)]
        kept = [branch.Kept(*own) for own in _groups(tensors[count:], _KEPT)]
        found: list[Tensor] = []
        with _no_autocast(x):
            seen = [x]  # by each gate
            for gate, own in zip(ctx.gates[:-1], kept[:-1], strict=True):
                seen.append(seen[-1] * _as_weight(own.weight, x, gate))
            for gate, own, values in reversed(list(zip(ctx.gates, parameters, kept, strict=True))):
                input, of_weight, total = seen.pop(), gradient, None
                if ctx.scale:
                    total, of_weight = _scaled_backward(gradient, input, _as_weight(values.weight, x, gate), gate)
                nodes = _as_nodes(input, gate).to(ctx.dtype)
                of_embedded, of_parameters = branch.backward(of_weight, nodes, gate.attention, own, values)
                gradient = _add_product(total, own.embed.t().expand(len(x), -1, -1), of_embedded, input, gate)
                found = [*of_parameters, *found]
        return gradient, None, None, *found


class _InTurn(nn.Module):
    """The gates by their modules, whose parameters `functional_call` can replace."""

    def __init__(self, gates: Sequence["_Gate"], scale: bool) -> None:
        super().__init__()
        self.gates, self.scale = nn.ModuleList(gates), scale

    def forward(self, x: Tensor) -> Tensor:
        y, weight = x, x
        for gate in self.gates:
            weight = cast("_Gate", gate).by_modules(y)
            y = y * weight if self.scale else y
        return y if self.scale else weight


def _by_modules(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients once more as autograd finds them in the modules, so that they have gradients themselves.

    By the forward's own parameters and in its mode: the modules may have others by now, as after a functional_call.
    """
    x, *parameters = ctx.saved_tensors[: 1 + _PARAMETERS * len(ctx.gates)]
    norms = [module for gate in ctx.gates for module in gate.modules() if isinstance(module, BatchNorm)]
    modes = [norm.training for norm in norms]
    names = [f"gates.{number}.attention.{name}" for number in range(len(ctx.gates)) for name in _NAMES]
    with torch.autocast(x.device.type, dtype=ctx.dtype, enabled=ctx.dtype != x.dtype):
        for norm in norms:
            norm.training, norm.track_running_stats = True, False  # the batch has been counted
        try:
            own = dict(zip(names, parameters, strict=True))
            result = torch.func.functional_call(_InTurn(ctx.gates, ctx.scale), own, (x,))
        finally:
            for norm, training in zip(norms, modes, strict=True):
                norm.training, norm.track_running_stats = training, True
    wanted = [tensor for tensor in (x, *parameters) if tensor.requires_grad]
    found = iter(torch.autograd.grad(result, wanted, gradient.to(result.dtype), create_graph=True, allow_unused=True))
    of_x, *others = [next(found) if tensor.requires_grad else None for tensor in (x, *parameters)]
    return of_x, None, None, *others


def _scaled_backward(gradient: Tensor, x: Tensor, weight: Tensor, gate: "_Gate") -> tuple[Tensor, Tensor]:
    """Of the product x * weight: the gradient of x, in x's layout, and that of the weights, (B, C) or (B, H, W).

    Where all that a weight scales lies side by side in memory, in rows, BatchNorm's backward is both in one pass: with
    fixed statistics, mean 0 and variance 1, of one image that has the rows for channels.
    """
    layout = torch.contiguous_format if gate.per_channel else torch.channels_last
    if not (x.is_contiguous(memory_format=layout) and gradient.is_contiguous(memory_format=layout)):
        total = torch.empty_like(x, memory_format=_layout(x))
        torch.mul(gradient, weight, out=total)
        return total, (gradient * x).sum((2, 3) if gate.per_channel else 1)
    count = weight.numel()
    rows = [(tensor if gate.per_channel else tensor.permute(0, 2, 3, 1)).view(1, count, -1) for tensor in (gradient, x)]
    mean, variance = (make(count, dtype=x.dtype, device=x.device) for make in (torch.zeros, torch.ones))
    total, of_weight, _ = torch.ops.aten.native_batch_norm_backward(
        *rows, weight.reshape(count), mean, variance, None, None, False, 0.0, [True, True, False]
    )
    if gate.per_channel:
        return total.view(x.shape), of_weight
    return total.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2), of_weight


def _add_product(total: Tensor | None, embed: Tensor, of_embedded: Tensor, x: Tensor, gate: "_Gate") -> Tensor:
    """The gradient of a map, `total` or none so far, and that through the embedding of its nodes, (B, C, H, W)."""
    if total is not None and total.dtype == of_embedded.dtype:
        _as_nodes(total, gate).baddbmm_(embed, of_embedded)
        return total
    product = torch.empty_like(x, dtype=of_embedded.dtype, memory_format=_layout(x))
    torch.bmm(embed, of_embedded, out=_as_nodes(product, gate))
    return product.to(x.dtype) if total is None else total.add_(product)


def _no_autocast(x: Tensor) -> AbstractContextManager[Any]:
    return nullcontext() if x.device.type == "meta" else torch.autocast(x.device.type, enabled=False)


def _groups(tensors: Sequence[Tensor], size: int) -> list[Sequence[Tensor]]:
    return [tensors[at : at + size] for at in range(0, len(tensors), size)]


def _layout(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _as_nodes(x: Tensor, gate: "_Gate") -> Tensor:
    """(B, C, H, W) -> (B, F, P), a view of a contiguous or channels_last map."""
    return x.flatten(2).transpose(1, 2) if gate.per_channel else x.flatten(2)


def _as_weight(weight: Tensor, x: Tensor, gate: "_Gate") -> Tensor:
    """(B, 1, 1, P) -> (B, C, 1, 1) or (B, 1, H, W)."""
    shape = (len(x), gate.channels, 1, 1) if gate.per_channel else (len(x), 1, *gate.size)
    return weight.view(shape).to(x.dtype)
