import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rga.data import decoding
from rga.data.reid.image_store import ImageStore
from rga.errors import DataError


def write(folder: Path, shapes: list[tuple[int, int]]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    paths = []
    for number, (height, width) in enumerate(shapes):
        paths.append(folder / f"{number}.png")
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(paths[-1])
    return paths


def test_one_size_is_kept_as_it_is(tmp_path: Path) -> None:
    paths = write(tmp_path, [(128, 64)] * 5)
    store = ImageStore(paths, (256, 128))
    assert store.size == (128, 64)
    batch = store[[3, 0, 3]]
    assert batch.shape == (3, 3, 128, 64)
    for image, index in zip(batch, (3, 0, 3), strict=True):
        np.testing.assert_array_equal(image.transpose(1, 2, 0), np.asarray(Image.open(paths[index])))


@pytest.mark.parametrize("shapes", [[(128, 64), (120, 60)], [(400, 200)] * 2])
def test_mixed_and_large_sizes_become_the_enlarged_one(tmp_path: Path, shapes: list[tuple[int, int]]) -> None:
    paths = write(tmp_path, shapes)
    store = ImageStore(paths, (256, 128))
    assert store.size == (288, 144)
    np.testing.assert_array_equal(store[[1]][0], decoding.load(paths[1], (288, 144)).transpose(2, 0, 1))


def test_memory_and_disk_hold_the_same_and_the_file_is_used_again(tmp_path: Path) -> None:
    paths = write(tmp_path / "images", [(32, 16)] * 7)
    memory = ImageStore(paths, (32, 16), tmp_path / "cache")
    assert memory.file is None
    disk = ImageStore(paths, (32, 16), tmp_path / "cache", memory=1000)
    assert disk.file is not None
    np.testing.assert_array_equal(disk[range(7)], memory[range(7)])
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]

    inode = disk.file.stat().st_ino
    again = ImageStore(paths, (32, 16), tmp_path / "cache", memory=1000)
    assert again.file is not None
    assert again.file.stat().st_ino == inode


def test_changed_images_and_another_size_get_another_file(tmp_path: Path) -> None:
    paths = write(tmp_path / "images", [(32, 16)] * 7)
    first = ImageStore(paths, (32, 16), tmp_path / "cache", memory=1000).file
    Image.new("RGB", (16, 32)).save(paths[2])
    os.utime(paths[2], ns=(1, time.time_ns() + 10**9))
    changed = ImageStore(paths, (32, 16), tmp_path / "cache", memory=1000)
    assert changed.file != first
    assert not changed[[2]].any()
    assert ImageStore(paths, (16, 8), tmp_path / "cache", memory=1000).file not in (first, changed.file)


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    files = []
    for number in range(3):
        paths = write(tmp_path / str(number), [(32, 16)] * 4)  # 6,144 bytes and a head of 128
        file = ImageStore(paths, (32, 16), tmp_path / "cache", memory=1000, disk=14_000).file
        assert file is not None
        os.utime(file, (number, number))
        files.append(file)
    assert sorted((tmp_path / "cache").iterdir()) == sorted(files[1:])
    with pytest.raises(DataError, match="more than the 5,000 allowed"):
        ImageStore(write(tmp_path / "4", [(32, 16)] * 4), (32, 16), tmp_path / "cache", memory=1000, disk=5000)


def test_another_users_file_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a cache that is shared: it can be read, but neither be touched nor removed."""
    paths, others = write(tmp_path / "a", [(32, 16)] * 4), write(tmp_path / "b", [(32, 16)] * 4)
    kept = ImageStore(paths, (32, 16), tmp_path / "cache", memory=1000, disk=7000).file
    assert kept is not None

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert ImageStore(paths, (32, 16), tmp_path / "cache", memory=1000, disk=7000).file == kept
    assert ImageStore(others, (32, 16), tmp_path / "cache", memory=1000, disk=7000).file != kept
    assert kept.exists()


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    paths = write(tmp_path / "images", [(32, 16)] * 3)
    paths[1].write_bytes(paths[1].read_bytes()[:400])
    for memory in (1000, 10**6):
        with pytest.raises(DataError, match=r"1\.png"):
            ImageStore(paths, (32, 16), tmp_path / "cache", memory)
    assert not list((tmp_path / "cache").iterdir())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match="cannot write the decoded images"):
        ImageStore(write(tmp_path / "images", [(32, 16)] * 3), (32, 16), tmp_path / "cache", memory=1000)
