"""Attention of all positions to all positions, without a scaling of the scores."""

import torch.fx
from torch import Tensor
from torch.nn import functional as F

from rga.attention.half import affinity
from rga.attention.layout import is_static


@torch.fx.wrap
def attend(embedding: Tensor, width: int) -> Tensor:
    """sum_j softmax_j(q_i . k_j) v_j for each position i: (B, E, H, W), in the memory format of the embedding.

    The same numbers to rounding in either of two ways. PyTorch's fused attention keeps no N x N matrix where a fused
    kernel exists, but it computes the matrix again in the backward and wants the channels of a position next to each
    other, so that a contiguous map is copied there and back. Where such a map is so small that the matrix is no larger
    than q, k and v, plain matrix products are faster and keep less.

    Args:
        embedding: q, k (`width` channels each) and v (E channels), one behind the other, (B, 2 width + E, H, W).
        width: the channels of q and of k.
    """
    size, channels = embedding.shape[2:], embedding.shape[1]
    widths = [width, width, channels - 2 * width]
    if embedding.is_contiguous() and is_static(embedding) and size.numel() <= channels:
        query, key, value = embedding.flatten(2).split(widths, dim=1)  # (B, D, N)
        weights = affinity(query.transpose(1, 2), key)  # (B, N, N)
        return (value @ weights.transpose(1, 2)).unflatten(2, size)
    nodes = embedding.flatten(2).transpose(1, 2).contiguous()  # (B, N, 2D + E); no copy of a channels_last map
    query, key, value = nodes.unsqueeze(1).split(widths, dim=3)  # one head, (B, 1, N, D)
    y = F.scaled_dot_product_attention(query, key, value, scale=1.0)
    y = y.squeeze(1).transpose(1, 2).unflatten(2, size)  # channels_last
    return y.contiguous() if embedding.is_contiguous() else y
