"""Random crops and mirror images of pictures that all lie on the training device."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CropDraw(NamedTuple):
    """What was drawn for N crops: the first pixel of each in the stored images (int64), and whether it is mirrored."""

    start: Tensor
    mirror: Tensor


class Crops(nn.Module):
    """Images with a black margin, from which windows of the images' own size are cut, some of them mirrored.

    A window is named by the place of its first pixel: all windows together are one strided view of the memory, so that
    a batch of them is one `index_select` with one number for each image.

    Args:
        images: (N, C, H, W), uint8.
        pad: width of the margin in pixels.
        mirror: probability of the mirror image.
    """

    padded: Tensor

    def __init__(self, images: Tensor, pad: int = 4, mirror: float = 0.5) -> None:
        super().__init__()
        if pad < 0:
            raise ValueError(f"pad is a number of pixels, got {pad}")
        if not 0 <= mirror <= 1:
            raise ValueError(f"mirror is a probability, got {mirror}")
        self.size = (int(images.shape[2]), int(images.shape[3]))
        self.pad, self.mirror = pad, mirror
        self.register_buffer("padded", F.pad(images, [pad] * 4).contiguous(), persistent=False)

    def __len__(self) -> int:
        return len(self.padded)

    def extra_repr(self) -> str:
        return f"{len(self)} images of {self.size}, pad={self.pad}, mirror={self.mirror}"

    def draw(self, indices: Tensor, random: torch.Generator) -> CropDraw:
        """Draw a window of each of the images `indices` (B,), on the CPU."""
        down, right = torch.randint(2 * self.pad + 1, (2, len(indices)), generator=random)
        mirror = torch.rand(len(indices), generator=random) < self.mirror
        image, _, row, column = self.padded.stride()
        return CropDraw(indices * image + down * row + right * column, mirror)

    def forward(self, draw: CropDraw) -> Tensor:
        """What was drawn for B crops, on the images' device, to (B, C, H, W), uint8."""
        windows = self._windows().index_select(0, draw.start)
        # Each window beside its mirror image, of which one is taken: on the CPU half the time of torch.where.
        both = torch.cat((windows, windows.flip(3)))
        count = len(draw.start)
        return both.index_select(0, torch.arange(count, device=both.device) + count * draw.mirror)

    def _windows(self) -> Tensor:
        """The view of all windows, (places, C, H, W); those that begin in a margin on the right make no sense."""
        _, *strides = self.padded.stride()
        shape = (self.padded.shape[1], *self.size)
        last = self.padded.numel() - 1 - sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        return self.padded.as_strided((last + 1, *shape), (1, *strides))
