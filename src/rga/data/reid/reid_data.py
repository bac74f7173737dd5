"""The data module of person re-identification, for every data set that has a reader."""

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rga.data import decoding, matches
from rga.data.base import Sample, Split, identities, shorten
from rga.data.module import DataModule
from rga.data.reid.augment import ReIDAugment
from rga.data.reid.image_store import ImageStore, cached_file
from rga.data.sampler import Draw, IdentityBatches, Share, generator
from rga.errors import ConfigError, DataError
from rga.runs.index import Index

log = logging.getLogger("rga")


class ReIDData(DataModule):
    """Identity-balanced training batches, and one test loader over query and gallery.

    A training batch, after augmentation on the device: `image` (B, 3, H, W) normalised float32, `label` (B,) in
    0 .. num_classes - 1. A test batch: `image`, `identity`, `camera` (the data set's numbers), `query` (bool) and
    `index` (the place in query + gallery), each (B,).

    Everything random of an epoch is a function of (seed, epoch, step, place in the global batch): not of the global
    generators, the number of processes or the workers. P is that of the global batch; process r of W has its
    identities r, r + W, ..., and of the test images those at r, r + W, ..., without repetition.

    Args:
        reader: gives a `Split` for a root, such as `rga.data.reid.market1501.read`.
        root: the data set's folder; None: nobody has said which.
        size: (H, W) of the network's input.
        identities: P, identities in a global batch.
        images: K, images of each.
        test_batch: images in a test batch, of each process.
        augment: the augmentation; None: images are resized and normalised.
        cache: the folder for decoded images of a set too large for memory; None: memory, whatever the size.
        memory: bytes of decoded images that every process may hold in memory.
        train_identities: train on the first so many identities alone, in the order of their numbers; None: on all.
        table: the file that says who is on the images, for a reader of such (`rga.data.reid.table.read`).
        source: `demo`, `demo_writer`, `seed`, `name` and `workers` (of the test loader), see `DataModule`.

    Attributes:
        num_classes: identities in the training split (after `setup`).
        summary: images and identities of each split, and how many queries count (after `setup`).
        gallery_draws: see `Split` (after `setup`).
    """

    def __init__(
        self,
        reader: Callable[..., Split],
        root: str | Path | None,
        size: Sequence[int],
        identities: int = 16,
        images: int = 4,
        test_batch: int = 128,
        augment: ReIDAugment | None = None,
        cache: str | Path | None = None,
        memory: int = 2 << 30,
        train_identities: int | None = None,
        table: str | Path | None = None,
        **source: Any,
    ) -> None:
        if root is None:
            raise ValueError("which table? data.table=FILE names it, or data.root=FOLDER the folder that it is in")
        if table is not None:
            if source.get("demo") is not None:
                raise ValueError("synthetic data have a table of their own: leave out data.table, or scale=demo")
            reader = partial(reader, table=table)
        super().__init__(reader, root, **source)
        height, width = size
        self.size = (int(height), int(width))
        if augment is not None and augment.size != self.size:
            raise ValueError(f"the augmentation gives images of {augment.size}, the data module expects {self.size}")
        self.augment = augment or ReIDAugment(self.size, translate=0, flip=0, erase=0)
        self.identities, self.images, self.test_batch = identities, images, test_batch
        self.cache, self.memory, self.train_identities = cache, memory, train_identities
        self.gallery_draws = 0
        self._split: Split | None = None
        self._train: TrainImages | None = None

    @property
    def global_batch(self) -> tuple[int, str, str]:
        return self.identities, "identities", "recipe.identities"

    def prepare_data(self) -> None:
        """Write the demo data where they are wanted, and stop here, in one process, where the data are not as expected.

        Raises:
            DataError: see the reader; also, an image is named twice in a split, no query has a match, or, to train, the
                training split has fewer identities than a batch needs.
            ConfigError: batches without triplets.
        """
        self.write_demo()
        split = self.split()
        for part, samples in (("train", split.train), ("query", split.query), ("gallery", split.gallery)):
            if twice := [path for path, count in Counter(sample.path for sample in samples).items() if count > 1]:
                names = shorten(sorted(map(str, twice)))
                raise DataError(f"{self.root}, {part}: images that are named twice: {names}")
        matches.verify(split, self.root)
        self.expect_parts("query and gallery", len(split.query) + len(split.gallery))
        if self.trainer is not None and self.trainer.state.fn == "test":
            return
        for name, count in (("identities", self.identities), ("images", self.images)):
            if count < 2:
                raise ConfigError(
                    f"recipe.{name}={count}: the triplet loss compares an image with another one of the same identity "
                    "and with one of another: identities and images of each are at least 2"
                )
        if not split.train:
            raise DataError(f"{self.root} has no training split: it can be tested on (rga test), not trained on")
        present = len(identities(split.train))
        if present < self.identities:
            raise DataError(
                f"a batch has {self.identities} identities, the training split of {self.root} only {present}: "
                f"recipe.identities={present} or fewer"
            )
        # Too large for memory: written once here, by one process of the machine, then mapped by all.
        cached_file([sample.path for sample in split.train], self.size, self.cache, self.memory)

    def setup(self, stage: str | None = None) -> None:
        """Read the data set and, to train, decode its training images (once, however often this is called)."""
        split = self.split()
        names = identities(split.train)
        self.num_classes, self.gallery_draws = len(names), split.gallery_draws
        self.say_left_out(split.others)
        self.summary = {"name": self.name} | {
            part: {"images": len(samples), "identities": len(identities(samples))}
            for part, samples in (("train", split.train), ("query", split.query), ("gallery", split.gallery))
        }
        self.summary["query"]["counted"] = len(split.query) - len(matches.unmatched(split.query, split.gallery))
        if not split.has_cameras:
            self.summary["query"]["cameras"] = 0  # see `rga.data.base.in_words`
        for note in matches.notes(split):
            log.info("%s", note)
        if stage in (None, "fit") and self._train is None:
            labels = {identity: label for label, identity in enumerate(names)}
            store = ImageStore([sample.path for sample in split.train], self.size, self.cache, self.memory)
            self._train = TrainImages(
                store, [labels[s.identity] for s in split.train], self.augment, self.seed, self.images * self.identities
            )

    def train_dataloader(self) -> DataLoader[Any]:
        """One element of the loader is this process's part of a batch; the images come out of the store at once."""
        if self._train is None:
            raise RuntimeError('call setup("fit") first')
        # Nothing is decoded here, so workers would only copy.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        rank, world = self.process()
        try:
            sampler = IdentityBatches(self._train.labels.tolist(), self.identities, self.images, self.seed, rank, world)
        except ValueError as error:
            raise DataError(str(error)) from error
        return DataLoader(self._train, batch_size=None, sampler=sampler, **self.loader_options())

    def test_dataloader(self) -> DataLoader[Any]:
        """Query, then gallery: this process's share."""
        split = self.split()
        images = TestImages(split.query, split.gallery, self.size)
        share = Share(len(images), *self.process())
        return DataLoader(images, self.test_batch, sampler=share, num_workers=self.decoders(), **self.loader_options())

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Augment, or only normalise what needs no augmentation, on the device."""
        images = batch.pop("image")
        self.augment.to(images.device)
        draw = {key: batch.pop(key) for key in ("affine", "erase") if key in batch}
        image = self.augment(images, draw) if draw else self.augment.normalize(images)
        return {"image": image, **batch}

    def index(self) -> Index:
        """The images that train, ask or answer; a label is identity and camera."""
        split = self.split()
        parts = (("train", split.train), ("query", split.query), ("gallery", split.gallery))
        between = " " if split.names is None else "\t"  # which no name has in it
        return Index.of_files(
            (part, sample.path, f"{split.identity(sample.identity)}{between}{split.camera(sample.camera)}")
            for part, samples in parts
            for sample in samples
        )

    def folders(self) -> set[Path]:
        """Those of the images."""
        split = self.split()
        return {sample.path.parent for part in (split.gallery, split.query, split.train) for sample in part}

    def split(self) -> Split:
        """What the reader gives, or the part that is wanted, read once; demo data have to be there (`write_demo`).

        Raises:
            DataError: see the reader; also, fewer identities than `train_identities`.
        """
        if self._split is None:
            split = self.reader(self.root)
            self._split = split if self.train_identities is None else _fewer(split, self.train_identities, self.root)
        return self._split


def _fewer(split: Split, count: int, root: Path) -> Split:
    names = identities(split.train)
    if not names:  # it is there to be tested on
        return split
    if not 0 < count <= len(names):
        raise DataError(f"data.train_identities={count}: the training split of {root} has {len(names)} identities")
    kept = set(names[:count])
    return replace(split, train=[sample for sample in split.train if sample.identity in kept])


class TrainImages(Dataset[dict[str, Tensor]]):
    """Parts of batches: stored images, their labels, and what the augmentation will do to them."""

    def __init__(self, store: ImageStore, labels: list[int], augment: ReIDAugment, seed: int, batch: int) -> None:
        self.store, self.labels, self.augment = store, torch.tensor(labels), augment
        self.seed, self.batch = seed, batch

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """`image` (B, 3, h, w) uint8, `label` (B,), and the rows of what was sampled for the global batch."""
        random = generator(self.seed, draw.epoch, draw.step)
        whole = self.augment.draw(self.batch, random)
        return {
            "image": torch.from_numpy(self.store[draw.indices]),
            "label": self.labels[draw.indices],
            **{key: values[draw.rows] for key, values in whole.items()},
        }


class TestImages(Dataset[dict[str, Any]]):
    """Query, then gallery, decoded and resized one by one."""

    __test__ = False  # no test class, whatever pytest thinks of the name

    def __init__(self, query: list[Sample], gallery: list[Sample], size: tuple[int, int]) -> None:
        self.samples, self.queries, self.size = query + gallery, len(query), size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`image` (3, H, W) uint8, and the numbers of one image."""
        path, identity, camera = self.samples[index]
        image = np.ascontiguousarray(decoding.load(path, self.size).transpose(2, 0, 1))
        return {
            "image": torch.from_numpy(image),
            "identity": identity,
            "camera": camera,
            "query": index < self.queries,
            "index": index,
        }
