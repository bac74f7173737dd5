"""Memory formats of weights that are put together by broadcasting."""

from functools import reduce

import torch
import torch.fx
from torch import Tensor


def is_static(x: Tensor) -> bool:
    """Whether the sizes of a map are numbers, and not symbols, as they are in an export for every size."""
    return all(isinstance(side, int) for side in x.shape[2:])


@torch.fx.wrap
def outer_sum(x: Tensor, *parts: Tensor) -> Tensor:
    """The sum of parts that broadcast to the shape of x, (B, C, H, W), in the memory format of x.

    PyTorch chooses the format from the parts, and from (B, C, 1, 1) + (B, 1, H, W) it cannot tell: it takes the
    contiguous one, which makes all that is done with a channels_last x and this sum slow.
    """
    if x.is_contiguous():
        return reduce(torch.add, parts)
    # The parts are small; the result alone has the size of x.
    return reduce(torch.add, [part.permute(0, 2, 3, 1).contiguous() for part in parts]).permute(0, 3, 1, 2)
