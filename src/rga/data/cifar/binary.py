"""CIFAR-10 and CIFAR-100 (Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009), binary versions.

    cifar-10-batches-bin/data_batch_1.bin ... data_batch_5.bin, test_batch.bin, batches.meta.txt
    cifar-100-binary/train.bin, test.bin, fine_label_names.txt

A file is a row of records, each of a label (CIFAR-100: the coarse, then the fine one) in a byte of its own and a
image of 32 x 32 in 3 x 1024 bytes, channel by channel. CIFAR-100's label is the fine one. The versions for Python
hold the same data in pickles, which can run anything when they are opened; they are not read.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rga.data import archive, audit
from rga.data.base import ImageSplit, LabelledImages
from rga.data.listing import locate, read_lines
from rga.data.marker import recorded
from rga.errors import DataError

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Cifar:
    """One of the two sets, and how to read it.

    Args:
        title: its name.
        folder: the folder in its archive.
        train: the files of the training split, in the order in which they are read.
        test: the file of the test split.
        records: how many images a file holds.
        labels: how many classes each label byte of a record tells apart; the last one is the label.
        names: the file with the names of the classes, one a line.
        url: its archive.
        md5: the archive's checksum.
    """

    title: str
    folder: str
    train: tuple[str, ...]
    test: str
    records: dict[str, int]
    labels: tuple[int, ...]
    names: str
    url: str
    md5: str

    @property
    def record(self) -> int:
        """Bytes of a record."""
        return len(self.labels) + PIXELS

    def read(self, root: str | Path) -> ImageSplit:
        """Read the set: `root` is its folder, or that folder's parent.

        A demo set (one with a marker, see `rga.data.marker`) may have any number of records.

        Raises:
            DataError: a file is missing, cut off or of another size than the published one, or a label is out of range.
        """
        folder = self.locate(root)
        names = [line.strip() for line in read_lines(folder / self.names) if line.strip()]
        if len(names) != self.labels[-1]:
            raise DataError(f"{folder / self.names} names {len(names)} classes, {self.title} has {self.labels[-1]}")
        return ImageSplit(self._part(folder, self.train), self._part(folder, (self.test,)), names, folder)

    def locate(self, root: str | Path) -> Path:
        """The folder with the files: `root` itself or `folder` in it."""
        files = (*self.train, self.test, self.names)
        return locate(root, self.title, [self.folder], files, source=f"unpack the binary version, {self.url}")

    def download(self, root: str | Path) -> None:
        """Download the set to `root`/`folder`, unless some of it lies there, or in `root`, already.

        Raises:
            DataError: see `rga.data.archive.fetch`.
        """
        root = Path(root).expanduser()
        files = (*self.train, self.test, self.names)
        if not any((folder / name).exists() for folder in (root, root / self.folder) for name in files):
            archive.fetch(self.url, self.md5, self.folder, root)

    def check(self, root: str | Path, name: str = "") -> audit.Report:
        """What `rga data check` says. Sizes and labels are the reader's matter; here the classes are counted."""
        split = self.read(root)
        found, problems = {}, []
        for part, images in (("train", split.train), ("test", split.test)):
            counts = np.bincount(images.labels, minlength=self.labels[-1])
            found[part] = (len(images), int((counts > 0).sum()))
            fewest, most = counts.argmin(), counts.argmax()
            if counts[most] - counts[fewest] > 1:  # both sets hold as many images of every class
                problems.append(
                    f"{part}: {split.classes[fewest]} has {counts[fewest]:,} images, "
                    f"{split.classes[most]} {counts[most]:,}: every class should have as many"
                )
        published = {
            "train": (sum(self.records[name] for name in self.train), self.labels[-1]),
            "test": (self.records[self.test], self.labels[-1]),
        }
        rows, source = audit.rows(self.locate(root), found, published)
        return audit.Report(name or self.title, Path(root), ("images", "classes"), rows, source, problems)

    def write(self, folder: Path, split: ImageSplit) -> None:
        """Write a set in this layout, for `read`; coarse labels, where there are any, are groups of neighbours."""
        for part, files in ((split.train, self.train), (split.test, (self.test,))):
            labels = [part.labels * classes // self.labels[-1] for classes in self.labels]
            records = np.column_stack([*labels, part.images.reshape(len(part), PIXELS)]).astype(np.uint8)
            for name, share in zip(files, np.array_split(records, len(files)), strict=True):
                (folder / name).write_bytes(share.tobytes())
        (folder / self.names).write_text("".join(f"{name}\n" for name in split.classes))

    def _part(self, folder: Path, files: tuple[str, ...]) -> LabelledImages:
        records = np.concatenate([self._records(folder / name) for name in files])
        images = np.ascontiguousarray(records[:, len(self.labels) :]).reshape(-1, *SHAPE)
        return LabelledImages(images, records[:, len(self.labels) - 1].astype(np.int64))

    def _records(self, path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        """The records of a file, (N, record)."""
        again = f"unpack the archive ({self.url}) again"
        published = self.records[path.name]
        try:
            content = np.fromfile(path, np.uint8)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error}") from error
        if len(content) % self.record or not len(content):
            raise DataError(
                f"{path} is cut off: {len(content):,} bytes are no whole number of records of {self.record:,} bytes "
                f"(the published file has {published:,} of them); {again}"
            )
        records = content.reshape(-1, self.record)
        if len(records) != published and recorded(path.parent) is None:
            raise DataError(f"{path} holds {len(records):,} images, the published file {published:,}; {again}")
        for byte, classes in enumerate(self.labels):
            wrong = np.flatnonzero(records[:, byte] >= classes)
            if len(wrong):
                raise DataError(
                    f"{path}: record {wrong[0]:,} (counted from 0) has the label {records[wrong[0], byte]}, "
                    f"expected 0 to {classes - 1}; {len(wrong):,} records are like that, {again}"
                )
        return records


CIFAR10 = Cifar(
    title="CIFAR-10",
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test="test_batch.bin",
    records={**{f"data_batch_{number}.bin": 10_000 for number in range(1, 6)}, "test_batch.bin": 10_000},
    labels=(10,),
    names="batches.meta.txt",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
)

CIFAR100 = Cifar(
    title="CIFAR-100",
    folder="cifar-100-binary",
    train=("train.bin",),
    test="test.bin",
    records={"train.bin": 50_000, "test.bin": 10_000},
    labels=(20, 100),
    names="fine_label_names.txt",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
)
