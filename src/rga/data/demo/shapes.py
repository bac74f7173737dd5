"""Drawn pictures of 32 x 32 in 10 or 100 classes, for trying a classifier where no real data set is at hand.

A class is a shape in a colour: with 10 classes each shape has a colour of its own, with 100 every shape comes in every
colour. Place, size, hue, light, background and noise change from picture to picture.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rga.data.base import LabelledImages

SIDE = 32
COLOURS = (
    "red",
    "orange",
    "lime",
    "green",
    "emerald",
    "cyan",
    "azure",
    "blue",
    "violet",
    "pink",
)  # hues 36 degrees apart

Array = NDArray[np.float64]
Shape = Callable[[Array, Array], Array]

# How far outside a point lies, in multiples of the radius: below 0 is inside. x to the right, y down, from the centre.
SHAPES: dict[str, Shape] = {
    "disc": lambda x, y: np.hypot(x, y) - 1,
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.8) - 0.25,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) - 0.9,
    "frame": lambda x, y: abs(np.maximum(abs(x), abs(y)) - 0.75) - 0.22,
    "diamond": lambda x, y: (abs(x) + abs(y)) - 1.1,
    "triangle": lambda x, y: np.maximum(1.7 * abs(x) - y - 0.9, y - 0.8),
    "cross": lambda x, y: np.maximum(np.minimum(abs(x), abs(y)) - 0.25, np.maximum(abs(x), abs(y)) - 1.1),
    "saltire": lambda x, y: np.maximum(np.minimum(abs(x - y), abs(x + y)) - 0.4, np.maximum(abs(x), abs(y)) - 1),
    "stripes": lambda x, y: np.maximum(np.cos(7 * y) - 0.1, np.maximum(abs(x), abs(y)) - 1.1),
    "bars": lambda x, y: np.maximum(np.cos(7 * x) - 0.1, np.maximum(abs(x), abs(y)) - 1.1),
}


def names(classes: int) -> list[str]:
    """The names of 10 or 100 classes, in the order of their labels."""
    return [f"{COLOURS[colour]}_{list(SHAPES)[shape]}" for shape, colour in map(_parts(classes), range(classes))]


def draw(count: int, classes: int, key: tuple[int, ...]) -> LabelledImages:
    """Draw `count` pictures, of each class as many, in random order: the same arguments give the same pictures.

    Args:
        count: pictures.
        classes: 10 or 100.
        key: of the random generator, such as (seed, part).
    """
    images = np.empty((count, 3, SIDE, SIDE), np.uint8)
    labels = np.random.default_rng([*key, classes]).permutation(np.arange(count) % classes)
    for label in range(classes):
        of_class = np.flatnonzero(labels == label)
        images[of_class] = _pictures(*_parts(classes)(label), len(of_class), np.random.default_rng([*key, label]))
    return LabelledImages(images, labels)


def _parts(classes: int) -> Callable[[int], tuple[int, int]]:
    """From a label to the numbers of its shape and its colour."""
    if classes not in (10, 100):
        raise ValueError(f"there are pictures of 10 and of 100 classes, not of {classes}")
    return (lambda label: (label, label)) if classes == 10 else (lambda label: divmod(label, 10))


def _pictures(shape: int, colour: int, count: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """`count` pictures of one class, (count, 3, SIDE, SIDE)."""

    def each(low: float, high: float, *size: int) -> Array:
        return random.uniform(low, high, (count, *(size or (1, 1))))

    pixels = np.arange(SIDE) + 0.5
    radius = each(7, 11)
    x = (pixels[None, None, :] - SIDE / 2 - each(-4, 4)) / radius  # (count, 1, SIDE)
    y = (pixels[None, :, None] - SIDE / 2 - each(-4, 4)) / radius  # (count, SIDE, 1)
    outside = list(SHAPES.values())[shape](*np.broadcast_arrays(x, y))
    cover = np.clip(0.5 - outside * radius, 0, 1)[:, None]  # an edge one pixel wide

    hue = 36 * colour + each(-9, 9, 1, 1, 1)
    figure = _rgb(hue, each(0.55, 1, 1, 1, 1), each(0.6, 1, 1, 1, 1))
    near, far = (_rgb(each(0, 360, 1, 1, 1), each(0, 0.5, 1, 1, 1), each(0.1, 0.7, 1, 1, 1)) for _ in range(2))
    slope = np.linspace(0, 1, SIDE)[:, None]
    canvas = cover * figure + (1 - cover) * (slope * near + (1 - slope) * far)
    canvas = 255 * canvas + random.normal(0, 8, canvas.shape)
    return np.asarray(canvas.clip(0, 255).round(), np.uint8)


def _rgb(hue: Array, saturation: Array, value: Array) -> Array:
    """Colours of (count, 1, 1, 1) hues in degrees, saturations and values, (count, 3, 1, 1)."""
    sector = (np.array([5.0, 3.0, 1.0])[:, None, None] + hue / 60) % 6
    return value * (1 - saturation * np.clip(np.minimum(sector, 4 - sector), 0, 1))
