"""What training shows of a scene: scaled, cut to one size, perhaps mirrored.

Only the window that is wanted is resampled: of an image of 1024 x 2048 at twice its size a crop of 769 x 769 needs a
tenth of the pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rga.data.base import IGNORED
from rga.data.reid.augment import IMAGENET_MEAN

Pixels = NDArray[np.uint8]

MEAN = tuple(round(255 * value) for value in IMAGENET_MEAN)  # around an image that is smaller than the crop


class Window(NamedTuple):
    """A window of an image of any size: the image's scale, the window's place from 0 to 1, and if it is mirrored."""

    scale: float
    down: float
    right: float
    mirrored: bool


class Windows:
    """Random scale, crop and mirror image.

    The scale is sampled evenly from `scales`, as in the public code of PSPNet and in MMSegmentation (that of DeepLab
    draws from steps of a quarter), the crop evenly from all places. Where the scaled image is smaller than the crop, it
    lies anywhere in it, on the mean colour of ImageNet (0 after normalisation, to rounding) with ignored labels.

    Images are resampled bilinearly, averaging over what is shrunk; labels are those of the nearest pixels.

    Args:
        size: (H, W) of the crop.
        scales: the smallest and the largest scale.
        mirror: probability of the mirror image.
    """

    def __init__(self, size: Sequence[int], scales: Sequence[float] = (0.5, 2.0), mirror: float = 0.5) -> None:
        height, width = size
        low, high = scales
        if min(height, width) < 1:
            raise ValueError(f"a crop has at least one pixel, got size={(height, width)}")
        if not 0 < low <= high:
            raise ValueError(f"scales are positive, the smaller one first, got {(low, high)}")
        if not 0 <= mirror <= 1:
            raise ValueError(f"mirror is a probability, got {mirror}")
        self.size, self.scales, self.mirror = (int(height), int(width)), (float(low), float(high)), mirror

    def draw(self, count: int, random: torch.Generator) -> list[Window]:
        """Draw the windows of `count` images."""
        low, high = self.scales
        numbers = torch.rand(count, 4, generator=random, dtype=torch.float64).tolist()
        return [Window(low + a * (high - low), down, right, b < self.mirror) for a, down, right, b in numbers]

    def cut(self, image: Pixels, label: Pixels, window: Window) -> tuple[Pixels, Pixels]:
        """A window of an image (h, w, 3) and of its labels (h, w): (H, W, 3) and (H, W)."""
        y = _Span.cut(image.shape[0], self.size[0], window.scale, window.down)
        x = _Span.cut(image.shape[1], self.size[1], window.scale, window.right)
        pixels = np.tile(np.array(MEAN, np.uint8), (*self.size, 1))
        labels = np.full(self.size, IGNORED, np.uint8)
        here = slice(y.margin, y.margin + y.count), slice(x.margin, x.margin + x.count)
        box = x.source(0), y.source(0), x.source(x.count), y.source(y.count)
        resized = Image.fromarray(image).resize((x.count, y.count), Image.Resampling.BILINEAR, box)
        pixels[here] = np.asarray(resized)
        labels[here] = label[np.ix_(y.nearest(), x.nearest())]
        return (pixels[:, ::-1], labels[:, ::-1]) if window.mirrored else (pixels, labels)


@dataclass(frozen=True)
class _Span:
    """One direction of a window: `count` pixels, from `first` on, of `length` pixels that were scaled to `scaled`."""

    length: int
    scaled: int
    first: int
    count: int
    margin: int  # of the crop, before them

    @classmethod
    def cut(cls, length: int, size: int, scale: float, place: float) -> "_Span":
        scaled = max(1, round(scale * length))
        excess = scaled - size
        start = min(excess, 0) + int(place * (abs(excess) + 1))  # of the crop in the scaled image; may be before it
        return cls(length, scaled, max(start, 0), min(size, scaled), max(-start, 0))

    def source(self, place: int) -> float:
        """Where a pixel of the window begins in the image."""
        return (self.first + place) * self.length / self.scaled

    def nearest(self) -> NDArray[np.int64]:
        """The pixels of the image in which the centres of the window's pixels lie, in whole numbers: no rounding."""
        centres = 2 * np.arange(self.first, self.first + self.count) + 1
        return centres * self.length // (2 * self.scaled)
