"""A segmentation network: trunk, attention beside its features, head."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rga.inspection import inspect
from rga.plugin import feature_map, put

Head = Callable[[int, int], nn.Module]

log = logging.getLogger("rga")

_MORE = 6720  # pixels: a multiple of all strides there are, 2 to the sixth and 3, 5 and 7


def _beside(module: nn.Module) -> bool:
    """Whether a convolution with a stride has patches for kernels, as ConvNeXt's, whose centre lies between pixels."""
    strided = isinstance(module, nn.Conv2d) and max(module.stride) > 1
    return strided and any(size % 2 == 0 for size in module.kernel_size)  # type: ignore[union-attr]


class Segmenter(nn.Module):
    """Images (B, 3, H, W) -> logits (B, classes, H, W); in training with an auxiliary head also that one's logits.

    The head sees the trunk's features x, or [x, block(x)] where there is a block (Zhang et al., arXiv:1904.02998,
    section 4.2). The block stands here and not in the trunk, because its result does not take the place of x.

    The trunk's odd kernels put the feature (i, j) on the pixel (i, j) * stride, with strides down and across that are
    the network's (see `strides`). So do the enlarged logits, at every
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
        ValueError: the network does not put out one feature map, has no such stage, or takes images of one size only.
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
        outputs = inspect(network, size)
        channels, height, width = feature_map(network, "", outputs)
        self.stride = strides(network, size)
        if even := [name for name, module in network.named_modules() if _beside(module)]:
            log.warning(
                "%s: kernels of even size put features half a stride beside the pixels on which the logits are put: "
                "the mIoU will be lower than this network's",
                even[0] + (f" and {len(even) - 1} more" if len(even) > 1 else ""),
            )
        self.attention = None if block is None else block(channels, (height, width))
        self.head = head(channels if block is None else 2 * channels, classes)
        self.tap: Tap | None = None
        if auxiliary is not None:
            stage, auxiliary_head = auxiliary
            self.tap, self.auxiliary = Tap(), auxiliary_head(feature_map(network, stage, outputs)[0], classes)
            put(network, {stage: self.tap}, size)
            self.auxiliary_stride = strides(network, size, stage)
        self.network = network

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.network(images)
        stage = None if self.tap is None else self.tap.take()
        if self.attention is not None:
            x = torch.cat([x, self.attention(x)], dim=1)
        logits = _enlarged(self.head(x), self.stride, images)
        if stage is None or not self.training:
            return logits
        return logits, _enlarged(self.auxiliary(stage), self.auxiliary_stride, images)


def strides(network: nn.Module, size: tuple[int, int], stage: str = "") -> tuple[int, int]:
    """How many pixels down and across lie between neighbouring features of a stage, or of the network's output.

    A larger image has more features: from how many more follows the stride, at any size of the image, while the
    quotient of the sides is blurred by rounding (33 pixels at stride 32 have 2 features).

    Raises:
        ValueError: the network takes images of one size only, its features do not become more with the image's pixels,
            or its channels come last.
    """
    first = feature_map(network, stage, inspect(network, size, blocks=False))
    try:
        larger = feature_map(network, stage, inspect(network, (size[0] + _MORE, size[1] + _MORE), blocks=False))
    except ValueError as error:
        raise ValueError(f"a segmentation network takes images of any size: {error}") from error
    added = [after - before for before, after in zip(first, larger, strict=True)]
    if added[0] or any(count < 1 or _MORE % count for count in added[1:]):
        raise ValueError(
            f"{f'stage {stage!r}' if stage else 'the network'} puts out {first} for an image of {size[0]} x {size[1]}, "
            f"{larger} for one with {_MORE} pixels more each way: expected (C, h, w), and whole pixels between features"
        )
    return _MORE // added[1], _MORE // added[2]


def _enlarged(logits: Tensor, stride: tuple[int, int], images: Tensor) -> Tensor:
    """Logits (B, K, h, w) of features at every `stride` pixels, at every pixel of the images."""
    height, width = ((count - 1) * step + 1 for count, step in zip(logits.shape[2:], stride, strict=True))
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
