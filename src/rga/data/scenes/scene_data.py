"""The data module of scene segmentation, for every data set that has a reader."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rga.data.base import Scene, SceneSplit
from rga.data.module import DataModule
from rga.data.reid.augment import Normalize
from rga.data.sampler import Draw, Share, generator
from rga.data.scenes import annotated
from rga.data.scenes.decoded import Decoded
from rga.data.scenes.stream import Stream
from rga.data.scenes.windows import Windows
from rga.errors import DataError
from rga.runs.index import Index, digest_of

Pixels = NDArray[np.uint8]


class SceneData(DataModule):
    """Random windows of scaled images to train on, and whole images, one at a time, to test on.

    A training batch, on the device: `image` (B, 3, H, W) float32, normalised with ImageNet's mean and standard
    deviation, and `label` (B, H, W) int64, 255 for what is ignored. A test batch has one image, as sizes may differ:
    `image` (1, 3, h, w), `label` (1, h, w) and `name`, a list of one.

    An epoch is a number of steps, see `Stream`. Everything random of it is a function of (seed, epoch, step, place in
    the global batch): not of the global generators, the number of processes or the workers. Process r of W has the
    places r, r + W, ... of each batch, and of the test images those at r, r + W, ..., without repetition.

    Args:
        reader: gives a `SceneSplit` for a root, such as `rga.data.scenes.cityscapes.read`.
        root: the data set's folder.
        size: (H, W) of a training crop.
        batch: images of a batch, over all processes.
        steps: batches of an epoch.
        scales: between which an image's scale is sampled, see `Windows`.
        mirror: probability of the mirror image.
        test: the splits to test on, in this order.
        class_weights: in the training loss, in the order of the labels; None: all classes count alike.
        cache: a folder for decoded training images, see `Decoded`; None: they are decoded each time they are seen.
        source: `demo`, `demo_writer`, `seed`, `name` and `workers`, see `DataModule`. Workers also cut the windows.

    Attributes:
        num_classes: classes that count (after `setup`).
        classes: their names, in the order of the labels (after `setup`).
        colours: theirs, (K, 3) uint8 (after `setup`).
        summary: images and classes of each split (after `setup`).
    """

    def __init__(
        self,
        reader: Callable[[Path], SceneSplit],
        root: str | Path,
        size: Sequence[int] = (769, 769),
        batch: int = 8,
        steps: int = 500,
        scales: Sequence[float] = (0.5, 2.0),
        mirror: float = 0.5,
        test: Sequence[str] = ("val", "train"),
        class_weights: Sequence[float] | None = None,
        cache: str | Path | None = None,
        **source: Any,
    ) -> None:
        super().__init__(reader, root, **source)
        if batch < 1 or steps < 1:
            raise ValueError(f"an epoch has at least one step with one image, got batch={batch}, steps={steps}")
        if not test:
            raise ValueError("there is nothing to test on: data.test names at least one split")
        self.windows = Windows(size, scales, mirror)
        self.size, self.normalize = self.windows.size, Normalize()
        self.batch, self.steps, self.test, self.cache = batch, steps, list(test), cache
        if class_weights is not None and not all(weight > 0 for weight in class_weights):
            raise ValueError(f"class_weights are positive, got {list(class_weights)}")
        self.class_weights = None if class_weights is None else [float(weight) for weight in class_weights]
        self.classes: list[str] = []
        self.colours: Pixels = np.empty((0, 3), np.uint8)
        self._split: SceneSplit | None = None

    @property
    def global_batch(self) -> tuple[int, str, str]:
        return self.batch, "images", "recipe.batch"

    def prepare_data(self) -> None:
        """Write the demo data where they are wanted, and stop here where the data are not as expected.

        Raises:
            DataError: see the reader; or the data set lacks a split to test on, no pixel of one counts, or it has
                another number of classes than there are class weights, or fewer images to test on than processes.
        """
        self.write_demo()
        split = self._read()
        annotated.verify(split, dict.fromkeys(["train", "val", *self.test]))
        for part in ("val", *self.test):
            self.expect_parts(part, len(split.parts[part]))

    def setup(self, stage: str | None = None) -> None:
        """Read the names of the files (once, however often this is called)."""
        split = self._read()
        self.num_classes, self.classes, self.colours = len(split.classes), split.classes, split.colours
        self.say_left_out(split.others)
        self.summary = {"name": self.name} | {
            part: {"images": len(scenes), "classes": self.num_classes} for part, scenes in split.parts.items()
        }
        if stage in (None, "fit") and self.process()[0] == 0:
            Decoded(self.cache, split.lookup, split.painted).prepare(split.parts["train"])

    def train_dataloader(self) -> DataLoader[Any]:
        """One element of the loader is this process's part of a batch, made by one worker."""
        split = self._read()
        scenes, decoded = split.parts["train"], Decoded(self.cache, split.lookup, split.painted)
        images = TrainScenes(scenes, decoded, self.windows, self.seed, self.batch)
        stream = Stream(len(images), self.batch, self.steps, self.seed, *self.process())
        count = self.decoders()
        options = {**self.loader_options(), "num_workers": count, "persistent_workers": count > 0}
        return DataLoader(images, batch_size=None, sampler=stream, **options)

    def val_dataloader(self) -> DataLoader[Any]:
        """The split val: this process's share."""
        return self._whole("val")

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """The splits to test on: this process's share of each."""
        return [self._whole(part) for part in self.test]

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Normalise on the device: until there, pixels and labels are bytes."""
        normalize = self.normalize.to(batch["image"].device)
        return {**batch, "image": normalize(batch["image"]), "label": batch["label"].long()}

    def index(self) -> Index:
        """The images of the splits that are used; a label is what is in the file of labels, and how it is read."""
        split = self._read()
        used = dict.fromkeys(("train", "val", *self.test))
        return Index.of_files(
            (part, scene.image, f"{digest_of(scene.label)} {split.meaning}".rstrip())
            for part in used
            for scene in split.parts[part]
        )

    def folders(self) -> set[Path]:
        """Those of the images."""
        return {scene.image.parent for scenes in self._read().parts.values() for scene in scenes}

    def scenes(self, part: str) -> list[Scene]:
        """The images of a split, in the order in which they are tested."""
        return self._read().parts[part]

    def _whole(self, part: str) -> DataLoader[Any]:
        split = self._read()
        scenes = WholeScenes(split.parts[part], split)
        share = Share(len(scenes), *self.process())
        return DataLoader(scenes, batch_size=1, sampler=share, num_workers=self.decoders(), **self.loader_options())

    def _read(self) -> SceneSplit:
        if self._split is None:
            split = self.reader(self.root)
            if missing := [part for part in ("train", "val", *self.test) if part not in split.parts]:
                raise DataError(f"{self.root} has the splits {', '.join(split.parts)}, not {', '.join(missing)}")
            if self.class_weights is not None and len(self.class_weights) != len(split.classes):
                raise DataError(
                    f"{self.root} has {len(split.classes)} classes, but there are {len(self.class_weights)} "
                    "class weights: data.class_weights has one for each class, or is null"
                )
            self._split = split
        return self._split


class TrainScenes(Dataset[dict[str, Tensor]]):
    """Parts of batches: windows of images, cut as was sampled for the global batch."""

    def __init__(self, scenes: list[Scene], decoded: Decoded, windows: Windows, seed: int, batch: int) -> None:
        self.scenes, self.decoded, self.windows, self.seed, self.batch = scenes, decoded, windows, seed, batch

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """`image` (B, 3, H, W) and `label` (B, H, W), both uint8."""
        whole = self.windows.draw(self.batch, generator(self.seed, draw.epoch, draw.step))
        cuts = [
            self.windows.cut(*self.decoded.load(self.scenes[index]), whole[row])
            for index, row in zip(draw.indices, draw.rows, strict=True)
        ]
        images, labels = (np.stack(pixels) for pixels in zip(*cuts, strict=True))
        return {"image": _channels_first(images), "label": torch.from_numpy(labels)}


class WholeScenes(Dataset[dict[str, Any]]):
    """Images as they are."""

    def __init__(self, scenes: list[Scene], split: SceneSplit) -> None:
        self.scenes, self.lookup, self.painted = scenes, split.lookup, split.painted

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`image` (3, h, w) and `label` (h, w), both uint8, and the scene's `name`."""
        image, label = annotated.load(self.scenes[index], self.lookup, self.painted)
        return {"image": _channels_first(image), "label": torch.from_numpy(label), "name": self.scenes[index].name}


def _channels_first(pixels: Pixels) -> Tensor:
    """(..., H, W, 3) to (..., 3, H, W), laid out anew."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, -3)))
