"""How a segmentation network looks at a whole image: at once or window by window, at several scales, mirrored."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F


class Scan:
    """Images (B, 3, H, W) of any size to the probabilities of the classes, (B, K, H, W), in bounded memory.

    Probabilities are averaged: over windows where they overlap, over scales (resized bilinearly) and mirror images.

    Args:
        window: (height, width) of what the network is given at once. Larger images are covered by windows of this size
            that overlap by a third, as evenly as possible.
        scales: factors of the image's size.
        mirror: whether to add the mirror image.
    """

    def __init__(self, window: Sequence[int], scales: Sequence[float] = (1.0,), mirror: bool = False) -> None:
        if not scales or min(scales) <= 0 or min(window) < 1:
            raise ValueError(f"scales and window are positive, got scales={list(scales)}, window={list(window)}")
        self.window, self.scales, self.mirror = (window[0], window[1]), tuple(scales), mirror

    def __call__(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        size = images.shape[2], images.shape[3]
        total: Tensor | None = None
        for scale in self.scales:
            scaled = images if scale == 1 else _resize(images, (round(scale * size[0]), round(scale * size[1])))
            found = self._windows(network, scaled)
            if self.mirror:
                found = (found + self._windows(network, scaled.flip(3)).flip(3)) / 2
            found = found if scale == 1 else _resize(found, size)
            total = found if total is None else total.add_(found)
        assert total is not None
        return total / len(self.scales) if len(self.scales) > 1 else total

    def _windows(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        size = images.shape[2], images.shape[3]
        places = list(product(*(list(_starts(length, part)) for length, part in zip(size, self.window, strict=True))))
        if len(places) == 1:
            return network(images).float().softmax(1)
        total, count = torch.zeros(()), images.new_zeros(size)
        for top, left in places:
            here = (..., slice(top, top + self.window[0]), slice(left, left + self.window[1]))
            found = network(images[here]).float().softmax(1)
            if total.dim() == 0:
                total = found.new_zeros(len(images), found.shape[1], *size)
            total[here] += found
            count[here] += 1
        return total.div_(count)


def _starts(length: int, window: int) -> Iterator[int]:
    """Where windows start that cover a length and overlap by at least a third."""
    steps = ceil((length - window) / (window - window // 3)) if length > window else 0
    for step in range(steps + 1):
        yield round(step * (length - window) / steps) if steps else 0


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
