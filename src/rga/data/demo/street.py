"""Synthetic streets with the label id of every pixel, for trying segmentation where no real data set is at hand.

A road runs to the horizon between pavements, lawns, houses and trees; cars, a bus, people, signs and traffic lights
stand on it at their distances, and the bonnet of the camera's own car is what the labels ignore. Buildings, pavement
and road share their greys, so that a pixel's colour alone does not tell them apart.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from rga.data.demo.person import Colour, Random, cloth, hsv, pick, sign
from rga.data.scenes.cityscapes import CLASSES

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom

_ID = {name: number for number, name, _ in CLASSES} | {"ego vehicle": 1}
_SHEETS = ((230, 200, 30), (30, 70, 190), (210, 30, 40))  # of signs
_LIVERIES = ((200, 40, 40), (230, 190, 60), (240, 240, 235))


def draw(height: int, random: Random) -> tuple[Image.Image, Image.Image]:
    """A street of `height` x 2 `height`: the image, RGB, and the label ids."""
    street = _Street(height, random)
    street.draw()
    return _photograph(street.image, random), street.label


class _Street:
    """An image and its labels, of the same strokes; coordinates in units of the height, y downwards."""

    def __init__(self, height: int, random: Random) -> None:
        self.unit, self.random = height, random
        self.image = Image.new("RGB", (2 * height, height))
        self.label = Image.new("L", self.image.size)
        self.horizon = random.uniform(0.38, 0.5)
        self.vanishing = random.uniform(0.8, 1.2)

    def draw(self) -> None:
        random = self.random
        self._sky()
        self._houses()
        self._ground()
        things: list[tuple[float, Callable[[float], None]]] = [
            *((random.uniform(0.1, 0.5), self._tree) for _ in range(random.integers(1, 5))),
            *((random.uniform(0.3, 0.9), self._post) for _ in range(random.integers(2, 5))),
            *((random.uniform(0.3, 0.9), self._person) for _ in range(random.integers(2, 6))),
            *((random.uniform(0.15, 0.8), self._car) for _ in range(random.integers(2, 5))),
            *((random.uniform(0.15, 0.4), self._bus) for _ in range(random.integers(0, 2))),
        ]
        for near, thing in sorted(things, key=lambda thing: thing[0]):  # what is near hides what is far
            thing(near)
        bonnet = hsv(random.uniform(0, 360), 0.3, 0.25)
        self._oval("ego vehicle", (0.4, random.uniform(0.93, 0.97), 1.6, 1.2), bonnet)

    def _sky(self) -> None:
        hue, blue = self.random.uniform(200, 220), self.random.uniform(0.05, 0.5)
        for y in np.arange(0, self.horizon + 0.05, 0.02):
            self._box("sky", (0, y, 2, y + 0.03), hsv(hue, blue * (1 - y), 0.85 + 0.3 * y))

    def _houses(self) -> None:
        random, x = self.random, -self.random.uniform(0, 0.2)
        while x < 2:
            width = random.uniform(0.2, 0.5)
            distance = abs(x + width / 2 - self.vanishing)  # houses at the sides of the image are nearer
            top = self.horizon - (0.08 + 0.3 * distance) * random.uniform(0.6, 1.2)
            wall = hsv(random.uniform(15, 50), random.uniform(0, 0.4), random.uniform(0.35, 0.75))
            pane = hsv(210, 0.3, random.uniform(0.2, 0.9))
            if random.random() < 0.85:  # or a gap
                self._box("building", (x, top, x + width, self.horizon + 0.06), wall)
                for left in np.arange(x + 0.03, x + width - 0.04, 0.07):
                    for upper in np.arange(top + 0.03, self.horizon, 0.08):
                        self._box("building", (left, upper, left + 0.035, upper + 0.04), pane)
            x += width

    def _ground(self) -> None:
        random = self.random
        grey = random.uniform(0.5, 0.7)
        self._box("sidewalk", (0, self.horizon, 2, 1), hsv(30, 0.08, grey))
        lawn = hsv(random.uniform(80, 110), random.uniform(0.35, 0.6), random.uniform(0.4, 0.7))
        for side in (-1, 1):
            if random.random() < 0.5:
                self._wedge("terrain", side * 1.4, side * 4, lawn)
            if random.random() < 0.4:
                wall = hsv(random.uniform(0, 30), random.uniform(0.1, 0.5), random.uniform(0.3, 0.6))
                end = self.vanishing + side * random.uniform(0.4, 0.6)
                out = 0.0 if side < 0 else 2.0
                low, high = self.horizon + 0.05, self.horizon - 0.04
                self._area("wall", [(end, high), (out, high - 0.08), (out, low + 0.08), (end, low)], wall)
        self._wedge("road", -1, 1, hsv(220, 0.05, grey * random.uniform(0.55, 0.8)))
        for near in np.arange(random.uniform(0.1, 0.2), 1, 0.2):  # the lines in its middle
            ends = (-0.02, near), (0.02, near), (0.02, near + 0.1), (-0.02, near + 0.1)
            self._area("road", [self._at(*end) for end in ends], (225, 225, 220))

    def _tree(self, near: float) -> None:
        x, y, size = self._stand(near, 1.35, 2.2)
        random = self.random
        self._box("vegetation", (x - 0.03 * size, y - 0.5 * size, x + 0.03 * size, y), hsv(30, 0.5, 0.3))
        for _ in range(6):
            a, b, radius = *random.uniform(-0.22, 0.22, 2) * size, random.uniform(0.15, 0.28) * size
            leaf = hsv(random.uniform(75, 130), random.uniform(0.4, 0.7), random.uniform(0.25, 0.5))
            self._disc("vegetation", (x + a, y - 0.7 * size + b), radius, leaf)

    def _post(self, near: float) -> None:
        x, y, size = self._stand(near, 1.1, 1.6)
        top = y - 0.55 * size
        self._box("pole", (x - 0.02 * size, top, x + 0.02 * size, y), hsv(0, 0, self.random.uniform(0.3, 0.7)))
        if self.random.random() < 0.5:
            self._disc("traffic sign", (x, top), 0.11 * size, pick(self.random, _SHEETS))
            self._disc("traffic sign", (x, top), 0.05 * size, (240, 240, 240))
        else:
            self._box("traffic light", (x - 0.07 * size, top - 0.2 * size, x + 0.07 * size, top), (25, 28, 25))
            for place, lamp in ((0.15, (250, 40, 30)), (0.05, (40, 230, 120))):
                self._disc("traffic light", (x, top - place * size), 0.035 * size, lamp)

    def _person(self, near: float) -> None:
        x, y, size = self._stand(near, 1.2, 2.0)
        random = self.random
        top, bottom, skin = cloth(random), cloth(random), hsv(25, 0.4, random.uniform(0.4, 0.95))
        step = 0.05 * size * sign(random)
        for foot in (-step, step):
            hip = [(x - 0.035 * size, y - 0.22 * size), (x + 0.035 * size, y - 0.22 * size)]
            self._area("person", [*hip, (x + foot + 0.03 * size, y), (x + foot - 0.03 * size, y)], bottom)
        self._box("person", (x - 0.06 * size, y - 0.4 * size, x + 0.06 * size, y - 0.18 * size), top)
        self._disc("person", (x, y - 0.45 * size), 0.045 * size, skin)

    def _car(self, near: float) -> None:
        x, y, size = self._stand(near, 0.3, 0.7)
        paint, low, high = cloth(self.random), y - 0.06 * size, y - 0.22 * size
        for wheel in (-0.19, 0.19):
            self._box("car", (x + (wheel - 0.04) * size, low, x + (wheel + 0.04) * size, y), (20, 20, 22))
        self._box("car", (x - 0.25 * size, high, x + 0.25 * size, low + 0.02 * size), paint)
        for grow, colour in ((1.0, paint), (0.8, hsv(210, 0.2, 0.3))):
            roof, sill, edge = high - 0.14 * size * grow, 0.21 * size * grow, 0.15 * size * grow
            self._area("car", [(x - sill, high), (x - edge, roof), (x + edge, roof), (x + sill, high)], colour)
        for lamp in (-0.2, 0.2):
            self._disc("car", (x + lamp * size, high + 0.05 * size), 0.03 * size, (220, 30, 30))

    def _bus(self, near: float) -> None:
        x, y, size = self._stand(near, 0.3, 0.7)
        self._box("bus", (x - 0.33 * size, y - 0.85 * size, x + 0.33 * size, y), pick(self.random, _LIVERIES))
        self._box("bus", (x - 0.28 * size, y - 0.75 * size, x + 0.28 * size, y - 0.4 * size), hsv(210, 0.2, 0.25))

    def _stand(self, near: float, low: float, high: float) -> tuple[float, float, float]:
        """Somewhere from `low` to `high` on either side of the road's middle: x, y, and the size of things there."""
        x, y = self._at(sign(self.random) * self.random.uniform(low, high), near)
        return x, y, 1.3 * (y - self.horizon)

    def _at(self, across: float, near: float) -> Point:
        """A place on the ground: from the left (-1) to the right edge (1) of the road, from far (0) to near (1)."""
        depth = (0.98 - self.horizon) * near
        return self.vanishing + 1.3 * depth * across, self.horizon + depth

    def _wedge(self, name: str, left: float, right: float, colour: Colour) -> None:
        self._area(name, [self._at(left, 0), self._at(left, 1.2), self._at(right, 1.2), self._at(right, 0)], colour)

    def _area(self, name: str, points: list[Point], colour: Colour) -> None:
        for pen, fill in self._pens(name, colour):
            pen.polygon([(x * self.unit, y * self.unit) for x, y in points], fill=fill)

    def _box(self, name: str, box: Box, colour: Colour) -> None:
        for pen, fill in self._pens(name, colour):
            pen.rectangle([value * self.unit for value in box], fill=fill)

    def _oval(self, name: str, box: Box, colour: Colour) -> None:
        for pen, fill in self._pens(name, colour):
            pen.ellipse([value * self.unit for value in box], fill=fill)

    def _pens(self, name: str, colour: Colour) -> list[tuple[ImageDraw.ImageDraw, Colour | int]]:
        """What draws on the image, and what on the label, each with its ink."""
        return [(ImageDraw.Draw(self.image), colour), (ImageDraw.Draw(self.label), _ID[name])]

    def _disc(self, name: str, centre: Point, radius: float, colour: Colour) -> None:
        x, y = centre
        self._oval(name, (x - radius, y - radius, x + radius, y + radius), colour)


def _photograph(image: Image.Image, random: Random) -> Image.Image:
    """Lens, light and sensor: blur, a gradient of light, a cast, noise."""
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(0.6)), np.float64)
    light = np.linspace(random.uniform(0.75, 1.15), random.uniform(0.75, 1.15), image.width)[None, :, None]
    pixels = pixels * light * random.uniform(0.9, 1.1, 3) + random.normal(0, 6, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))
