"""Products of features in float16: sums of squares of features pass its largest number, 65504, where features are 300.

float16 is what autocast chooses for products, or what the features are in; bfloat16 reaches as far as float32.
"""

import torch
import torch.fx
from torch import Tensor
from torch.nn import functional as F


@torch.fx.wrap
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a @ b; float32 where autocast would make it float16."""
    if _autocast_to_half(a):
        with torch.autocast(a.device.type, enabled=False):
            return a.float() @ b.float()
    return a @ b


@torch.fx.wrap
def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x @ weight^T; float32 where autocast would make it float16."""
    if _autocast_to_half(x):
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), weight.float())
    return F.linear(x, weight)


@torch.fx.wrap
def affinity(a: Tensor, b: Tensor) -> Tensor:
    """The softmax of a @ b over the last dimension, in float32 inside where either would be float16."""
    if a.dtype == torch.float16 or _autocast_to_half(a):
        with torch.autocast(a.device.type, enabled=False):
            return (a.float() @ b.float()).softmax(-1).to(a.dtype)
    return (a @ b).softmax(-1)


@torch.fx.wrap
def times(x: Tensor, weights: Tensor) -> Tensor:
    """x * weights for weights without a bound; float32 under autocast to float16, which the product may exceed."""
    return x.float() * weights.float() if _autocast_to_half(x) else x * weights


def wide(x: Tensor) -> Tensor:
    """x, in float32 where it is float16."""
    return x.float() if x.dtype == torch.float16 else x


def _autocast_to_half(x: Tensor) -> bool:
    device = x.device.type
    return device != "meta" and torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
