from pathlib import Path

import numpy as np
import pytest

from rga.data import ImageSplit
from rga.data.cifar.binary import CIFAR10, CIFAR100
from rga.data.demo import shapes, writers
from rga.errors import DataError


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    one, two, other = (writers.write_cifar10(tmp_path / str(n), train=50, test=20, seed=n // 2) for n in range(3))
    assert contents(one) == contents(two)
    assert contents(one)["data_batch_1.bin"] != contents(other)["data_batch_1.bin"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]  # nothing is left behind


@pytest.mark.parametrize("classes", [10, 100])
def test_the_real_reader_reads_it(classes: int, tmp_path: Path) -> None:
    reader, write = (CIFAR10, writers.write_cifar10) if classes == 10 else (CIFAR100, writers.write_cifar100)
    split = reader.read(write(tmp_path / "set", train=210, test=100))
    assert (len(split.train), len(split.test)) == (210, 100)
    for part in (split.train, split.test):
        counts = np.bincount(part.labels, minlength=classes)
        assert counts.max() - counts.min() <= 1
    both = np.concatenate((split.train.images, split.test.images)).reshape(310, -1)
    assert len(np.unique(both, axis=0)) == 310  # no image twice, and none to train on in the test split
    assert len(set(split.classes)) == classes


def nearest(split: ImageSplit, features: slice) -> float:
    """Accuracy of the nearest class mean of the images' colours."""
    flat = [part.images[:, :, features, features].reshape(len(part), -1) / 255.0 for part in (split.train, split.test)]
    means = np.stack([flat[0][split.train.labels == label].mean(0) for label in range(10)])
    guess = ((flat[1][:, None] - means) ** 2).sum(2).argmin(1)
    return float((guess == split.test.labels).mean())


def test_the_classes_can_be_told_apart_but_not_at_once(tmp_path: Path) -> None:
    split = CIFAR10.read(writers.write_cifar10(tmp_path / "set", train=500, test=200))
    assert 0.3 < nearest(split, slice(None)) < 0.97


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 100"):
        writers.write_cifar100(tmp_path / "set", train=99)
    with pytest.raises(ValueError, match="10 and of 100"):
        shapes.draw(10, 20, (0,))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="something else than demo data"):
        writers.write_cifar10(tmp_path)
