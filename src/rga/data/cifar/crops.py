"""Random crops and mirror images of images that all lie on the training device."""

import torch
from torch import Tensor, nn


class Crops(nn.Module):
    """Images with a black margin, from which windows of the images' own size are cut, some of them mirrored.

    The mirror images are stored beside the images, and a window is named by the place of its first pixel: all windows
    together are one strided view of the memory, and a batch of them is one `index_select` with one number for each. Of
    50,000 images of 32 x 32 the margins and the mirror images make 480 MB out of 154 MB.

    Args:
        images: (N, C, H, W), uint8.
        pad: width of the margin in pixels.
        mirror: probability of the mirror image.
    """

    padded: Tensor  # (N or 2 N, C, H + 2 pad, W + 2 pad)

    def __init__(self, images: Tensor, pad: int = 4, mirror: float = 0.5) -> None:
        super().__init__()
        if pad < 0:
            raise ValueError(f"pad is a number of pixels, got {pad}")
        if not 0 <= mirror <= 1:
            raise ValueError(f"mirror is a probability, got {mirror}")
        self.count, self.size = len(images), (int(images.shape[2]), int(images.shape[3]))
        self.pad, self.mirror = pad, mirror
        padded = images.new_zeros(2 if mirror else 1, *images.shape[:2], *(side + 2 * pad for side in self.size))
        for stored, source in zip(padded, (images, images.flip(3)) if mirror else (images,), strict=True):
            stored[:, :, pad : pad + self.size[0], pad : pad + self.size[1]] = source
        self.register_buffer("padded", padded.flatten(0, 1), persistent=False)

    def __len__(self) -> int:
        return self.count

    def extra_repr(self) -> str:
        return f"{len(self)} images of {self.size}, pad={self.pad}, mirror={self.mirror}"

    def draw(self, indices: Tensor, random: torch.Generator) -> Tensor:
        """Draw a window of each of the images `indices` (B,), on the CPU: the places of their first pixels, (B,)."""
        down, right = torch.randint(2 * self.pad + 1, (2, len(indices)), generator=random)
        mirrored = torch.rand(len(indices), generator=random) < self.mirror
        image, _, row, column = self.padded.stride()
        return (indices + self.count * mirrored) * image + down * row + right * column

    def forward(self, start: Tensor) -> Tensor:
        """The windows that begin at the pixels `start` (B,), on the images' device, as (B, C, H, W), uint8."""
        _, *strides = self.padded.stride()
        shape = (self.padded.shape[1], *self.size)
        last = self.padded.numel() - 1 - sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
        return self.padded.as_strided((last + 1, *shape), (1, *strides)).index_select(0, start)
