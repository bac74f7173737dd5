from pathlib import Path

import numpy as np
import pytest

from rga.data.demo import street, writers
from rga.data.scenes import annotated, cityscapes
from rga.errors import DataError


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    one, two, other = (
        writers.write_cityscapes(tmp_path / str(n), train=2, val=1, size=32, seed=n // 2) for n in range(3)
    )
    assert contents(one) == contents(two)
    images = [path for path in contents(one) if path.endswith(".png")]
    assert len(images) == 6
    assert all(contents(one)[path] != contents(other)[path] for path in images)
    assert len(set(contents(one).values())) == 7  # no two images are alike, in one part or in two


def test_the_real_reader_reads_it(tmp_path: Path) -> None:
    split = cityscapes.read(writers.write_cityscapes(tmp_path / "set", train=6, val=2, size=64))
    seen: set[int] = set()
    for scenes in split.parts.values():
        for scene in scenes:
            image, label = annotated.load(scene, split.lookup)
            assert image.shape == (64, 128, 3)
            share = np.bincount(label.ravel(), minlength=256) / label.size
            assert 0 < share[255] < 0.1  # the bonnet
            assert share[[0, 1, 10]].min() > 0.03  # road, sidewalk and sky in every image
            assert share.max() < 0.5
            seen |= set(np.flatnonzero(share))
    assert {split.classes[number] for number in seen - {255}} >= {
        "road", "sidewalk", "building", "pole", "traffic sign", "vegetation", "sky", "person", "car",
    }  # fmt: skip


def test_the_picture_shows_its_labels() -> None:
    """Colours within a class are more alike than the image as a whole."""
    image, label = street.draw(128, np.random.default_rng(0))
    pixels, labels = np.asarray(image, float), np.asarray(label)
    within = sum(((pixels[labels == n] - pixels[labels == n].mean(0)) ** 2).sum() for n in np.unique(labels))
    assert within < 0.5 * ((pixels - pixels.mean((0, 1))) ** 2).sum()


def test_wrong_numbers_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        writers.write_cityscapes(tmp_path / "set", train=0)
    with pytest.raises(ValueError, match="at least 32"):
        writers.write_cityscapes(tmp_path / "set", size=8)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="something else than demo data"):
        writers.write_cityscapes(tmp_path)
