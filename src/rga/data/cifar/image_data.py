"""The data module of image classification, for sets that fit into the device's memory as they are."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rga.data.base import ImageSplit, LabelledImages
from rga.data.cifar.crops import Crops
from rga.data.module import DataModule
from rga.data.reid.augment import Normalize
from rga.data.sampler import expect_shares, generator
from rga.errors import DataError
from rga.runs.index import Index

Batch = dict[str, Tensor]


class ImageData(DataModule):
    """Random crops and mirror images to train on, and the test split as it is, all made on the training device.

    A batch, of training and of test, is there already, on the device: `image` (B, 3, H, W) float32, normalised with the
    training split's mean and standard deviation of each channel, and `label` (B,) int64.

    The margin that crops may show is black before normalisation, as with torchvision's `RandomCrop` in front of
    `Normalize`, the custom of PyTorch code for CIFAR; the Torch7 code of ResNet and DenseNet pads after normalisation,
    that is with the mean colour. The paper refers to theirs ("as in [21, 25, 51]", section 4.3); the recorded runs have
    black. A crop is sampled evenly from all places, as in both.

    Everything random of an epoch (order, crops, mirror images) is a function of (seed, epoch, place in the epoch),
    sampled on the CPU at its start and moved once. Process r of W has the images r, r + W, ... of each batch; of the
    test images those at r, r + W, ..., without repetition. The last batch of an epoch may be smaller.

    Args:
        reader: gives an `ImageSplit` for a root, such as `rga.data.cifar.binary.CIFAR10.read`.
        root: the data set's folder.
        size: (H, W) of the images, which have to have it: nothing is resized.
        batch: images of a batch, over all processes.
        test_batch: images of a test batch, of each process.
        pad: width of the margin that crops may show, in pixels; 0: no crops.
        mirror: probability of the mirror image.
        download: fetches the set to a root that lacks it, such as `CIFAR10.download`; None: never.
        source: `demo`, `demo_writer`, `seed` and `name`, see `DataModule`.

    Attributes:
        num_classes: classes that have a name (after `setup`).
        classes: their names, in the order of the labels (after `setup`).
        summary: images and classes of each split (after `setup`).
    """

    def __init__(
        self,
        reader: Callable[[Path], ImageSplit],
        root: str | Path,
        size: Sequence[int],
        batch: int = 128,
        test_batch: int = 1000,
        pad: int = 4,
        mirror: float = 0.5,
        download: Callable[[Path], Any] | None = None,
        **source: Any,
    ) -> None:
        super().__init__(reader, root, **source)
        if batch < 1 or test_batch < 1:
            raise ValueError(f"a batch has at least one image, got batch={batch}, test_batch={test_batch}")
        height, width = size
        self.size = (int(height), int(width))
        self.batch, self.test_batch, self.pad, self.mirror = batch, test_batch, pad, mirror
        self.download = download
        self._split: ImageSplit | None = None  # between prepare_data and setup
        self._folder: Path | None = None
        self._train: TrainImages | None = None
        self._test: TestImages | None = None
        self.classes: list[str] = []

    @property
    def global_batch(self) -> tuple[int, str, str]:
        return self.batch, "images", "recipe.batch"

    def prepare_data(self) -> None:
        """Write the demo data, or download the set, where it is wanted; stop here where it is not as expected.

        Raises:
            DataError: see the reader; or the download failed, or the images have another size.
        """
        if not self.write_demo() and self.download is not None:
            self.download(self.root)
        if self._test is None:
            self._read()

    def setup(self, stage: str | None = None) -> None:
        """Read the set (once, however often this is called)."""
        training = stage in (None, "fit")
        if self._test is not None and not (training and self._train is None):
            return
        split = self._read()
        self.num_classes, self.classes = len(split.classes), list(split.classes)
        self.summary = {"name": self.name} | {
            part: {"images": len(images), "classes": len(np.unique(images.labels))}
            for part, images in (("train", split.train), ("test", split.test))
        }
        self.normalize = normalize = Normalize(*channel_statistics(split.train.images))
        self._test = TestImages(split.test, normalize)
        if training:
            self._train = TrainImages(split.train, normalize, self.pad, self.mirror)
        self._split = None

    def train_dataloader(self) -> "TrainBatches":
        """This process's part of every batch."""
        if self._train is None:
            raise RuntimeError('call setup("fit") first')
        return TrainBatches(self._train.to(self._device()), self.batch, self.seed, *self.process())

    def val_dataloader(self) -> "TestBatches":
        """The test split: these sets have no other, and nothing is chosen by it."""
        return self.test_dataloader()

    def test_dataloader(self) -> "TestBatches":
        """The test split: this process's share."""
        if self._test is None:
            raise RuntimeError('call setup("test") first')
        return TestBatches(self._test.to(self._device()), self.test_batch, *self.process())

    def index(self) -> Index:
        """Pixels and labels of both splits: their number tells nothing."""
        split = self._read()
        parts = {"test": split.test, "train": split.train}
        lines = (f"{part}\tall images\t{images.images.nbytes}\t{_digest(images)}" for part, images in parts.items())
        return Index(tuple(lines), {part: len(images) for part, images in parts.items()})

    def folders(self) -> list[Path]:
        """That of the files."""
        if self._folder is None:
            self._folder = self._read().folder
        return [self._folder or self.root]

    def _read(self) -> ImageSplit:
        if self._split is None:
            split = self.reader(self.root)
            for images in (split.train.images, split.test.images):
                if images.shape[2:] != self.size:
                    raise DataError(
                        f"the images in {self.root} are {images.shape[2:]}, expected data.size = {self.size}"
                    )
            self._split, self._folder = split, split.folder
        return self._split

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")


def _digest(images: LabelledImages) -> str:
    content = hashlib.sha256(np.ascontiguousarray(images.images).data)
    content.update(np.ascontiguousarray(images.labels).data)
    return content.hexdigest()


class TrainImages(nn.Module):
    """The training split: on a device as soon as it is moved there."""

    def __init__(self, part: LabelledImages, normalize: Normalize, pad: int, mirror: float) -> None:
        super().__init__()
        self.labels = torch.from_numpy(part.labels)  # stays on the CPU: an epoch's labels travel with its crops
        self.crops = Crops(torch.from_numpy(part.images), pad, mirror)
        self.normalize = normalize


class TestImages(nn.Module):
    """The test split: on a device as soon as it is moved there."""

    __test__ = False  # no test class, whatever pytest thinks of the name
    images: Tensor
    labels: Tensor

    def __init__(self, part: LabelledImages, normalize: Normalize) -> None:
        super().__init__()
        self.register_buffer("images", torch.from_numpy(part.images), persistent=False)
        self.register_buffer("labels", torch.from_numpy(part.labels), persistent=False)
        self.normalize = normalize


class TrainBatches:
    """One process's part of an epoch's batches, anew in each epoch.

    Raises:
        ConfigError: a batch, or the last one, cannot be divided among the processes.
    """

    def __init__(self, images: TrainImages, batch: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        expect_shares(batch, world_size, "images", "recipe.batch", images=len(images.labels))
        self.images, self.batch, self.seed, self.rank, self.world_size = images, batch, seed, rank, world_size
        self.epoch = 0

    @property
    def sampler(self) -> "TrainBatches":
        """Where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.images.labels) // self.batch)

    def __iter__(self) -> Iterator[Batch]:
        crops, labels = self.images.crops, self.images.labels
        random = generator(self.seed, self.epoch)
        order = torch.randperm(len(labels), generator=random)
        place = torch.arange(len(labels)) % self.batch  # of an image in its batch
        mine = place % self.world_size == self.rank
        epoch = (crops.draw(order, random)[mine], labels[order][mine])
        parts = (values.to(crops.padded.device).split(self.batch // self.world_size) for values in epoch)
        for start, label in zip(*parts, strict=True):
            yield {"image": self.images.normalize(crops(start)), "label": label}


class TestBatches:
    """One process's share of the test split, in its order."""

    __test__ = False

    def __init__(self, images: TestImages, batch: int, rank: int = 0, world_size: int = 1) -> None:
        self.images, self.batch = images, batch
        self.mine = slice(rank, None, world_size)

    def __len__(self) -> int:
        return -(-len(self.images.labels[self.mine]) // self.batch)

    def __iter__(self) -> Iterator[Batch]:
        images, labels = self.images.images[self.mine], self.images.labels[self.mine]
        for image, label in zip(images.split(self.batch), labels.split(self.batch), strict=True):
            yield {"image": self.images.normalize(image), "label": label}


def channel_statistics(images: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over all pixels of all images (N, C, H, W), for pixels of 0..1.

    From counts of the 256 values, so exact but for the last rounding. (The deviation 0.2023, ... that circulates for
    CIFAR-10 is the mean of the single images' deviations; over all pixels it is 0.2470.)
    """
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for chunk in torch.from_numpy(images).split(1000):  # bincount makes an int64 of every byte
        for channel, values in enumerate(chunk.unbind(1)):
            counts[channel] += torch.bincount(values.flatten(), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    share = counts / counts.sum(1, keepdim=True, dtype=torch.float64)
    mean = share @ values
    std = (share * (values - mean[:, None]).square()).sum(1).sqrt()
    return mean.tolist(), std.tolist()
