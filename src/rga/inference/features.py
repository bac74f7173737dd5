"""Features of images by a trained re-ID network: what `rga extract` and `rga search` are made of."""

import hashlib
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from rga.data import decoding
from rga.data.decoding import SUFFIXES
from rga.data.listing import left_out, listing
from rga.data.reid.augment import Normalize
from rga.data.reid.image_store import threads
from rga.errors import ConfigError, DataError
from rga.inference.trained import Trained
from rga.tasks import ReID
from rga.training.speed import expect_precision, prepare_inference

log = logging.getLogger("rga")

_AHEAD = 2  # batches that are decoded while another one is on the device


class Extractor:
    """Images to features, on one device and in the run's precision; threads decode.

    Args:
        trained: a re-ID network, see `rga.tasks.ReID` for its options `feature` and `flip`.

    Attributes:
        identity: what determines a feature beside the image, as texts by name.
        size: (H, W) that images are resized to.
        channels: D.
    """

    def __init__(self, trained: Trained) -> None:
        config, task = trained.config, trained.task
        assert isinstance(task, ReID)
        self.size: tuple[int, int] = tuple(config.data.size)
        self.batch: int = config.data.test_batch
        self.channels, self.feature = task.channels, task.feature
        self.identity = {
            "weights": digest(task),
            "size": f"{self.size[0]} x {self.size[1]}",
            "feature": f"{task.feature}{', flip' * task.flip}",
            "precision": config.trainer.precision,
        }
        fabric = Fabric(accelerator=config.trainer.accelerator, devices=1, precision=config.trainer.precision)
        expect_precision(fabric.device, str(config.trainer.precision))
        prepare_inference(task, fabric.device, config.trainer)
        self.network = fabric.setup_module(task)
        plain, own = Normalize(), Normalize.of(config.data.augment)
        if not (torch.equal(own.scale, plain.scale) and torch.equal(own.shift, plain.shift)):
            numbers = {key: list(config.data.augment[key]) for key in ("mean", "std") if config.data.augment.get(key)}
            self.identity["normalisation"] = ", ".join(f"{key} {values}" for key, values in numbers.items())
        self.normalize, self.device = own.to(fabric.device), fabric.device

    def __call__(self, paths: Sequence[Path], skip_unreadable: bool = False) -> Iterator[tuple[list[Path], Tensor]]:
        """Batch by batch, the images that could be read and their features, (B, D) float32 on the CPU.

        Raises:
            DataError: an image does not decode, unless such are skipped, which is told.
            ConfigError: a feature is not finite.
        """
        with ThreadPoolExecutor(threads()) as pool:
            waiting: deque[list[tuple[Path, Future[NDArray[np.uint8]]]]] = deque()
            try:
                for start in range(0, len(paths), self.batch):
                    chunk = paths[start : start + self.batch]
                    waiting.append([(path, pool.submit(decoding.load, path, self.size)) for path in chunk])
                    if len(waiting) > _AHEAD:
                        yield self._features(waiting.popleft(), skip_unreadable)
                while waiting:
                    yield self._features(waiting.popleft(), skip_unreadable)
            finally:
                pool.shutdown(cancel_futures=True)

    def _features(
        self, batch: list[tuple[Path, "Future[NDArray[np.uint8]]"]], skip_unreadable: bool
    ) -> tuple[list[Path], Tensor]:
        read, decoded = [], []
        for path, future in batch:
            try:
                decoded.append(future.result())
                read.append(path)
            except DataError as error:
                if not skip_unreadable:
                    raise
                log.warning("left out: %s", error)
        if not read:
            return [], torch.empty(0, self.channels)
        images = torch.from_numpy(np.stack(decoded)).to(self.device).permute(0, 3, 1, 2)  # (B, 3, H, W)
        with torch.inference_mode():
            images = self.normalize(images.contiguous())
            before, after = self.network(images)
            feature = (before if self.feature == "before_bn" else after).float().cpu()
        if bad := [path for path, row in zip(read, feature, strict=True) if not bool(row.isfinite().all())]:
            raise ConfigError(
                f"the features of {len(bad)} of {len(read)} images are not finite, the first is {bad[0]}: the weights "
                f"are damaged, or too large for trainer.precision={self.identity['precision']}"
            )
        return read, feature


def find(folder: Path) -> list[str]:
    """The images in a folder and in those below it, by their paths relative to it, sorted; what else there is, is told.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    images, others = listing(folder)
    if not images:
        raise DataError(
            f"no images ({', '.join(SUFFIXES)}) in {folder.absolute()}"
            + ("" if folder.is_dir() else ": there is no such folder")
        )
    for line in left_out(folder, others):
        log.warning("%s", line)
    return images


def expect_outside(out: Path, folder: Path) -> None:
    """Stop where a result would lie among the images that it is of, and be one of them the next time."""
    if out.absolute().resolve().is_relative_to(folder.absolute().resolve()):
        raise DataError(
            f"{out} lies in {folder}: it would be taken for an image there the next time; write it elsewhere"
        )


def digest(module: nn.Module) -> str:
    """A name for the weights, from their names and values."""
    state = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return state.hexdigest()[:20]
