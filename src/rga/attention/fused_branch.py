"""One gate of `rga.attention.fused`: from the nodes their weights, and back, with what is kept between the two.

Names: B images, F features of P nodes, D the width of theta, phi and psi, M that of the relations.
"""

from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rga.attention import moments

if TYPE_CHECKING:
    from rga.attention.rga import RelationAttention

aten = torch.ops.aten
LAYERS = ("embed", "relate", "squeeze", "score")


class Parameters(NamedTuple):
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

    def to(self, dtype: torch.dtype) -> "Parameters":
        """With the layers' weights in the type of the products; BatchNorm's stay."""
        return self._replace(**{layer: getattr(self, layer).to(dtype) for layer in LAYERS})


class Kept(NamedTuple):
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


def forward(x: Tensor, attention: "RelationAttention", own: Parameters) -> Kept:
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
    return Kept(*kept)


def backward(
    gradient: Tensor, x: Tensor, attention: "RelationAttention", own: Parameters, kept: Kept
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
