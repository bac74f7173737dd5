"""RGA in training, as one function with a backward of its own: fewer operations, fewer bytes, less memory.

The numbers are those of `RelationAttention`, layer by layer; what differs is what is stored and in which buffers:

* The mean of psi and the embedded relations are written side by side, so that W1 needs no slices and the sum of both
  no pass. The halves of a gradient are written where the whole is wanted.
* The scaled features x * gate, the relations' embedding before its BatchNorm and gradients' sums are not kept or
  written: the backward computes the first two again, and adds the embedding's gradient to that of the product in place.

Names in this file: B images, F features of P nodes, D the width of theta, phi and psi, M that of the relations.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
import torch.fx
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rga.attention import moments
from rga.torch_internals import BatchNorm, has_hooks, in_functorch

if TYPE_CHECKING:
    from rga.attention.rga import RelationAttention, _Gate

aten = torch.ops.aten
_LAYERS = ("embed", "relate", "squeeze", "score")


def fits(x: Tensor, block: nn.Module) -> bool:
    """Whether the function may stand in for the modules of a block: in training, where nobody looks into them.

    Not in a trace or an export, not under torch.compile, which fuses by itself, under torch.func's transforms, nor
    without gradients. Not where a BatchNorm is frozen, synchronised or in any other way not PyTorch's plain one, where
    a module has a hook, for the blocks of the ablations, and in float16, whose products need float32. The function can
    be differentiated once.
    """
    if isinstance(x, torch.fx.Proxy) or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if in_functorch():
        return False
    if not block.training or not torch.is_grad_enabled() or _dtype(x) == torch.float16:
        return False
    if len(x) == 1 and 1 in (x.shape[1], x.shape[2:].numel()):  # a single value, of which the modules complain
        return False
    for module in block.modules():
        if isinstance(module, BatchNorm) and not _is_plain(module):
            return False
        if module is not block and has_hooks(module):
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
        for layer in _LAYERS:
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
                branch = _forward(_as_nodes(y, gate).to(ctx.dtype), gate.attention, _Parameters(*own).to(ctx.dtype))
                weight = _as_weight(branch.weight, x, gate)
                y = y * weight if scale else y
                kept += branch
        ctx.save_for_backward(x, *parameters, *kept)
        return y if scale else weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, *tensors = ctx.saved_tensors
        count = _PARAMETERS * len(ctx.gates)
        parameters = [_Parameters(*own).to(ctx.dtype) for own in _groups(tensors[:count], _PARAMETERS)]
        kept = [_Kept(*own) for own in _groups(tensors[count:], len(_Kept._fields))]
        found: list[Tensor] = []
        with _no_autocast(x):
            seen = [x]  # by each gate
            for gate, branch in zip(ctx.gates[:-1], kept[:-1], strict=True):
                seen.append(seen[-1] * _as_weight(branch.weight, x, gate))
            for gate, own, branch in reversed(list(zip(ctx.gates, parameters, kept, strict=True))):
                input = seen.pop()
                weight = _as_weight(branch.weight, x, gate)
                of_weight = (gradient * input).sum((2, 3) if gate.per_channel else 1) if ctx.scale else gradient
                nodes = _as_nodes(input, gate).to(ctx.dtype)
                of_embedded, of_parameters = _backward(of_weight, nodes, gate.attention, own, branch)
                total = torch.empty_like(x, dtype=ctx.dtype, memory_format=_layout(x))
                torch.bmm(own.embed.t().expand(len(x), -1, -1), of_embedded, out=_as_nodes(total, gate))
                total = total.to(x.dtype)
                gradient = total.addcmul_(gradient, weight) if ctx.scale else total
                found = [*of_parameters, *found]
        return gradient, None, None, *found


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


class _Parameters(NamedTuple):
    embed: Tensor
    embed_weight: Tensor
    embed_bias: Tensor
    relate: Tensor
    relate_weight: Tensor
    relate_bias: Tensor
    squeeze: Tensor
    squeeze_weight: Tensor
    squeeze_bias: Tensor
    score: Tensor
    score_weight: Tensor
    score_bias: Tensor

    def to(self, dtype: torch.dtype) -> "_Parameters":
        """With the layers' weights in the type of the products; BatchNorm's stay."""
        return self._replace(**{layer: getattr(self, layer).to(dtype) for layer in _LAYERS})


_PARAMETERS = len(_Parameters._fields)


class _Kept(NamedTuple):
    """What the backward of one gate needs. Means and inverse deviations are BatchNorm's, of the batch."""

    embedded: Tensor  # (B, 3D, 1, P), before its BatchNorm
    embedded_mean: Tensor
    embedded_scale: Tensor
    embedding: Tensor  # (B, 3D, 1, P), theta, phi and psi
    mixed: Tensor  # (B, 2D, M), [W_row phi, W_col theta]
    related_mean: Tensor
    related_scale: Tensor
    inputs: Tensor  # (B, P, 1 + M), the mean of psi and the embedded relations
    squeezed: Tensor  # (B, P, h), before its BatchNorm
    squeezed_mean: Tensor
    squeezed_scale: Tensor
    hidden: Tensor  # (B, P, h)
    scored: Tensor  # (B, P, 1), before its BatchNorm
    scored_mean: Tensor
    scored_scale: Tensor
    weight: Tensor  # (B, 1, 1, P)


def _forward(x: Tensor, attention: "RelationAttention", own: _Parameters) -> _Kept:
    """The weights of nodes (B, F, P), and what their backward needs."""
    attention.batches += 1
    batch, width, nodes = len(x), attention.width, attention.nodes
    embedded = F.conv2d(x.unsqueeze(2), own.embed[:, :, None, None])
    embedding, *embedded_statistics = _norm(embedded, attention.embed_bn)
    embedding.relu_()
    theta, phi, psi = embedding.squeeze(2).split(width, 1)
    w_row, w_col = own.relate.t().split(nodes)  # (P, M)
    mixed = x.new_empty(batch, 2 * width, len(own.relate))
    torch.bmm(phi, w_row.expand(batch, -1, -1), out=mixed[:, :width])
    torch.bmm(theta, w_col.expand(batch, -1, -1), out=mixed[:, width:])
    inputs = x.new_empty(batch, nodes, 1 + len(own.relate))
    torch.mean(psi, 1, out=inputs[:, :, 0])
    pair = embedding.squeeze(2)[:, : 2 * width]
    related = inputs[:, :, 1:]
    if _by_moments(attention):
        _, *related_statistics = moments.normalise(pair, mixed, attention.relate_bn, related)
        related.clamp_min_(0)
    else:
        normal, *related_statistics = _norm(_image(pair.transpose(1, 2) @ mixed), attention.relate_bn)
        torch.clamp_min(_nodes(normal), 0, out=related)
    squeezed = inputs @ own.squeeze.t()
    hidden, *squeezed_statistics = _norm(_image(squeezed), attention.squeeze_bn)
    hidden = _nodes(hidden.relu_())
    scored = hidden @ own.score.t()
    weight, *scored_statistics = _norm(_image(scored), attention.score_bn)
    kept = [
        embedded, *embedded_statistics, embedding,
        mixed, *related_statistics, inputs,
        squeezed, *squeezed_statistics, hidden,
        scored, *scored_statistics, torch.sigmoid(weight),
    ]  # fmt: skip
    return _Kept(*kept)


def _backward(
    gradient: Tensor, x: Tensor, attention: "RelationAttention", own: _Parameters, kept: _Kept
) -> tuple[Tensor, list[Tensor]]:
    """From the gradient of the weights those of what embeds the nodes, (B, 3D, P), and of the twelve parameters."""
    batch, width, nodes = len(x), attention.width, attention.nodes
    gradient = aten.sigmoid_backward(gradient.reshape(kept.weight.shape).to(kept.weight.dtype), kept.weight)
    gradient, score_weight, score_bias = _norm_backward(
        gradient, _image(kept.scored), own.score_weight, kept.scored_mean, kept.scored_scale, attention.score_bn
    )
    gradient = gradient.reshape(-1, 1)
    score = gradient.t() @ kept.hidden.flatten(0, 1)
    gradient = aten.threshold_backward((gradient @ own.score).view_as(kept.hidden), kept.hidden, 0)
    gradient, squeeze_weight, squeeze_bias = _norm_backward(
        _image(gradient), _image(kept.squeezed), own.squeeze_weight, kept.squeezed_mean, kept.squeezed_scale,
        attention.squeeze_bn,
    )  # fmt: skip
    gradient = _nodes(gradient).flatten(0, 1)
    squeeze = gradient.t() @ kept.inputs.flatten(0, 1)
    gradient = (gradient @ own.squeeze).view_as(kept.inputs)

    total = torch.empty_like(kept.embedding)
    pair, psi = kept.embedding.squeeze(2).split([2 * width, width], 1)
    of_pair, of_psi = total.squeeze(2).split([2 * width, width], 1)
    of_mean = (gradient[:, :, 0] / width).unsqueeze(1).expand_as(psi)
    aten.threshold_backward.grad_input(of_mean, psi, 0, grad_input=of_psi)
    gradient, related = gradient[:, :, 1:], kept.inputs[:, :, 1:]
    statistics = own.relate_weight, kept.related_mean, kept.related_scale
    if _by_moments(attention):
        aten.threshold_backward.grad_input(gradient, related, 0, grad_input=gradient)
        of_mixed, relate_weight, relate_bias = moments.backward(gradient, pair, kept.mixed, *statistics, of_pair)
    else:
        gradient = aten.threshold_backward(gradient, related, 0)  # a new one: BatchNorm wants it without gaps
        related = _image(pair.transpose(1, 2) @ kept.mixed)
        gradient, relate_weight, relate_bias = _norm_backward(
            _image(gradient), related, *statistics, attention.relate_bn
        )
        of_mixed = pair @ _nodes(gradient)
        torch.bmm(kept.mixed, gradient.squeeze(2), out=of_pair)
    (theta, phi), (of_theta, of_phi) = pair.split(width, 1), of_pair.split(width, 1)
    w_row, w_col = own.relate.split(nodes, 1)  # (M, P)
    of_phi.baddbmm_(of_mixed[:, :width], w_row.expand(batch, -1, -1))
    of_theta.baddbmm_(of_mixed[:, width:], w_col.expand(batch, -1, -1))
    aten.threshold_backward.grad_input(of_pair, pair, 0, grad_input=of_pair)
    relate = torch.empty_like(own.relate)
    torch.bmm(  # of both halves, (2, M, B D) x (2, B D, P)
        of_mixed.unflatten(1, (2, width)).permute(1, 3, 0, 2).flatten(2),
        torch.stack([phi, theta]).flatten(1, 2),
        out=relate.unflatten(1, (2, nodes)).transpose(0, 1),
    )

    gradient, embed_weight, embed_bias = _norm_backward(
        total, kept.embedded, own.embed_weight, kept.embedded_mean, kept.embedded_scale, attention.embed_bn
    )
    embed = aten.convolution_backward(
        gradient, x.unsqueeze(2), own.embed[:, :, None, None], None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1,
        [False, True, False],
    )[1].flatten(1)  # fmt: skip
    parameters = [
        embed, embed_weight, embed_bias, relate, relate_weight, relate_bias,
        squeeze, squeeze_weight, squeeze_bias, score, score_weight, score_bias,
    ]  # fmt: skip
    return gradient.squeeze(2), parameters


def _by_moments(attention: "RelationAttention") -> bool:
    """Whether the relations' statistics come from moments: where the relations are much wider than their factors."""
    return attention.relate.out_features > 16 * attention.width


def _image(nodes: Tensor) -> Tensor:
    """(B, P, channels) -> (B, channels, 1, P), a channels_last view, on which BatchNorm is fast everywhere."""
    return nodes.transpose(1, 2).unsqueeze(2)


def _nodes(image: Tensor) -> Tensor:
    """The inverse of `_image`."""
    return image.squeeze(2).transpose(1, 2)


def _norm(x: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, ...]:
    """Normalised, with the statistics of the batch; the running ones are updated."""
    momentum = cast("float", norm.momentum)
    return torch.native_batch_norm(
        x, norm.weight, norm.bias, norm.running_mean, norm.running_var, True, momentum, norm.eps
    )


def _norm_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, norm: nn.BatchNorm2d
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, of the weight and of the bias."""
    return aten.native_batch_norm_backward(
        gradient, x, weight, None, None, mean, scale, True, norm.eps, [True, True, True]
    )
