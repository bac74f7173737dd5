"""The data module of image classification for images of any size in files."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rga.data import decoding
from rga.data.base import FileSplit, LabelledFile
from rga.data.folders.resized_crops import ResizedCrops, middle
from rga.data.module import DataModule
from rga.data.progress import watched
from rga.data.reid.augment import Normalize
from rga.data.reid.image_store import threads
from rga.data.sampler import Draw, Share, generator
from rga.data.scenes.stream import Stream
from rga.errors import DataError
from rga.runs.index import Index

Images = Sequence[Tensor]


class FolderData(DataModule):
    """Random resized crops to train on, and the middle of each image of the split val to test on.

    A batch, of training and of test, after normalisation on the device: `image` (B, 3, H, W) float32, with ImageNet's
    mean and standard deviation, and `label` (B,) int64.

    A set that is small when it is decoded stays on the training device, where the crops are made; of a larger one,
    workers decode the images of each batch anew. That makes no difference to the numbers but the devices' rounding.

    An epoch is as many batches as show every image once, or a few of the next pass: passes continue from one epoch to
    the next (see `Stream`), so all batches have one size. Everything random is a function of (seed, epoch, step, place
    in the global batch). Process r of W has the places r, r + W, ... of each batch, and of the test images those at r,
    r + W, ..., without repetition.

    Args:
        reader: gives a `FileSplit` for a root, such as `rga.data.folders.image_folder.read`.
        root: the data set's folder.
        size: (H, W) of the network's input.
        resize: the shorter side of a test image, in pixels, before its middle is cut out.
        batch: images of a batch, over all processes.
        test_batch: images of a test batch, of each process.
        area, aspect, mirror: of the crops, see `ResizedCrops`.
        memory: bytes of decoded images that may stay on the device, of every process.
        source: `demo`, `demo_writer`, `seed`, `name` and `workers`, see `DataModule`.

    Attributes:
        num_classes: folders of the training split (after `setup`).
        classes: their names, in the order of the labels (after `setup`).
        summary: images and classes of each split (after `setup`).
    """

    def __init__(
        self,
        reader: Callable[[Path], FileSplit],
        root: str | Path,
        size: Sequence[int],
        resize: int = 256,
        batch: int = 256,
        test_batch: int = 128,
        area: Sequence[float] = (0.08, 1.0),
        aspect: Sequence[float] = (3 / 4, 4 / 3),
        mirror: float = 0.5,
        memory: int = 2 << 30,
        **source: Any,
    ) -> None:
        super().__init__(reader, root, **source)
        if batch < 1 or test_batch < 1:
            raise ValueError(f"a batch has at least one image, got batch={batch}, test_batch={test_batch}")
        self.crops = ResizedCrops(size, area, aspect, mirror)
        self.size, self.resize = self.crops.size, resize
        if resize < max(self.size):
            raise ValueError(f"test images are cut out of ones with a shorter side of {resize}, into {self.size}")
        self.batch, self.test_batch, self.memory = batch, test_batch, memory
        self.normalize = Normalize()
        self.classes: list[str] = []
        self._split: FileSplit | None = None
        self._small: bool | None = None  # whether the decoded images stay on the device
        self._kept: dict[str, Images] = {}

    @property
    def global_batch(self) -> tuple[int, str, str]:
        return self.batch, "images", "recipe.batch"

    def prepare_data(self) -> None:
        """Write the demo data where they are wanted, and stop here where the data are not as expected.

        Raises:
            DataError: see the reader; or a batch has more images than the training split, or val fewer than there are
                processes.
        """
        self.write_demo()
        split = self._read()
        self.expect_parts("val", len(split.val))
        if self.batch > len(split.train):
            raise DataError(
                f"a batch has {self.batch} images, the training split of {self.root} only {len(split.train)}: set "
                f"recipe.batch={len(split.train)} or less, and the learning rate to it (recipe.optimizer.lr)"
            )

    def setup(self, stage: str | None = None) -> None:
        """Read the names of the files (once, however often this is called)."""
        split = self._read()
        self.num_classes, self.classes = len(split.classes), split.classes
        self.say_left_out(split.others)
        self.summary = {"name": self.name} | {
            part: {"images": len(files), "classes": len({file.label for file in files})}
            for part, files in (("train", split.train), ("val", split.val))
        }

    def train_dataloader(self) -> DataLoader[Any]:
        """One element of the loader is this process's part of a batch, made by one worker."""
        files = self._read().train
        images = TrainImages(self._images("train"), files, self.crops, self.seed, self.batch)
        stream = Stream(len(files), self.batch, -(-len(files) // self.batch), self.seed, *self.process())
        return DataLoader(images, batch_size=None, sampler=stream, **self.loader_options())

    def val_dataloader(self) -> DataLoader[Any]:
        """The split val: this process's share. Nothing is chosen by it."""
        return self.test_dataloader()

    def test_dataloader(self) -> DataLoader[Any]:
        """The split val: this process's share."""
        files = self._read().val
        images = TestImages(self._images("val"), files, self.resize, self.size)
        share = Share(len(files), *self.process())
        return DataLoader(images, self.test_batch, sampler=share, **self.loader_options())

    def loader_options(self) -> dict[str, Any]:
        """Nothing is decoded where the images are on the device, so there is nothing for workers or to be pinned."""
        options = super().loader_options()
        return options | ({"pin_memory": False} if self._stays() else {"num_workers": self.decoders()})

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Normalise on the device: until there, pixels are bytes."""
        normalize = self.normalize.to(batch["image"].device)
        return {**batch, "image": normalize(batch["image"])}

    def index(self) -> Index:
        """The images; a label is the name of the class."""
        split = self._read()
        parts = (("train", split.train), ("val", split.val))
        return Index.of_files((part, path, split.classes[label]) for part, files in parts for path, label in files)

    def folders(self) -> set[Path]:
        """Those of the images."""
        split = self._read()
        return {file.path.parent for file in (*split.train, *split.val)}

    def _read(self) -> FileSplit:
        if self._split is None:
            self._split = self.reader(self.root)
        return self._split

    def _stays(self) -> bool:
        if self._small is None:
            split = self._read()
            self._small = fit(self.memory, (file.path for file in (*split.train, *split.val)))
        return self._small

    def _images(self, part: str) -> Images:
        """The images of a split by their places: on the device, or as they are decoded."""
        files = getattr(self._read(), part)
        if not self._stays():
            return Files(files)
        if part not in self._kept:
            device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
            with ThreadPoolExecutor(threads()) as pool:  # decoding releases the interpreter's lock
                decoded = watched(pool.map(Files(files).__getitem__, range(len(files))), "decoding", len(files))
                self._kept[part] = [image.to(device) for image in decoded]
        return self._kept[part]


def fit(memory: int, paths: Iterable[Path]) -> bool:
    """Whether the decoded images take no more bytes; of a large set the first ones tell."""
    sizes = (3 * int(np.prod(decoding.shape(path))) for path in paths)
    return all(total <= memory for total in accumulate(sizes))


class Files(Sequence[Tensor]):
    """Images (3, h, w) uint8, decoded when they are asked for."""

    def __init__(self, files: list[LabelledFile]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> Any:
        return torch.from_numpy(np.array(decoding.load(self.files[index].path))).permute(2, 0, 1)


class TrainImages(Dataset[dict[str, Tensor]]):
    """Parts of batches: crops as they were sampled for the global batch."""

    def __init__(self, images: Images, files: list[LabelledFile], crops: ResizedCrops, seed: int, batch: int) -> None:
        self.images, self.labels = images, torch.tensor([file.label for file in files])
        self.crops, self.seed, self.batch = crops, seed, batch

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """`image` (B, 3, H, W) uint8 and `label` (B,)."""
        whole = self.crops.draw(self.batch, generator(self.seed, draw.epoch, draw.step))
        cuts = [self.crops.cut(self.images[i], whole[row]) for i, row in zip(draw.indices, draw.rows, strict=True)]
        return {"image": torch.stack(cuts), "label": self.labels[draw.indices]}


class TestImages(Dataset[dict[str, Any]]):
    """The middle of each image."""

    __test__ = False  # no test class, whatever pytest thinks of the name

    def __init__(self, images: Images, files: list[LabelledFile], resize: int, size: tuple[int, int]) -> None:
        self.images, self.files, self.resize, self.size = images, files, resize, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`image` (3, H, W) uint8 and `label`."""
        return {"image": middle(self.images[index], self.resize, self.size), "label": self.files[index].label}
