"""The augmentation of the re-ID recipe, for a whole batch on the training device.

The authors' order: random 2-D translation, horizontal flip, normalisation, random erasing. What is random is sampled on
the CPU (`ReIDAugment.draw`), for the global batch and from a generator of its own, and travels with the images; the
device only applies it, so nothing waits for the device and the numbers are the same on all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rga.data.reid.image_store import enlarged

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_AREA = (0.02, 0.4)  # of the erased rectangle, relative to the image
_ASPECT = (0.3, 1 / 0.3)  # its height by its width
_ATTEMPTS = 20  # one in five rectangles is too large at 256 x 128: all of 20 are one time in 10^14


class Normalize(nn.Module):
    """Pixels of 0..255 to the range that the ImageNet weights expect: (x / 255 - mean) / std."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        means, stds = (torch.tensor(tuple(values)).view(-1, 1, 1) for values in (mean, std))
        self.register_buffer("scale", 1 / (255 * stds), persistent=False)
        self.register_buffer("shift", -means / stds, persistent=False)

    @classmethod
    def of(cls, augment: Mapping[str, Any] | None) -> "Normalize":
        """That of a run, by the augmentation in its config."""
        return cls(**{name: augment[name] for name in ("mean", "std") if augment and augment.get(name) is not None})

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) of 0..255, any type, to float32."""
        return torch.addcmul(self.shift, images.float(), self.scale)


class ReIDAugment(nn.Module):
    """Random translation, flip, normalisation, random erasing.

    - translation: resize to 1.125 x the size and crop at random; images that are not chosen are resized to the size.
    - erasing (Zhong et al., arXiv:1708.04896): a rectangle of 2 to 40 % of the area, with an aspect of 0.3 to 1 / 0.3,
      becomes 0 after normalisation, that is the mean colour.

    Resize, crop and flip are one bilinear resampling.

    Args:
        size: (H, W) of the result.
        translate: probability of the translation; 0 switches it off, as for the next two.
        flip: probability of the horizontal flip.
        erase: probability of the erasing.
        mean: of the normalisation, for pixels of 0..1.
        std: of the normalisation.
    """

    def __init__(
        self,
        size: Sequence[int],
        translate: float = 0.5,
        flip: float = 0.5,
        erase: float = 0.5,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        for name, value in (("translate", translate), ("flip", flip), ("erase", erase)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is a probability, got {value}")
        height, width = size
        self.size = (int(height), int(width))
        self.translate, self.flip, self.erase = translate, flip, erase
        self.normalize = Normalize(mean, std)

    def extra_repr(self) -> str:
        return f"size={self.size}, translate={self.translate}, flip={self.flip}, erase={self.erase}"

    def draw(self, count: int, random: torch.Generator) -> dict[str, Tensor]:
        """Draw what happens to `count` images.

        Returns:
            `affine` (count, 2, 3), from the result's to the source's relative coordinates, and `erase` (count, 4), top,
            left, bottom and right of the rectangle in pixels (0, 0, 0, 0 for none).
        """
        chosen = torch.rand(count, 3, generator=random) < torch.tensor([self.translate, self.flip, self.erase])
        offset = torch.rand(count, 2, generator=random)  # always sampled: one option does not move the others' numbers
        return {
            "affine": self._affine(chosen[:, 0], chosen[:, 1], offset),
            "erase": self._rectangles(chosen[:, 2], random),
        }

    def forward(self, images: Tensor, draw: dict[str, Tensor]) -> Tensor:
        """(B, 3, h, w) of 0..255 and what `draw` gave for them, to normalised (B, 3, H, W) in float32."""
        grid = F.affine_grid(draw["affine"].float(), [len(images), 3, *self.size], align_corners=False)
        images = F.grid_sample(images.float(), grid, "bilinear", "border", align_corners=False)
        return self._erase(self.normalize(images), draw["erase"])

    def _affine(self, translate: Tensor, flip: Tensor, offset: Tensor) -> Tensor:
        """The window of the source image that the result shows, mirrored where `flip`; coordinates run from -1 to 1."""
        size, large = torch.tensor(self.size), torch.tensor(enlarged(self.size))
        # The crop's corner in the enlarged image, rounded as in the authors' code, relative to that image.
        corner = torch.round(offset * (large - size)) / large * translate[:, None]  # (count, 2), y then x
        extent = torch.where(translate[:, None], size / large, 1.0)
        centre = 2 * corner + extent - 1
        affine = torch.zeros(len(offset), 2, 3)
        affine[:, 0, 0] = torch.where(flip, -extent[:, 1], extent[:, 1])
        affine[:, 0, 2] = centre[:, 1]
        affine[:, 1, 1] = extent[:, 0]
        affine[:, 1, 2] = centre[:, 0]
        return affine

    def _rectangles(self, erase: Tensor, random: torch.Generator) -> Tensor:
        """The first of a fixed number of rectangles that is smaller than the image in both directions."""
        count, (height, width) = len(erase), self.size
        area, aspect = torch.rand(2, count, _ATTEMPTS, generator=random)
        down, right = torch.rand(2, count, generator=random)
        area = (_AREA[0] + area * (_AREA[1] - _AREA[0])) * height * width
        aspect = _ASPECT[0] + aspect * (_ASPECT[1] - _ASPECT[0])
        heights, widths = torch.sqrt(area * aspect).round(), torch.sqrt(area / aspect).round()  # (count, attempts)
        fits = (heights < height) & (widths < width)
        first = fits.int().argmax(1, keepdim=True)
        h, w = heights.gather(1, first)[:, 0], widths.gather(1, first)[:, 0]
        top, left = (down * (height - h + 1)).floor(), (right * (width - w + 1)).floor()
        found = erase & fits.any(1)
        return torch.stack([top, left, top + h, left + w], 1).long() * found[:, None]

    @staticmethod
    def _erase(images: Tensor, rectangles: Tensor) -> Tensor:
        top, left, bottom, right = rectangles[:, :, None].unbind(1)  # each (B, 1)
        y = torch.arange(images.shape[2], device=images.device)
        x = torch.arange(images.shape[3], device=images.device)
        rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)  # (B, H), (B, W)
        return images.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)
