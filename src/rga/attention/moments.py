"""BatchNorm of products pair^T mixed without passes over them: its statistics from small moments.

For wide products of narrow factors. Of pair (B, K, P) and mixed (B, K, M) the product is (B, P, M). Its statistics over
images and positions are, with mu_b and C_b the mean and the covariance of pair_b over the positions,

    mean_m = E_b[mixed_bm . mu_b]    var_m = E_b[mixed_bm^T C_b mixed_bm] + Var_b[mixed_bm . mu_b]

all terms of the variance non-negative, so nothing cancels. Scale and shift are folded into mixed: what remains is one
product with a bias. Statistics are at least float32.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn


class _Moments(NamedTuple):
    mean: Tensor  # (B, K, 1), mu
    centred: Tensor  # (B, K, P), pair - mu
    spread: Tensor  # (B, K, M), P C mixed
    means: Tensor  # (B, 1, M), of each image's products


def _moments(pair: Tensor, mixed: Tensor) -> _Moments:
    mean = pair.mean(2, keepdim=True)
    centred = pair - mean
    return _Moments(mean, centred, centred @ centred.transpose(1, 2) @ mixed, mean.transpose(1, 2) @ mixed)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def normalise(pair: Tensor, mixed: Tensor, norm: nn.BatchNorm2d, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Write BatchNorm(pair^T mixed) to `out`, (B, P, M), and update the running statistics.

    Returns:
        `out`, and of the batch the mean and the inverse deviation, (M,) each.
    """
    batch, count = len(pair), len(pair) * pair.shape[2]
    wide = _wide(mixed)
    moments = _moments(_wide(pair), wide)
    variance, mean = torch.var_mean(moments.means, (0, 1), correction=0)
    variance += (moments.spread * wide).sum((0, 1)) / count
    running_mean, running_var = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    running_mean.lerp_(mean.to(running_mean.dtype), cast("float", norm.momentum))
    running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), cast("float", norm.momentum))
    scale = (variance + norm.eps).rsqrt()
    factor = norm.weight * scale
    shift = (norm.bias - mean * factor).to(pair.dtype).expand(batch, 1, -1)
    torch.baddbmm(shift, pair.transpose(1, 2), (wide * factor).to(pair.dtype), out=out)
    return out, mean, scale


def backward(
    gradient: Tensor, pair: Tensor, mixed: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, of_pair: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of mixed, of BatchNorm's weight and of its bias; that of pair is written to `of_pair`.

    Args:
        gradient: of what `normalise` wrote, (B, P, M).
        pair, mixed, weight: its arguments; mean, scale: the statistics that it gave.
        of_pair: (B, K, P).
    """
    batch, nodes = len(pair), pair.shape[2]
    wide = _wide(mixed)
    moments = _moments(_wide(pair), wide)
    factor = weight * scale
    of_bias = gradient.sum((0, 1), dtype=wide.dtype)
    of_folded = _wide(pair @ gradient)
    of_weight = ((of_folded * wide).sum((0, 1)) - mean * of_bias) * scale
    of_variance = of_weight * weight * scale.square() / -2
    of_means = (of_variance * (moments.means - mean) * 2 - factor * of_bias) / batch  # (B, 1, M)
    curved = wide * (of_variance * (2 / (batch * nodes)))  # (B, K, M)
    of_mixed = torch.addcmul(of_folded * factor, moments.spread, of_variance, value=2 / (batch * nodes))
    of_mixed.baddbmm_(moments.mean, of_means)
    torch.bmm((wide * factor).to(pair.dtype), gradient.transpose(1, 2), out=of_pair)
    of_pair.baddbmm_((curved @ wide.transpose(1, 2)).to(pair.dtype), moments.centred.to(pair.dtype))
    of_pair += (wide @ of_means.transpose(1, 2) / nodes).to(pair.dtype)
    return of_mixed.to(pair.dtype), of_weight.to(weight.dtype), of_bias.to(weight.dtype)
