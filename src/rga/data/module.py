"""What the data modules of all tasks share: a set that a reader reads, maybe written for it, and its processes."""

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule

from rga.cores import cores
from rga.data.listing import left_out
from rga.data.marker import is_synthetic
from rga.data.sampler import expect_shares, generator
from rga.errors import ConfigError, DataError
from rga.runs.index import Index

log = logging.getLogger("rga")

_MOST_WORKERS = 16  # of one loader: some more than an H100 needs for Cityscapes


class DataModule(LightningDataModule):
    """A data set at a root. A task's module adds its reader's type, its batches and its loaders.

    Args:
        reader: gives the set for a root.
        root: the data set's folder.
        demo: what to hand to `demo_writer`, which writes the set before it is read; None: the set is there.
        demo_writer: writes demo data in the reader's layout: `demo_writer(root, **demo)`.
        seed: of all that is random: batches, augmentation.
        name: the data set's, for the header of a table.
        workers: processes that decode images for a loader; None: as many as the cores that this process has, at most
            16.

    Attributes:
        num_classes: what a classifier tells apart (after `setup`).
        summary: counts of each split (after `setup`).

    Raises:
        ValueError: demo data are wanted and there is nothing that writes them.
    """

    def __init__(
        self,
        reader: Callable[[Path], Any],
        root: str | Path,
        demo: Mapping[str, Any] | None = None,
        demo_writer: Callable[..., Any] | None = None,
        seed: int = 0,
        name: str = "",
        workers: int | None = None,
    ) -> None:
        super().__init__()
        if demo is not None and demo_writer is None:
            raise ValueError(f"there are no demo data for {name or reader}: data.demo needs a data.demo_writer")
        self.reader, self.root, self.name, self.seed = reader, Path(root), name, seed
        self.demo, self.demo_writer, self.workers = demo, demo_writer, workers
        self.summary: dict[str, Any] = {}
        self.num_classes = 0

    @property
    def synthetic(self) -> bool:
        """Whether the images are: of this run, or of another one or `rga data demo`, which have marked their folder."""
        return self.demo is not None or any(is_synthetic(folder, self.root) for folder in self.folders())

    def folders(self) -> Iterable[Path]:
        """Folders of the set, at or below its root: where its images may lie anywhere, those of all images."""
        raise NotImplementedError

    def write_demo(self) -> bool:
        """Write the demo data where they are wanted; whether they are. ConfigError: an option that is none."""
        if self.demo is None or self.demo_writer is None:
            return False
        try:
            inspect.signature(self.demo_writer).bind(self.root, **self.demo)
        except TypeError as error:
            raise ConfigError(f"data.demo: {error}") from error
        self.demo_writer(self.root, **self.demo)
        return True

    def say_left_out(self, others: Iterable[Path]) -> None:
        """Name the files that are not read, once for all processes."""
        if self.process()[0] == 0:
            for line in left_out(self.root, others):
                log.warning("%s", line)

    def index(self) -> Index:
        """What the set holds by content, to tell it from another one under the same name (after `prepare_data`)."""
        raise NotImplementedError

    @property
    def global_batch(self) -> tuple[int, str, str]:
        """Its size, what it consists of, and the setting."""
        raise NotImplementedError

    def expect_shares(self, processes: int, nodes: int = 1) -> None:
        """See, before anything is read, that the processes can share a batch; ConfigError where they cannot."""
        size, what, setting = self.global_batch
        expect_shares(size, processes, what, setting, nodes=nodes)

    def expect_parts(self, part: str, images: int) -> None:
        """See that every process has an image of a split to test on; DataError where one has none."""
        processes = self.process()[1]
        if images < processes:
            raise DataError(
                f"{self.root} has {images} image{'' if images == 1 else 's'} to test on in {part}, and the run has "
                f"{processes} processes: trainer.devices={images} or fewer"
            )

    def process(self) -> tuple[int, int]:
        """The rank of this process, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def decoders(self) -> int:
        """How many processes decode images for a loader of this process."""
        if self.workers is not None:
            return self.workers
        here = self.trainer.num_devices if self.trainer else 1  # processes of this machine
        return max(1, min(_MOST_WORKERS, cores() // here))

    def loader_options(self) -> dict[str, Any]:
        """Of every DataLoader."""
        # A loader draws a seed for its workers when it starts; from a generator of its own, not from the global one.
        return {"pin_memory": torch.cuda.is_available(), "generator": generator(self.seed)}
