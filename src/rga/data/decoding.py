"""One picture from disk, decoded."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rga.errors import DataError


def load(path: Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Decode a picture to RGB, (H, W, 3), resized to `size` = (H, W) where it has another.

    Pillow's bilinear filter, as in the authors' code: it averages over what it shrinks.

    Raises:
        DataError: the file is missing, damaged, cut off or no picture.
    """
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
            if size is not None and image.size != (size[1], size[0]):
                image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # all that Pillow's readers raise
        raise DataError(f"cannot read the picture {path}: {error}") from error


def shape(path: Path) -> tuple[int, int]:
    """(H, W) of a picture, from the head of its file."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read the picture {path}: {error}") from error
