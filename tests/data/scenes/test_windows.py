"""Windows against the plain way: resize the whole image, pad it, crop it."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rga.data.scenes.windows import MEAN, Window, Windows

SIZE = (40, 56)


def scene(height: int, width: int) -> tuple[Any, Any]:
    """An image with large and small structure, and labels that tell every block of 3 x 3 pixels from its neighbours."""
    random = np.random.default_rng([height, width])
    coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), np.uint8)).resize((width, height))
    image = np.asarray(coarse, int) + random.integers(-40, 40, (height, width, 3))
    label = random.integers(0, 19, (-(-height // 3), -(-width // 3)), np.uint8).repeat(3, 0).repeat(3, 1)
    return image.clip(0, 255).astype(np.uint8), label[:height, :width]


def naive(image: Any, label: Any, window: Window, size: tuple[int, int] = SIZE) -> tuple[Any, Any]:
    scaled = [round(window.scale * side) for side in label.shape]
    extra = [have - want for have, want in zip(scaled, size, strict=True)]
    start = [
        int(place * (more + 1)) if more >= 0 else more + int(place * (1 - more))
        for place, more in zip((window.down, window.right), extra, strict=True)
    ]
    margins = [(side, side) for side in size]
    cut = tuple(slice(first + side, first + 2 * side) for first, side in zip(start, size, strict=True))
    pixels = np.asarray(Image.fromarray(image).resize((scaled[1], scaled[0]), Image.Resampling.BILINEAR))
    labels = np.asarray(Image.fromarray(label).resize((scaled[1], scaled[0]), Image.Resampling.NEAREST))
    channels = [
        np.pad(channel, margins, constant_values=mean)[cut]
        for channel, mean in zip(np.moveaxis(pixels, 2, 0), (124, 116, 104), strict=True)
    ]
    pixels, labels = np.stack(channels, 2), np.pad(labels, margins, constant_values=255)[cut]
    return (pixels[:, ::-1], labels[:, ::-1]) if window.mirrored else (pixels, labels)


@pytest.mark.parametrize("shape", [(64, 96), (48, 40), (30, 200), (17, 23)])
@pytest.mark.parametrize("scale", [0.5, 0.73, 1.0, 1.31, 2.0])
@pytest.mark.parametrize(("down", "right", "mirrored"), [(0.0, 0.0, False), (0.4, 0.7, True), (0.999, 0.999, False)])
def test_as_the_plain_way(shape: tuple[int, int], scale: float, down: float, right: float, mirrored: bool) -> None:
    image, label = scene(*shape)
    window = Window(scale, down, right, mirrored)
    pixels, labels = Windows(SIZE).cut(image, label, window)
    expected, expected_labels = naive(image, label, window)
    assert pixels.shape == (*SIZE, 3)
    # Pillow has the box in single precision and rounds between its two passes: one step of 255, now and then two.
    assert abs(pixels.astype(int) - expected).max() <= (0 if scale == 1 else 2)
    # Pillow counts up in floating point where a centre lies between two pixels.
    assert (labels != expected_labels).mean() <= (0 if scale == 1 else 0.03)
    assert np.array_equal(labels == 255, expected_labels == 255)


def test_labels_stay_with_their_pixels() -> None:
    """An image that shows its own label, far from the edges of the blocks, still does after scaling."""
    label = np.random.default_rng(0).integers(0, 10, (8, 12), np.uint8).repeat(16, 0).repeat(16, 1)
    image = np.repeat(label[:, :, None] * 25, 3, axis=2)
    for window in Windows((96, 96)).draw(12, torch.Generator().manual_seed(0)):
        pixels, labels = Windows((96, 96)).cut(image, label, window)
        inside = labels != 255
        assert (pixels[..., 0][inside] == labels[inside] * 25).mean() > 0.6
        shifted = np.roll(pixels[..., 0], 8, axis=(0, 1))
        assert (shifted[inside] == labels[inside] * 25).mean() < 0.6


def test_what_is_outside_is_ignored() -> None:
    image, label = scene(20, 20)
    pixels, labels = Windows((40, 50)).cut(image, label, Window(0.5, 0.5, 0.0, False))
    assert (labels != 255).sum() == 100
    assert (labels[15:25, 40:] != 255).all()  # a window far to the left has the image at its right
    assert {tuple(colour) for colour in pixels[labels == 255].tolist()} == {MEAN}
    assert MEAN == (124, 116, 104)


def test_draws_evenly() -> None:
    windows = Windows(SIZE, (0.5, 2.0), 0.3).draw(4000, torch.Generator().manual_seed(0))
    for values, low, high in (
        ([window.scale for window in windows], 0.5, 2.0),
        ([window.down for window in windows], 0, 1),
        ([window.right for window in windows], 0, 1),
    ):
        counts, _ = np.histogram(values, 20, (low, high))
        assert counts.sum() == 4000
        assert float(((counts - 200) ** 2 / 200).sum()) < 19 + 5 * (2 * 19) ** 0.5
    assert abs(np.mean([window.mirrored for window in windows]) - 0.3) < 5 * (0.21 / 4000) ** 0.5


def test_every_place_is_reached_and_no_other() -> None:
    image, label = np.zeros((6, 5, 3), np.uint8), np.arange(30, dtype=np.uint8).reshape(6, 5)
    corners = {
        int(Windows((4, 5)).cut(image, label, Window(1.0, place, 0.5, False))[1][0, 0])
        for place in (0.0, 0.33, 0.34, 0.66, 0.67, 1 - 2**-53)
    }
    assert corners == {0, 5, 10}


def test_wrong_numbers() -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        Windows((0, 5))
    with pytest.raises(ValueError, match="smaller one first"):
        Windows(SIZE, (2.0, 0.5))
    with pytest.raises(ValueError, match="probability, got 2"):
        Windows(SIZE, mirror=2)
