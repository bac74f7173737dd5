"""Synthetic shapes in the layouts of one's own classes and masks: three forms at any place, of any size."""

from pathlib import Path

import numpy as np
from PIL import Image

from rga.data import marker
from rga.data.demo.shapes import SHAPES, scene
from rga.data.folders import image_folder
from rga.data.progress import watched
from rga.data.scenes import mask_folder

_VERSION = 1  # raise it when the drawings change
_CLASSES = {"disc": (-60, 60), "square": (60, 180), "triangle": (180, 300)}  # and their hues: a hint, for short runs
_QUALITY = 92  # of the JPEG files


def write_image_folder(root: str | Path, *, train: int = 300, val: int = 150, seed: int = 0) -> Path:
    """Write a small synthetic set of three classes in folders, unless it is there; the images are of many sizes.

    Args:
        root: the folder that will hold `train` and `val`.
        train: images to train on, of all classes together.
        val: images to test on.
        seed: of the whole set.

    Raises:
        DataError: something else than demo data lies at `root`.
    """
    options = {"version": _VERSION, "set": image_folder.NAME, "train": train, "val": val, "seed": seed}
    if min(train, val) < len(_CLASSES):
        raise ValueError(f"train and val are at least {len(_CLASSES)}, an image of each class: {options}")

    def draw(folder: Path) -> dict[str, tuple[int, int]]:
        parts = zip(image_folder.PARTS, (train, val), strict=True)
        for number, (part, count) in enumerate(parts):
            for index in watched(range(count), "drawing", count):
                random = np.random.default_rng([seed, number, index])
                name, size = [*_CLASSES][index % len(_CLASSES)], random.integers(72, 129, 2).tolist()
                thing = SHAPES[name], random.uniform(0.25, 0.4), _CLASSES[name]
                pixels, _ = scene((size[0], size[1]), [thing], random)
                (folder / part / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / part / name / f"{index:05d}.jpg", quality=_QUALITY)
        return {part: (count, len(_CLASSES)) for part, count in zip(image_folder.PARTS, (train, val), strict=True)}

    return marker.write(root, options, draw)


def write_mask_folder(root: str | Path, *, train: int = 24, val: int = 8, size: int = 128, seed: int = 0) -> Path:
    """Write a small synthetic set of images and masks, unless it is there: some of the three forms on a ground.

    A mask has 0 for the ground, 1, 2 and 3 for the forms and 255, which is ignored, along their edges.

    Args:
        root: the folder that will hold `images`, `masks` and `classes.yaml`.
        train: images to train on.
        val: images to test on.
        size: their height and width.
        seed: of the whole set.

    Raises:
        DataError: something else than demo data lies at `root`.
    """
    options = {"version": _VERSION, "set": mask_folder.NAME, "train": train, "val": val, "size": size, "seed": seed}
    if min(train, val) < 1 or size < 32:
        raise ValueError(f"train and val are at least 1, size is at least 32: {options}")

    def draw(folder: Path) -> dict[str, tuple[int, int]]:
        names = ["ground", *_CLASSES]
        lines = [f"  - {{name: {name}, id: {number}}}" for number, name in enumerate(names)]
        (folder / mask_folder.CLASSES).write_text("\n".join(["classes:", *lines, "ignored: [255]  # edges", ""]))
        counts = {}
        for number, (part, count) in enumerate((("train", train), ("val", val))):
            seen: set[int] = set()
            images, masks = (folder / kind / part for kind in (mask_folder.IMAGES, mask_folder.MASKS))
            images.mkdir(parents=True)
            masks.mkdir(parents=True)
            for index in watched(range(count), "drawing", count):
                random = np.random.default_rng([seed, number, index])
                labels = random.integers(1, len(names), random.integers(2, 6)).tolist()
                things = [(SHAPES[names[n]], random.uniform(0.12, 0.25), _CLASSES[names[n]]) for n in labels]
                pixels, outsides = scene((size, size), things, random)
                mask = np.zeros((size, size), np.uint8)
                for label, outside in zip(labels, outsides, strict=True):
                    mask[outside < 0] = label
                    mask[abs(outside) < 1] = 255
                Image.fromarray(pixels).save(images / f"{index:05d}.jpg", quality=_QUALITY)
                Image.fromarray(mask).save(masks / f"{index:05d}.png")
                seen |= set(np.unique(mask).tolist())
            counts[part] = (count, len(seen - {255}))
        return counts

    return marker.write(root, options, draw)
