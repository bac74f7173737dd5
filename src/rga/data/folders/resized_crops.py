"""What training and testing show of an image of any size: random resized crops, and the middle of the whole."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

_ATTEMPTS = 10  # as torchvision's
_NUMBERS = 4 * _ATTEMPTS + 1  # area, aspect and place of each attempt, and whether it is mirrored


class Box(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


class ResizedCrops:
    """Random resized crops (Szegedy et al., CVPR 2015) by torchvision's rule, and mirror images.

    A box with a random share of the image's area and a random aspect is cut out of a random place and resized. Of ten
    boxes the first that lies in the image is taken; if none does, the largest in the middle with a permitted aspect.
    Resizing is bilinear and averages over what it shrinks. On all devices the same numbers, to rounding.

    Args:
        size: (H, W) of the result.
        area: least and largest share of the image's area.
        aspect: least and largest width by height.
        mirror: probability of the mirror image.
    """

    def __init__(
        self, size: Sequence[int], area: Sequence[float], aspect: Sequence[float], mirror: float = 0.5
    ) -> None:
        height, width = size
        if min(height, width) < 1:
            raise ValueError(f"a crop has at least one pixel, got size={(height, width)}")
        if not 0 < area[0] <= area[1] <= 1:
            raise ValueError(f"area is of shares of an image, the smaller one first, got {list(area)}")
        if not 0 < aspect[0] <= aspect[1]:
            raise ValueError(f"aspect is of widths by heights, the smaller one first, got {list(aspect)}")
        if not 0 <= mirror <= 1:
            raise ValueError(f"mirror is a probability, got {mirror}")
        self.size, self.mirror = (int(height), int(width)), mirror
        self.area, self.aspect = (area[0], area[1]), (aspect[0], aspect[1])

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """The random numbers of `count` images, of whatever size they are: (count, 41) of 0..1."""
        return torch.rand(count, _NUMBERS, generator=random, dtype=torch.float64)

    def box(self, sampled: Tensor, height: int, width: int) -> Box:
        """What the numbers of an image, (41,), mean for its size."""
        low, high = (math.log(aspect) for aspect in self.aspect)
        for share, shape, down, right in sampled[:-1].view(_ATTEMPTS, 4).tolist():
            area = height * width * (self.area[0] + share * (self.area[1] - self.area[0]))
            aspect = math.exp(low + shape * (high - low))
            h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
            if 0 < h <= height and 0 < w <= width:
                return Box(int(down * (height - h + 1)), int(right * (width - w + 1)), h, w)
        h = min(height, round(width / self.aspect[0]))
        w = min(width, round(height * self.aspect[1]))
        return Box((height - h) // 2, (width - w) // 2, h, w)

    def cut(self, image: Tensor, sampled: Tensor) -> Tensor:
        """The crop (3, H, W) of an image (3, h, w), both uint8."""
        found = functional.resized_crop(image.float(), *self.box(sampled, *image.shape[1:]), list(self.size))
        found = found.flip(2) if sampled[-1] < self.mirror else found
        return _as_bytes(found)


def middle(image: Tensor, resize: int, size: tuple[int, int]) -> Tensor:
    """The middle (3, H, W) of an image (3, h, w) whose shorter side is first resized to `resize`; both uint8."""
    return _as_bytes(functional.center_crop(functional.resize(image.float(), [resize]), list(size)))


def _as_bytes(image: Tensor) -> Tensor:
    return image.round_().clamp_(0, 255).to(torch.uint8)
