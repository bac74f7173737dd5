"""Synthetic images of 32 x 32 in 10 or 100 classes, for trying a classifier where no real data set is at hand.

Of 10 classes each is a shape in a colour of its own, on any background. Of 100 each is a pattern in a colour, and every
pattern comes in every colour: a hundred classes have to be told apart after as many steps, so a pattern fills the image
and a network sees it with its first layers. Place, size, hue, light, background and noise change from image to image.
"""

from collections.abc import Callable, Sequence

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
Pixels = NDArray[np.uint8]
Random = np.random.Generator
Range = tuple[float, float]
Form = Callable[[Array, Array], Array]

_ACROSS = np.arange(SIDE)[None, None, :] + 0.5
_DOWN = np.arange(SIDE)[None, :, None] + 0.5

# How far outside a point lies, in multiples of the radius: below 0 is inside. x to the right, y down, from the centre.
SHAPES: dict[str, Form] = {
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


# The same in pixels from anywhere, for forms that fill the image.
PATTERNS: dict[str, Form] = {
    "plain": lambda x, y: np.full(x.shape, -1.0),
    "fine_stripes": lambda x, y: 2 * np.cos(np.pi * y / 2),
    "coarse_stripes": lambda x, y: 2 * np.cos(np.pi * y / 5),
    "fine_bars": lambda x, y: 2 * np.cos(np.pi * x / 2),
    "coarse_bars": lambda x, y: 2 * np.cos(np.pi * x / 5),
    "fine_checks": lambda x, y: 2 * np.cos(np.pi * x / 2.5) * np.cos(np.pi * y / 2.5),
    "coarse_checks": lambda x, y: 2 * np.cos(np.pi * x / 6) * np.cos(np.pi * y / 6),
    "dots": lambda x, y: 1.8 - 2 * np.cos(np.pi * x / 4) - 2 * np.cos(np.pi * y / 4),
    "holes": lambda x, y: -1.8 - 2 * np.cos(np.pi * x / 4) - 2 * np.cos(np.pi * y / 4),
    "lattice": lambda x, y: 1 + 2 * np.minimum(np.cos(np.pi * x / 4), np.cos(np.pi * y / 4)),
}


def names(classes: int) -> list[str]:
    """The names of 10 or 100 classes, in the order of their labels."""
    if _expect(classes) == 10:
        return [f"{colour}_{shape}" for colour, shape in zip(COLOURS, SHAPES, strict=True)]
    return [f"{colour}_{pattern}" for pattern in PATTERNS for colour in COLOURS]


def draw(count: int, classes: int, key: tuple[int, ...]) -> LabelledImages:
    """Draw `count` images, of each class as many, in random order: the same arguments give the same images.

    Args:
        count: images.
        classes: 10 or 100.
        key: of the random generator, such as (seed, split).
    """
    images = np.empty((count, 3, SIDE, SIDE), np.uint8)
    labels = np.random.default_rng([*key, _expect(classes)]).permutation(np.arange(count) % classes)
    for label in range(classes):
        of_class = np.flatnonzero(labels == label)
        random = np.random.default_rng([*key, label])
        if classes == 10:
            images[of_class] = _shapes(list(SHAPES.values())[label], label, len(of_class), random)
        else:
            pattern, colour = divmod(label, len(COLOURS))
            images[of_class] = _patterns(list(PATTERNS.values())[pattern], colour, len(of_class), random)
    return LabelledImages(images, labels)


def scene(
    size: tuple[int, int], things: Sequence[tuple[Form, float, Range]], random: Random
) -> tuple[Pixels, list[Array]]:
    """Draw an image with forms in it, the later ones in front.

    Args:
        size: (H, W).
        things: forms, their radii as shares of the shorter side, and between which degrees their hues are.
        random: what is not given.

    Returns:
        The image, (H, W, 3); and how far outside each form every pixel lies, in pixels, (H, W), below 0 inside.
    """
    height, width = size
    across, down = np.arange(width)[None, None, :] + 0.5, np.arange(height)[None, :, None] + 0.5
    ground = [_colours(random, 1, (0, 360), (0, 0.4), (0.2, 0.6)) for _ in range(2)]
    canvas = _blend(np.full((1, height, width), np.inf), ground[0], ground)
    outsides = []
    for form, share, hue in things:
        radius = share * min(size)
        x, y = (random.uniform(1.1 * radius, side - 1.1 * radius) for side in (width, height))
        outside = radius * form(*np.broadcast_arrays((across - x) / radius, (down - y) / radius))
        cover = np.clip(0.5 - outside, 0, 1)[:, None]
        canvas = cover * _colours(random, 1, hue, (0.5, 1), (0.7, 1)) + (1 - cover) * canvas
        outsides.append(outside[0])
    return _photograph(canvas, 6, random)[0].transpose(1, 2, 0), outsides


def _expect(classes: int) -> int:
    if classes not in (10, 100):
        raise ValueError(f"there are images of 10 and of 100 classes, not of {classes}")
    return classes


def _shapes(shape: Form, colour: int, count: int, random: Random) -> Pixels:
    """`count` images of one class, (count, 3, SIDE, SIDE)."""
    radius, left, down = (_each(random, count, low, high) for low, high in ((7, 11), (-4, 4), (-4, 4)))
    outside = shape(*np.broadcast_arrays((_ACROSS - SIDE / 2 - left) / radius, (_DOWN - SIDE / 2 - down) / radius))
    figure = _colours(random, count, (36 * colour - 9, 36 * colour + 9), (0.55, 1), (0.6, 1))
    ground = [_colours(random, count, (0, 360), (0, 0.5), (0.1, 0.7)) for _ in range(2)]
    return _image(outside * radius, figure, ground, 8, random)


def _patterns(pattern: Form, colour: int, count: int, random: Random) -> Pixels:
    """The same, on dark ground."""
    zoom, left, down = (_each(random, count, low, high) for low, high in ((0.9, 1.1), (0, SIDE), (0, SIDE)))
    outside = pattern(*np.broadcast_arrays(zoom * (_ACROSS - left), zoom * (_DOWN - down)))
    figure = _colours(random, count, (36 * colour - 3, 36 * colour + 3), (0.85, 1), (0.85, 1))
    ground = [_colours(random, count, (0, 360), (0, 0.1), (0, 0.2)) for _ in range(2)]
    return _image(outside, figure, ground, 3, random)


def _image(outside: Array, figure: Array, ground: list[Array], noise: float, random: Random) -> Pixels:
    """A figure on a ground of two colours, which blend downwards; an edge of the figure is one pixel wide."""
    return _photograph(_blend(outside, figure, ground), noise, random)


def _blend(outside: Array, figure: Array, ground: list[Array]) -> Array:
    cover = np.clip(0.5 - outside, 0, 1)[:, None]
    slope = np.linspace(0, 1, outside.shape[1])[:, None]
    return np.asarray(cover * figure + (1 - cover) * (slope * ground[0] + (1 - slope) * ground[1]))


def _photograph(canvas: Array, noise: float, random: Random) -> Pixels:
    canvas = 255 * canvas + random.normal(0, noise, canvas.shape)
    return np.asarray(canvas.clip(0, 255).round(), np.uint8)


def _each(random: Random, count: int, low: float, high: float) -> Array:
    """A number for each image, (count, 1, 1)."""
    return random.uniform(low, high, (count, 1, 1))


def _colours(random: Random, count: int, hue: Range, saturation: Range, value: Range) -> Array:
    """A colour for each image, (count, 3, 1, 1)."""
    return _rgb(*(_each(random, count, *limits)[:, None] for limits in (hue, saturation, value)))


def _rgb(hue: Array, saturation: Array, value: Array) -> Array:
    """Colours of (count, 1, 1, 1) hues in degrees, saturations and values, (count, 3, 1, 1)."""
    sector = (np.array([5.0, 3.0, 1.0])[:, None, None] + hue / 60) % 6
    return value * (1 - saturation * np.clip(np.minimum(sector, 4 - sector), 0, 1))
