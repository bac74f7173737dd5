"""Windows, scales and mirror images against the network on the whole image."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rga.tasks.scanning import Scan, _starts

torch.manual_seed(0)
POINTWISE = nn.Conv2d(3, 4, 1)  # sees one pixel, so that windows make no difference
NETWORK = nn.Conv2d(3, 4, 3, padding=1)


def whole(images: Tensor, network: nn.Module = POINTWISE) -> Tensor:
    return network(images).softmax(1)


@pytest.mark.parametrize("size", [(20, 31), (16, 16), (9, 40), (48, 17)])
def test_windows_cover_every_pixel(size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size)
    torch.testing.assert_close(Scan((16, 16))(POINTWISE, images), whole(images))


def test_the_network_never_sees_more_than_a_window() -> None:
    seen: list[tuple[int, int]] = []

    def network(images: Tensor) -> Tensor:
        seen.append((images.shape[2], images.shape[3]))
        return POINTWISE(images)

    Scan((16, 24), scales=(0.5, 1.0, 2.0), mirror=True)(network, torch.randn(1, 3, 40, 50))
    assert max(height for height, _ in seen) == 16
    assert max(width for _, width in seen) == 24


@pytest.mark.parametrize(("length", "window"), [(100, 30), (30, 30), (31, 30), (7, 30), (2048, 769), (1024, 769)])
def test_windows_overlap_by_a_third(length: int, window: int) -> None:
    starts = list(_starts(length, window))
    assert starts[0] == 0
    assert starts[-1] == max(length - window, 0)
    assert all(0 < b - a <= window - window // 3 for a, b in pairwise(starts))


def test_overlapping_windows_are_averaged() -> None:
    images = torch.randn(1, 3, 8, 10)
    left, right = whole(images[..., :6], NETWORK), whole(images[..., 4:], NETWORK)
    expected = torch.cat([left[..., :4], (left[..., 4:] + right[..., :2]) / 2, right[..., 2:]], dim=3)
    torch.testing.assert_close(Scan((8, 6))(NETWORK, images), expected)


def test_mirror_images_and_scales_are_averaged() -> None:
    images = torch.randn(2, 3, 12, 16)
    expected = (whole(images, NETWORK) + whole(images.flip(3), NETWORK).flip(3)) / 2
    torch.testing.assert_close(Scan((99, 99), mirror=True)(NETWORK, images), expected)
    half = whole(F.interpolate(images, size=(6, 8), mode="bilinear"), NETWORK)
    expected = (whole(images, NETWORK) + F.interpolate(half, size=(12, 16), mode="bilinear")) / 2
    torch.testing.assert_close(Scan((99, 99), scales=(1.0, 0.5))(NETWORK, images), expected)


@pytest.mark.parametrize(
    "options", [{"window": (0, 5)}, {"window": (5, 5), "scales": ()}, {"window": (5, 5), "scales": (0,)}]
)
def test_nonsense_is_refused(options: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="positive"):
        Scan(**options)  # type: ignore[arg-type]
