import shutil
from pathlib import Path

import numpy as np
import pytest

from rga.data import ImageSplit, LabelledImages, check
from rga.data.cifar.binary import CIFAR10, CIFAR100, Cifar
from rga.data.demo import writers
from rga.data.marker import MARKER
from rga.errors import DataError

TRAIN10 = [f"data_batch_{number}.bin" for number in range(1, 6)]


def record(*labels: int, fill: tuple[int, int, int]) -> bytes:
    """A record by hand: labels, then 1024 bytes of red, of green, of blue; the first green pixel of row 2 is 77."""
    red, green, blue = (bytes([value]) * 1024 for value in fill)
    return bytes(labels) + red + green[:64] + b"\x4d" + green[65:] + blue


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    """Two records in each file, marked as a demo set."""
    folder = tmp_path / "set"
    folder.mkdir()
    for number, name in enumerate([*TRAIN10, "test_batch.bin"]):
        content = record(number, fill=(number, 2, 3)) + record(9 - number, fill=(4, 5, 6))
        (folder / name).write_bytes(content)
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    (folder / MARKER).write_text('{"options": {}, "counts": {"train": [10, 10], "test": [2, 2]}}')
    return folder


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    folder = tmp_path / "parent" / "cifar-100-binary"
    folder.mkdir(parents=True)
    (folder / "train.bin").write_bytes(record(19, 99, fill=(1, 2, 3)) + record(0, 42, fill=(1, 2, 3)))
    (folder / "test.bin").write_bytes(record(7, 13, fill=(1, 2, 3)))
    (folder / "fine_label_names.txt").write_text("".join(f"class {number}\n" for number in range(100)))
    (folder / MARKER).write_text('{"options": {}, "counts": {}}')
    return folder


def test_reads_bytes_written_by_hand(ten: Path) -> None:
    split = CIFAR10.read(ten)
    assert split.classes == list("abcdefghij")
    assert split.train.images.shape == (10, 3, 32, 32)
    assert (split.train.images.dtype, split.train.labels.dtype) == (np.uint8, np.int64)
    assert split.train.labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert split.test.labels.tolist() == [5, 4]
    image = split.train.images[4]
    assert image[1, 2, 0] == 77
    assert [np.unique(channel).tolist() for channel in image] == [[2], [2, 77], [3]]


def test_cifar100_has_the_fine_label_and_may_be_named_by_its_parent(hundred: Path) -> None:
    for root in (hundred, hundred.parent):
        split = CIFAR100.read(root)
        assert (split.train.labels.tolist(), split.test.labels.tolist()) == ([99, 42], [13])
        assert split.train.images[0, 1, 2, 0] == 77
        assert split.classes[42] == "class 42"


@pytest.mark.parametrize("layout", [CIFAR10, CIFAR100])
def test_what_is_written_is_read(layout: Cifar, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    classes = layout.labels[-1]
    parts = [
        LabelledImages(random.integers(0, 256, (count, 3, 32, 32), np.uint8), random.integers(0, classes, count))
        for count in (13, 7)
    ]
    layout.write(tmp_path, ImageSplit(parts[0], parts[1], [f"n{number}" for number in range(classes)]))
    (tmp_path / MARKER).write_text('{"options": {}, "counts": {}}')
    split = layout.read(tmp_path)
    for written, read in zip(parts, (split.train, split.test), strict=True):
        assert np.array_equal(written.images, read.images)
        assert np.array_equal(written.labels, read.labels)
    if layout is CIFAR100:
        coarse = np.frombuffer((tmp_path / "train.bin").read_bytes(), np.uint8).reshape(-1, 3074)[:, 0]
        assert coarse.tolist() == (parts[0].labels // 5).tolist()


def test_published_sizes() -> None:
    """The sizes that the data sets' page gives: 30,730,000 bytes for a file of CIFAR-10."""
    assert {CIFAR10.records[name] * CIFAR10.record for name in (*CIFAR10.train, CIFAR10.test)} == {30_730_000}
    assert [CIFAR100.records[name] * CIFAR100.record for name in ("train.bin", "test.bin")] == [153_700_000, 30_740_000]


def test_a_truncated_file(ten: Path) -> None:
    path = ten / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_3\.bin is cut off: 6,145 bytes .* 3,073 bytes .*unpack"):
        CIFAR10.read(ten)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="cut off: 0 bytes"):
        CIFAR10.read(ten)


def test_another_size_than_the_published_one(ten: Path, hundred: Path) -> None:
    (ten / MARKER).unlink()
    with pytest.raises(DataError, match=r"data_batch_1\.bin holds 2 images, the published file 10,000"):
        CIFAR10.read(ten)
    (hundred / MARKER).unlink()
    with pytest.raises(DataError, match=r"train\.bin holds 2 images, the published file 50,000"):
        CIFAR100.read(hundred)


def test_a_label_out_of_range(ten: Path, hundred: Path) -> None:
    good = record(3, fill=(0, 0, 0))
    (ten / "data_batch_2.bin").write_bytes(good + good + record(10, fill=(0, 0, 0)) + record(200, fill=(0, 0, 0)))
    with pytest.raises(DataError, match=r"data_batch_2\.bin: record 2 .* label 10, expected 0 to 9; 2 records"):
        CIFAR10.read(ten)
    (hundred / "test.bin").write_bytes(record(7, 100, fill=(0, 0, 0)))
    with pytest.raises(DataError, match=r"test\.bin: record 0 .* label 100, expected 0 to 99"):
        CIFAR100.read(hundred)
    (hundred / "test.bin").write_bytes(record(20, 99, fill=(0, 0, 0)))
    with pytest.raises(DataError, match="label 20, expected 0 to 19"):
        CIFAR100.read(hundred)


def test_missing_files(ten: Path, tmp_path: Path) -> None:
    (ten / "data_batch_4.bin").unlink()
    (ten / "batches.meta.txt").unlink()
    with pytest.raises(DataError, match=r"half of CIFAR-10: .* lacks data_batch_4\.bin, batches\.meta\.txt; unpack"):
        CIFAR10.read(ten)
    with pytest.raises(DataError, match=r"no CIFAR-100 in .*nowhere.*train\.bin.*does not exist.*tar\.gz"):
        CIFAR100.read(tmp_path / "nowhere")


def test_names_that_do_not_fit(ten: Path) -> None:
    (ten / "batches.meta.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"batches\.meta\.txt names 2 classes, CIFAR-10 has 10"):
        CIFAR10.read(ten)


def test_a_check_of_demo_data(tmp_path: Path) -> None:
    root = writers.write_cifar10(tmp_path / "set", train=40, test=20)
    report = check("cifar10", root)
    assert report.ok, str(report)
    assert [(row.part, row.found) for row in report.rows] == [("train", (40, 10)), ("test", (20, 10))]
    assert "classes" in str(report)
    assert "the demo data that were written" in str(report)


def test_a_check_finds_what_is_wrong(ten: Path, tmp_path: Path) -> None:
    report = check("cifar10", ten)
    assert report.ok, str(report)
    first, last = ten / TRAIN10[0], ten / TRAIN10[4]
    first.write_bytes(first.read_bytes() + 3 * record(9, fill=(0, 0, 0)))
    last.write_bytes(last.read_bytes()[:3073])
    text = str(check("cifar10", ten))
    assert "12 != 10" in text
    assert "9 != 10" in text
    assert "train: f has 0 images, j 4" in text
    assert text.endswith("not all is well")
    shutil.rmtree(ten)
    report = check("cifar10", tmp_path)
    assert not report.ok
    assert "no CIFAR-10" in str(report)


def test_the_published_counts_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writers.write_cifar100(tmp_path / "set", train=100, test=100)
    (tmp_path / "set" / MARKER).unlink()
    assert "the published file 50,000" in str(check("cifar100", tmp_path / "set"))
    monkeypatch.setitem(CIFAR100.records, "train.bin", 100)
    monkeypatch.setitem(CIFAR100.records, "test.bin", 100)
    report = check("cifar100", tmp_path / "set")
    assert report.ok
    assert "the published data set" in str(report)
