"""The classes of an image's pixels as colours over the image."""

import numpy as np
from numpy.typing import NDArray


def overlay(
    image: NDArray[np.uint8], classes: NDArray[np.integer], colours: NDArray[np.uint8], strength: float
) -> NDArray[np.uint8]:
    """Mix an image (H, W, 3) with the colours (K, 3) of its pixels' classes (H, W); `strength` 1 shows only those."""
    painted = colours[classes].astype(np.float32)
    return (image * (1 - strength) + painted * strength).round().astype(np.uint8)
