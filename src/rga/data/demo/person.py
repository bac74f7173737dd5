"""Figures of people for the demo data: who somebody is, and how that looks in one pose.

A `Person` is what stays in every image; pose and direction are `Figure`'s and change from image to image.
"""

import colorsys
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Random = np.random.Generator

# Hue in degrees, saturation, value.
_CLOTHES = (
    (0, 0.75, 0.8), (25, 0.8, 0.9), (50, 0.75, 0.9), (120, 0.55, 0.55), (170, 0.6, 0.65), (210, 0.7, 0.75),
    (235, 0.6, 0.4), (280, 0.5, 0.6), (330, 0.5, 0.9), (0, 0.0, 0.92), (0, 0.0, 0.55), (0, 0.0, 0.13),
)  # fmt: skip
_SKIN = ((250, 214, 185), (224, 177, 140), (180, 128, 92), (120, 80, 56))
_HAIR = ((28, 22, 20), (78, 50, 30), (165, 120, 60), (150, 150, 150), (120, 40, 25))
_PATTERNS = ("plain", "plain", "bands", "stripes", "checks", "dots", "yoke", "badge")


@dataclass(frozen=True)
class Person:
    """What one sees of a person in every camera."""

    skin: Colour
    hair: Colour
    hairdo: str  # short, long, bun, hat
    top: Colour
    trim: Colour  # the second colour of the pattern
    pattern: str
    sleeves: bool  # long
    bottom: Colour
    legs: str  # trousers, shorts, skirt
    shoes: Colour
    bag: str  # none, backpack, shoulder, hand
    leather: Colour
    build: float  # width, 1 = average
    height: float  # of the figure, relative to the image


def person(random: Random) -> Person:
    """A person sampled at random."""
    return Person(
        skin=pick(random, _SKIN),
        hair=pick(random, _HAIR),
        hairdo=pick(random, ("short", "short", "long", "bun", "hat")),
        top=cloth(random),
        trim=cloth(random),
        pattern=pick(random, _PATTERNS),
        sleeves=bool(random.random() < 0.5),
        bottom=cloth(random),
        legs=pick(random, ("trousers", "trousers", "shorts", "skirt")),
        shoes=cloth(random),
        bag=pick(random, ("none", "none", "backpack", "shoulder", "hand")),
        leather=cloth(random),
        build=random.uniform(0.8, 1.3),
        height=random.uniform(0.78, 0.9),
    )


class Figure:
    """A standing or walking figure; coordinates in units of its height, x from its axis, y from the top of its head."""

    def __init__(self, canvas: Image.Image, who: Person, random: Random, centre: float) -> None:
        self.canvas, self.who, self.random = canvas, who, random
        self.pen = ImageDraw.Draw(canvas)
        self.unit = canvas.height * who.height * random.uniform(0.9, 1.08)
        self.x = canvas.width * centre
        self.y = canvas.height * random.uniform(0.02, 0.1)
        self.view = pick(random, ("front", "front", "back", "back", "side"))
        self.side = sign(random)  # where the bag hangs, and where a figure seen from its side looks
        self.breadth = who.build * (0.72 if self.view == "side" else 1.0)
        self.stride = random.uniform(0.02, 0.11 if self.view == "side" else 0.05) * sign(random)

    def draw(self) -> None:
        who = self.who
        if who.bag == "backpack" and self.view != "back":
            shift = -self.side * 0.1 if self.view == "side" else 0.0
            self._box(shift, 0.3, 0.1 * self.breadth + 0.035, 0.13, who.leather)
        if who.hairdo == "long":
            self._oval(0, 0.11, 0.062, 0.11, who.hair)
        self._leg(self.stride)
        self._leg(-self.stride)
        if who.legs == "skirt":
            hip = 0.095 * self.breadth
            self._polygon([(-hip, 0.46), (hip, 0.46), (hip + 0.05, 0.68), (-hip - 0.05, 0.68)], who.bottom)
        swing = self.stride * 1.3
        if self.view == "side":
            self._arm(0, -swing)
        self._torso()
        for x in (0.0,) if self.view == "side" else (-0.115 * self.breadth, 0.115 * self.breadth):
            self._arm(x, swing if x >= 0 else -swing)
        self._head()
        self._bag()

    def _torso(self) -> None:
        shoulder, hip = 0.125 * self.breadth, 0.095 * self.breadth
        mask = Image.new("L", self.canvas.size)
        corners = [(-shoulder, 0.16), (-0.04, 0.135), (0.04, 0.135), (shoulder, 0.16), (hip, 0.5), (-hip, 0.5)]
        ImageDraw.Draw(mask).polygon([self._at(*corner) for corner in corners], fill=255)
        self.canvas.paste(self.cloth(), mask=mask)

    def cloth(self) -> Image.Image:
        """The top's cloth over the whole canvas; its pattern hangs on the figure."""
        who = self.who
        cloth = Image.new("RGB", self.canvas.size, who.top)
        pen = ImageDraw.Draw(cloth)
        if who.pattern in ("bands", "checks"):
            for y in np.arange(0.17, 0.5, 0.09):
                pen.rectangle((0, self._at(0, y)[1], cloth.width, self._at(0, y + 0.04)[1]), fill=who.trim)
        if who.pattern in ("stripes", "checks"):
            for x in np.arange(-0.2, 0.2, 0.07):
                pen.rectangle((self._at(x, 0)[0], 0, self._at(x + 0.025, 0)[0], cloth.height), fill=who.trim)
        if who.pattern == "dots":
            for row, y in enumerate(np.arange(0.18, 0.5, 0.06)):
                for x in np.arange(-0.2, 0.2, 0.08) + 0.04 * (row % 2):
                    pen.ellipse((*self._at(x - 0.018, y - 0.018), *self._at(x + 0.018, y + 0.018)), fill=who.trim)
        if who.pattern == "yoke":
            pen.rectangle((0, 0, cloth.width, self._at(0, 0.28)[1]), fill=who.trim)
        if who.pattern == "badge" and self.view != "back":
            pen.ellipse((*self._at(-0.05, 0.22), *self._at(0.05, 0.34)), fill=who.trim)
        return cloth

    def _leg(self, step: float) -> None:
        who = self.who
        hip = 0.045 * self.breadth * (0.3 if self.view == "side" else 1.0) * (1 if step > 0 else -1)
        knee, foot = (hip + step * 0.8, 0.73), (hip + step * 1.6, 0.96)
        thick = 0.075 * self.who.build
        if who.legs == "trousers":
            self._line([(hip, 0.47), knee, foot], thick, who.bottom)
        else:
            self._line([(hip, 0.47), knee, foot], thick * 0.7, who.skin)
            if who.legs == "shorts":
                self._line([(hip, 0.47), (knee[0], 0.68)], thick * 1.1, who.bottom)
        toe = self.side * 0.03 if self.view == "side" else 0.0
        self._oval(foot[0] + toe, 0.975, 0.05, 0.022, who.shoes)

    def _arm(self, x: float, swing: float) -> None:
        who = self.who
        out = 0.03 * np.sign(x)
        elbow, hand = (x + out + swing * 0.5, 0.33), (x + out + swing * 1.4, 0.47)
        thick = 0.055 * who.build
        self._line([(x, 0.18), elbow, hand], thick * 0.8, who.skin)
        self._line([(x, 0.18), elbow, hand] if who.sleeves else [(x, 0.18), (elbow[0], 0.27)], thick, self._sleeve())
        self._oval(*hand, 0.022, 0.022, who.skin)

    def _sleeve(self) -> Colour:
        return self.who.trim if self.who.pattern == "yoke" else self.who.top

    def _head(self) -> None:
        who = self.who
        self._line([(0, 0.1), (0, 0.15)], 0.05, who.skin)
        self._oval(0, 0.07, 0.05, 0.066, who.skin)
        if self.view == "back" and who.hairdo != "hat":
            self._oval(0, 0.065, 0.053, 0.066, who.hair)
        else:
            box = (*self._at(-0.055, -0.005), *self._at(0.055, 0.115))
            start, end = {"front": (180, 360), "back": (180, 360), "side": (150, 320) if self.side > 0 else (220, 390)}[
                self.view
            ]
            self.pen.pieslice(box, start, end, fill=who.hair)
        if who.hairdo == "bun":
            self._oval(-self.side * 0.03 if self.view == "side" else 0, -0.008, 0.028, 0.024, who.hair)
        if who.hairdo == "hat":
            self._box(0, 0.022, 0.055, 0.024, who.leather)
            self._box(self.side * 0.02, 0.048, 0.075, 0.007, who.leather)

    def _bag(self) -> None:
        who, breadth = self.who, self.breadth
        if who.bag == "backpack":
            if self.view == "back":
                self._box(0, 0.3, 0.085 * breadth, 0.12, who.leather)
            elif self.view == "front":
                for x in (-0.075 * breadth, 0.075 * breadth):
                    self._line([(x, 0.15), (x, 0.36)], 0.022, who.leather)
        elif who.bag == "shoulder":
            self._line([(-self.side * 0.09 * breadth, 0.16), (self.side * 0.12 * breadth, 0.46)], 0.02, who.leather)
            self._box(self.side * 0.13 * breadth, 0.5, 0.055, 0.05, who.leather)
        elif who.bag == "hand":
            x = self.side * (0.16 * breadth)
            self._line([(x, 0.47), (x, 0.55)], 0.015, who.leather)
            self._box(x, 0.6, 0.05, 0.06, who.leather)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return self.x + x * self.unit, self.y + y * self.unit

    def _oval(self, x: float, y: float, a: float, b: float, colour: Colour) -> None:
        self.pen.ellipse((*self._at(x - a, y - b), *self._at(x + a, y + b)), fill=colour)

    def _box(self, x: float, y: float, a: float, b: float, colour: Colour) -> None:
        self.pen.rounded_rectangle(
            (*self._at(x - a, y - b), *self._at(x + a, y + b)), radius=min(a, b) * self.unit / 2, fill=colour
        )

    def _polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        self.pen.polygon([self._at(*point) for point in points], fill=colour)

    def _line(self, points: list[tuple[float, float]], thick: float, colour: Colour) -> None:
        self.pen.line(
            [self._at(*point) for point in points], fill=colour, width=max(1, round(thick * self.unit)), joint="curve"
        )


def pick(random: Random, values: tuple[Any, ...]) -> Any:
    """One of the values."""
    return values[int(random.integers(len(values)))]


def sign(random: Random) -> int:
    """1 or -1."""
    return 1 if random.random() < 0.5 else -1


def cloth(random: Random) -> Colour:
    """A colour of the palette, a little varied."""
    hue, saturation, value = pick(random, _CLOTHES)
    return hsv(hue + random.uniform(-8, 8), saturation * random.uniform(0.8, 1.1), value * random.uniform(0.85, 1.08))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Hue in degrees, saturation and value in 0..1, to RGB in 0..255."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 360 / 360, min(saturation, 1.0), min(value, 1.0))
    return round(255 * red), round(255 * green), round(255 * blue)
