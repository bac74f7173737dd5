"""Training batches of `ImageData` against torchvision's transforms behind a DataLoader, on CIFAR-shaped random data."""

from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import VisionDataset

from rga.bench.options import about
from rga.bench.timing import interleaved, medians
from rga.data.base import ImageSplit, LabelledImages
from rga.data.cifar.binary import CIFAR10, SHAPE
from rga.data.cifar.image_data import ImageData, TrainBatches, channel_statistics
from rga.data.marker import write


def main(
    *, images: int = 50000, batch: int = 128, device: str = "cpu", workers: int = 2, rounds: int = 5
) -> dict[str, Any]:
    """Time an epoch of CIFAR-10's training batches, interleaved in one run; prints a table.

    Ours: a random crop from 4 pixels of margin, mirror image and normalisation of a whole batch, on the device.
    torchvision's: RandomCrop(32, padding=4), RandomHorizontalFlip, ToTensor and Normalize of each image, as its
    CIFAR10 hands them out, in a DataLoader that shuffles, its batches moved to the device. The start of an epoch (of
    the workers; of our draw) is part of it.

    Args:
        images: images of the random set, which is written to a temporary folder in CIFAR-10's layout.
        batch: images in a batch.
        device: cpu, cuda, cuda:1, ...
        workers: processes of the DataLoader.
        rounds: how often everything is timed; the times are medians.

    Returns:
        The numbers of the table: images per second, and the ratio of the two.
    """
    with TemporaryDirectory() as folder:
        data = ImageData(CIFAR10.read, _random_set(Path(folder) / "set", images), SHAPE[1:], batch)
        data.prepare_data()
        data.setup("fit")
        ours = data.train_dataloader()
        ours.images.to(device)
        split = CIFAR10.read(Path(folder) / "set")
    mean, std = channel_statistics(split.train.images)
    theirs: DataLoader[Any] = DataLoader(
        ImageFiles(
            split.train,
            transforms.Compose(
                [
                    transforms.RandomCrop(32, padding=4),
                    transforms.RandomHorizontalFlip(),
                    transforms.ToTensor(),
                    transforms.Normalize(mean, std),
                ]
            ),
        ),
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        pin_memory=torch.device(device).type == "cuda",
    )
    calls = {"ours": _epoch(ours, device), "torchvision": _epoch(theirs, device)}
    seconds = medians(interleaved(calls, rounds))
    report = {
        **about(device),
        "images": images,
        "batch": batch,
        "workers": workers,
        "rounds": rounds,
        "images_per_second": {name: images / median for name, median in seconds.items()},
        "milliseconds_per_batch": {name: 1e3 * median / len(ours) for name, median in seconds.items()},
        "speedup": seconds["torchvision"] / seconds["ours"],
    }
    _print(report)
    return report


class ImageFiles(VisionDataset):
    """What torchvision's CIFAR10 does with an image: (H, W, 3) bytes -> Pillow -> the transform."""

    def __init__(self, part: LabelledImages, transform: Callable[[Image.Image], Tensor]) -> None:
        super().__init__(transform=transform)
        self.data: NDArray[np.uint8] = np.ascontiguousarray(part.images.transpose(0, 2, 3, 1))
        self.targets = part.labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def _random_set(root: Path, images: int) -> Path:
    """CIFAR-10's layout, marked as a demo set because it may have any size."""
    random = np.random.default_rng(0)

    def draw(folder: Path) -> dict[str, tuple[int, ...]]:
        parts = [
            LabelledImages(random.integers(0, 256, (count, *SHAPE), np.uint8), random.integers(0, 10, count))
            for count in (images, 1)
        ]
        CIFAR10.write(folder, ImageSplit(parts[0], parts[1], [str(label) for label in range(10)]))
        return {}

    return write(root, {"images": images}, draw)


def _epoch(loader: Iterable[Any], device: str) -> Callable[[], None]:
    """Go through a loader once, with every batch on the device at the end."""
    where = torch.device(device)

    def epoch() -> None:
        for batch in loader:
            for tensor in batch.values() if isinstance(loader, TrainBatches) else batch:
                tensor.to(where, non_blocking=True)

    return epoch


def _print(report: dict[str, Any]) -> None:
    title = "Training batches of {batch} from {images:,} images of 32 x 32: {device}, {threads} threads".format(
        **report
    )
    table = Table("", "images per s", "ms per batch", "x torchvision", title=title)
    labels = {"ours": "rga.data.ImageData", "torchvision": f"torchvision, {report['workers']} workers"}
    for name, rate in report["images_per_second"].items():
        ratio = report["speedup"] if name == "ours" else 1.0
        table.add_row(labels[name], f"{rate:,.0f}", f"{report['milliseconds_per_batch'][name]:.2f}", f"{ratio:.1f}")
    Console().print(table)
