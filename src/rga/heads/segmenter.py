"""A segmentation network: trunk, attention beside its features, head."""

from collections.abc import Callable
from math import log2

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rga.plugin import output_shapes, plug

Head = Callable[[int, int], nn.Module]


class Segmenter(nn.Module):
    """Images (B, 3, H, W) -> logits (B, classes, H, W); in training with an auxiliary head also that one's logits.

    The head sees the trunk's features x, or [x, block(x)] where there is a block (Zhang et al., arXiv:1904.02998,
    section 4.2). The block stands here and not in the trunk, because its result does not take the place of x.

    The trunk's odd kernels put the feature (i, j) on the pixel (i, j) * stride. So do the enlarged logits, at every
    image size: bilinear between the features, repeated beyond the last ones. For the sizes 8 n + 1 that the field
    trains with (769) this is its `align_corners=True`; for others that would stretch the logits by up to a stride.

    Args:
        network: images to features (B, C, h, w), with its weights.
        size: (H, W) of the images in training.
        classes: of the logits.
        head: called as `head(channels, classes)`, gives logits (B, classes, h, w).
        block: called as `block(channels, (h, w))` with the features' size in training. Images of other sizes need a
            block for any size, such as `AnySize`.
        auxiliary: name of a stage of the network, such as `layer3`, and the head behind it, which is only used in
            training. The stage is wrapped in the network itself, as `plug` does.

    Raises:
        ValueError: the network does not put out one feature map, or has no such stage.
    """

    def __init__(
        self,
        network: nn.Module,
        size: tuple[int, int],
        classes: int,
        head: Head,
        block: Callable[[int, tuple[int, int]], nn.Module] | None = None,
        auxiliary: tuple[str, Head] | None = None,
    ) -> None:
        super().__init__()
        shape = output_shapes(network, size)[""]
        if shape is None:
            raise ValueError("the network does not put out one feature map of shape (B, C, H, W)")
        channels, height, width = shape
        self.stride = 2 ** round(log2(size[0] / height))
        self.attention = None if block is None else block(channels, (height, width))
        self.head = head(channels if block is None else 2 * channels, classes)
        self.tap: Tap | None = None
        if auxiliary is not None:
            stage, auxiliary_head = auxiliary

            def tap(channels: int, size: tuple[int, int]) -> Tap:
                self.tap, self.auxiliary = Tap(), auxiliary_head(channels, classes)
                return self.tap

            plug(network, tap, [stage], size)
        self.network = network

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.network(images)
        stage = None if self.tap is None else self.tap.take()
        if self.attention is not None:
            x = torch.cat([x, self.attention(x)], dim=1)
        logits = self._enlarged(self.head(x), images)
        if stage is None or not self.training:
            return logits
        return logits, self._enlarged(self.auxiliary(stage), images)

    def _enlarged(self, logits: Tensor, images: Tensor) -> Tensor:
        height, width = ((count - 1) * self.stride + 1 for count in logits.shape[2:])
        logits = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=True)
        return F.pad(logits, (0, images.shape[3] - width, 0, images.shape[2] - height), mode="replicate")


class Tap(nn.Module):
    """Hands on what it is given, and keeps it until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.kept = x
        return x

    def take(self) -> Tensor:
        """What was last handed on, once: nothing is held on to between two forward passes."""
        kept, self.kept = self.kept, None
        assert kept is not None
        return kept
