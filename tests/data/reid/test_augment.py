import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as TF

from rga.data.reid.augment import IMAGENET_MEAN, IMAGENET_STD, ReIDAugment
from rga.data.sampler import generator


def images(count: int, height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator(1))


def corner(affine: torch.Tensor, large: tuple[int, int]) -> tuple[int, int]:
    """Top and left of the window in the enlarged image."""
    top = (affine[1, 2] + 1 - affine[1, 1]) / 2 * large[0]
    left = (affine[0, 2] + 1 - affine[0, 0].abs()) / 2 * large[1]
    assert abs(top - top.round()) < 1e-3
    assert abs(left - left.round()) < 1e-3
    return int(top.round()), int(left.round())


@pytest.mark.parametrize("source", [(128, 64), (288, 144)])
def test_equals_resize_crop_flip_normalise(source: tuple[int, int]) -> None:
    augment = ReIDAugment((256, 128), erase=0)
    batch = images(24, *source)
    draw = augment.draw(24, generator(0))
    result = augment(batch, draw)
    assert result.dtype == torch.float32
    kinds = set()
    for image, affine, got in zip(batch.float(), draw["affine"], result, strict=True):
        translated, flipped = bool(affine[1, 1] < 1), bool(affine[0, 0] < 0)
        kinds.add((translated, flipped))
        large = (288, 144) if translated else (256, 128)
        top, left = corner(affine, large)
        expected = F.interpolate(image[None], large, mode="bilinear", align_corners=False)[0]
        expected = expected[:, top : top + 256, left : left + 128]
        if flipped:
            expected = expected.flip(-1)
        expected = TF.normalize(expected / 255, list(IMAGENET_MEAN), list(IMAGENET_STD))
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-3)  # of a pixel step of 0.017
    assert len(kinds) == 4


def test_the_crop_of_an_enlarged_image_is_exact() -> None:
    augment = ReIDAugment((64, 32), translate=1, flip=0, erase=0, mean=(0, 0, 0), std=(1 / 255,) * 3)
    batch = images(8, 72, 36)
    draw = augment.draw(8, generator(0))
    for image, affine, got in zip(batch, draw["affine"], augment(batch, draw), strict=True):
        top, left = corner(affine, (72, 36))
        torch.testing.assert_close(got, image[:, top : top + 64, left : left + 32].float(), rtol=0, atol=0.02)


def test_all_off_is_resize_and_normalise() -> None:
    augment = ReIDAugment((256, 128), 0, 0, 0)
    batch = images(2, 128, 64)
    expected = augment.normalize(F.interpolate(batch.float(), (256, 128), mode="bilinear"))
    torch.testing.assert_close(augment(batch, augment.draw(2, generator(0))), expected, rtol=0, atol=2e-3)


def test_frequencies_and_ranges() -> None:
    count, (height, width) = 20_000, (256, 128)
    draw = ReIDAugment((height, width), translate=0.5, flip=0.25, erase=0.75).draw(count, generator(3))
    affine, (top, left, bottom, right) = draw["affine"], draw["erase"].unbind(1)
    assert (affine[:, 1, 1] < 1).float().mean() == pytest.approx(0.5, abs=0.02)
    assert (affine[:, 0, 0] < 0).float().mean() == pytest.approx(0.25, abs=0.02)
    erased = bottom > 0
    assert erased.float().mean() == pytest.approx(0.75, abs=0.02)
    h, w = (bottom - top)[erased], (right - left)[erased]
    area, aspect = h * w / (height * width), h / w
    assert 0.018 < area.min() < 0.03
    assert 0.35 < area.max() < 0.41
    assert aspect.min() == pytest.approx(0.3, abs=0.05)
    assert aspect.max() == pytest.approx(1 / 0.3, abs=0.3)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (bottom <= height).all()
    assert (right <= width).all()
    assert (h < height).all()
    assert (w < width).all()
    assert top[erased].min() == 0
    assert bottom.max() == height  # the last place is drawn too
    corners = torch.tensor([corner(row, (288, 144)) for row in affine[:3000] if row[1, 1] < 1])
    assert corners.amin(0).tolist() == [0, 0]
    assert corners.amax(0).tolist() == [32, 16]
    assert math.isclose(corners[:, 0].float().mean(), 16, abs_tol=1)


def test_erases_the_rectangle_with_zero() -> None:
    augment = ReIDAugment((64, 32), translate=0, flip=0, erase=1)
    batch = images(16, 64, 32)
    draw = augment.draw(16, generator(0))
    plain = augment.normalize(batch)
    for got, image, (top, left, bottom, right) in zip(augment(batch, draw), plain, draw["erase"].tolist(), strict=True):
        expected = image.clone()
        expected[:, top:bottom, left:right] = 0
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-3)
        assert (got[:, top:bottom, left:right] == 0).all()


def test_one_option_does_not_move_the_numbers_of_the_others() -> None:
    some, all_on = (ReIDAugment((64, 32), translate=t).draw(50, generator(0)) for t in (0.0, 1.0))
    assert torch.equal(some["erase"], all_on["erase"])
    assert torch.equal(some["affine"][:, 0, 0] < 0, all_on["affine"][:, 0, 0] < 0)


def test_refuses_what_is_no_probability() -> None:
    with pytest.raises(ValueError, match="erase is a probability, got 2"):
        ReIDAugment((64, 32), erase=2)
