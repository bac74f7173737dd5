"""Synthetic pedestrians, 128 x 64: images to try the whole pipeline on where no real data set is at hand.

A `Person` is what stays (clothes, build, hair, bag), a `Camera` what a place does to an image (colour cast,
background, light, sharpness); pose, direction, occlusion, position and light change from image to image. Colours
come from a short palette and the casts are strong, so that a mean colour does not tell two people apart.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from rga.data.demo.person import Colour, Figure, Person, Random, cloth, hsv, person, pick, sign

HEIGHT, WIDTH = 128, 64
_SCALE = 2  # made twice as large and shrunk: smooth edges


@dataclass(frozen=True)
class Camera:
    """What a place does to its images."""

    cast: tuple[float, float, float]
    gamma: float
    wall: Colour
    floor: Colour
    horizon: float
    scenery: str  # bricks, tiles, trees, windows
    sharpness: float  # 1 = full resolution
    noise: float


def camera(random: Random) -> Camera:
    """A camera sampled at random."""
    red, green, blue = random.uniform(0.72, 1.25, 3).tolist()
    return Camera(
        cast=(red, green, blue),
        gamma=random.uniform(0.75, 1.35),
        wall=hsv(random.uniform(0, 360), random.uniform(0.05, 0.4), random.uniform(0.45, 0.85)),
        floor=hsv(random.uniform(0, 360), random.uniform(0.0, 0.3), random.uniform(0.35, 0.75)),
        horizon=random.uniform(0.35, 0.7),
        scenery=pick(random, ("bricks", "tiles", "trees", "windows")),
        sharpness=random.uniform(0.55, 1.0),
        noise=random.uniform(2, 7),
    )


def image(who: Person | None, where: Camera, random: Random) -> Image.Image:
    """One image of a person (or of none: what a detector takes for one) in front of a camera, 128 x 64 RGB."""
    canvas = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE))
    _background(canvas, where, random)
    if random.random() < 0.2:  # somebody else passes behind
        Figure(canvas, person(random), random, centre=0.5 + sign(random) * random.uniform(0.4, 0.55)).draw()
    if who is not None:
        Figure(canvas, who, random, centre=random.uniform(0.4, 0.6)).draw()
    if random.random() < 0.3:
        _occlude(canvas, random)
    return _photograph(canvas, where, random)


def _background(canvas: Image.Image, where: Camera, random: Random) -> None:
    pen = ImageDraw.Draw(canvas)
    width, height = canvas.size
    horizon = height * (where.horizon + random.uniform(-0.08, 0.08))
    shift = random.uniform(0, 60)
    dark = tuple(int(value * 0.8) for value in where.wall)
    pen.rectangle((0, 0, width, horizon), fill=where.wall)
    pen.rectangle((0, horizon, width, height), fill=where.floor)
    if where.scenery == "bricks":
        for row in range(int(horizon // 14) + 1):
            pen.line((0, row * 14, width, row * 14), fill=dark, width=2)
            for x in np.arange(-shift + 14 * (row % 2), width, 28):
                pen.line((x, row * 14, x, row * 14 + 14), fill=dark, width=2)
    elif where.scenery == "tiles":
        for x in np.arange(-shift, width, 30):
            pen.line((x, horizon, width / 2 + 2 * (x - width / 2), height), fill=dark, width=2)
        for y in np.arange(horizon, height, 22):
            pen.line((0, y, width, y), fill=dark, width=2)
    elif where.scenery == "trees":
        for _ in range(9):
            x, y, r = random.uniform(0, width), random.uniform(0, horizon), random.uniform(12, 34)
            pen.ellipse((x - r, y - r, x + r, y + r), fill=hsv(random.uniform(80, 140), 0.5, random.uniform(0.2, 0.55)))
    else:
        for x in np.arange(-shift, width, 60):
            pen.rectangle((x, horizon * 0.15, x + 42, horizon * 0.75), fill=hsv(205, 0.3, random.uniform(0.3, 0.95)))
    for _ in range(int(random.integers(0, 4))):  # things that stand about
        x, y, a, b = (
            random.uniform(0, width),
            random.uniform(0.3, 0.95) * height,
            random.uniform(6, 24),
            random.uniform(8, 50),
        )
        pen.rectangle((x - a, y - b, x + a, y + b), fill=cloth(random))


def _occlude(canvas: Image.Image, random: Random) -> None:
    pen = ImageDraw.Draw(canvas)
    width, height = canvas.size
    kind = random.integers(3)
    if kind == 0:  # a low wall or a car
        pen.rectangle((0, height * random.uniform(0.62, 0.85), width, height), fill=cloth(random))
    elif kind == 1:  # a pole
        x = width * random.uniform(0.1, 0.9)
        pen.rectangle((x, 0, x + random.uniform(8, 22), height), fill=hsv(30, 0.1, random.uniform(0.2, 0.7)))
    else:  # a passer-by in front
        Figure(canvas, person(random), random, centre=0.5 + sign(random) * random.uniform(0.32, 0.5)).draw()


def _photograph(canvas: Image.Image, where: Camera, random: Random) -> Image.Image:
    """Lens, light and sensor: shrink, blur, cast, gamma, a gradient of light, noise."""
    small = (max(1, round(WIDTH * where.sharpness)), max(1, round(HEIGHT * where.sharpness)))
    image = canvas.resize(small, Image.Resampling.BOX).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    if random.random() < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.4, 1.1)))
    pixels = np.asarray(image, np.float64) / 255
    pixels = pixels**where.gamma * np.asarray(where.cast) * random.uniform(0.72, 1.2)
    pixels = pixels * np.linspace(random.uniform(0.8, 1.1), random.uniform(0.8, 1.1), WIDTH)[None, :, None]
    pixels = 255 * pixels + random.normal(0, where.noise, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))
