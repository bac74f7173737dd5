"""Drawn pedestrians, 128 x 64: pictures to try the whole pipeline on where no real data set is at hand.

A `Person` is what stays (clothes, build, hair, bag), a `Camera` what a place does to a picture (colour cast,
background, light, sharpness); pose, direction, occlusion, position and light change from picture to picture. Colours
come from a short palette and the casts are strong, so that a mean colour does not tell two people apart.
"""

import colorsys
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

HEIGHT, WIDTH = 128, 64
_SCALE = 2  # drawn twice as large and shrunk: smooth edges

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
    height: float  # of the figure, relative to the picture


@dataclass(frozen=True)
class Camera:
    """What a place does to its pictures."""

    cast: tuple[float, float, float]
    gamma: float
    wall: Colour
    floor: Colour
    horizon: float
    scenery: str  # bricks, tiles, trees, windows
    sharpness: float  # 1 = full resolution
    noise: float


def person(random: Random) -> Person:
    """A person drawn at random."""
    return Person(
        skin=_pick(random, _SKIN),
        hair=_pick(random, _HAIR),
        hairdo=_pick(random, ("short", "short", "long", "bun", "hat")),
        top=_cloth(random),
        trim=_cloth(random),
        pattern=_pick(random, _PATTERNS),
        sleeves=bool(random.random() < 0.5),
        bottom=_cloth(random),
        legs=_pick(random, ("trousers", "trousers", "shorts", "skirt")),
        shoes=_cloth(random),
        bag=_pick(random, ("none", "none", "backpack", "shoulder", "hand")),
        leather=_cloth(random),
        build=random.uniform(0.8, 1.3),
        height=random.uniform(0.78, 0.9),
    )


def camera(random: Random) -> Camera:
    """A camera drawn at random."""
    red, green, blue = random.uniform(0.72, 1.25, 3).tolist()
    return Camera(
        cast=(red, green, blue),
        gamma=random.uniform(0.75, 1.35),
        wall=_hsv(random.uniform(0, 360), random.uniform(0.05, 0.4), random.uniform(0.45, 0.85)),
        floor=_hsv(random.uniform(0, 360), random.uniform(0.0, 0.3), random.uniform(0.35, 0.75)),
        horizon=random.uniform(0.35, 0.7),
        scenery=_pick(random, ("bricks", "tiles", "trees", "windows")),
        sharpness=random.uniform(0.55, 1.0),
        noise=random.uniform(2, 7),
    )


def picture(who: Person | None, where: Camera, random: Random) -> Image.Image:
    """One picture of a person (or of none: what a detector takes for one) in front of a camera, 128 x 64 RGB."""
    canvas = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE))
    _background(canvas, where, random)
    if random.random() < 0.2:  # somebody else passes behind
        _Figure(canvas, person(random), random, centre=0.5 + _sign(random) * random.uniform(0.4, 0.55)).draw()
    if who is not None:
        _Figure(canvas, who, random, centre=random.uniform(0.4, 0.6)).draw()
    if random.random() < 0.3:
        _occlude(canvas, random)
    return _photograph(canvas, where, random)


class _Figure:
    """A standing or walking figure; coordinates in units of its height, x from its axis, y from the top of its head."""

    def __init__(self, canvas: Image.Image, who: Person, random: Random, centre: float) -> None:
        self.canvas, self.who, self.random = canvas, who, random
        self.pen = ImageDraw.Draw(canvas)
        self.unit = canvas.height * who.height * random.uniform(0.9, 1.08)
        self.x = canvas.width * centre
        self.y = canvas.height * random.uniform(0.02, 0.1)
        self.view = _pick(random, ("front", "front", "back", "back", "side"))
        self.side = _sign(random)  # where the bag hangs, and where a figure seen from its side looks
        self.breadth = who.build * (0.72 if self.view == "side" else 1.0)
        self.stride = random.uniform(0.02, 0.11 if self.view == "side" else 0.05) * _sign(random)

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
        self.canvas.paste(self._cloth(), mask=mask)

    def _cloth(self) -> Image.Image:
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
            pen.ellipse(
                (x - r, y - r, x + r, y + r), fill=_hsv(random.uniform(80, 140), 0.5, random.uniform(0.2, 0.55))
            )
    else:
        for x in np.arange(-shift, width, 60):
            pen.rectangle((x, horizon * 0.15, x + 42, horizon * 0.75), fill=_hsv(205, 0.3, random.uniform(0.3, 0.95)))
    for _ in range(int(random.integers(0, 4))):  # things that stand about
        x, y, a, b = (
            random.uniform(0, width),
            random.uniform(0.3, 0.95) * height,
            random.uniform(6, 24),
            random.uniform(8, 50),
        )
        pen.rectangle((x - a, y - b, x + a, y + b), fill=_cloth(random))


def _occlude(canvas: Image.Image, random: Random) -> None:
    pen = ImageDraw.Draw(canvas)
    width, height = canvas.size
    kind = random.integers(3)
    if kind == 0:  # a low wall or a car
        pen.rectangle((0, height * random.uniform(0.62, 0.85), width, height), fill=_cloth(random))
    elif kind == 1:  # a pole
        x = width * random.uniform(0.1, 0.9)
        pen.rectangle((x, 0, x + random.uniform(8, 22), height), fill=_hsv(30, 0.1, random.uniform(0.2, 0.7)))
    else:  # a passer-by in front
        _Figure(canvas, person(random), random, centre=0.5 + _sign(random) * random.uniform(0.32, 0.5)).draw()


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


def _pick(random: Random, values: tuple[Any, ...]) -> Any:
    return values[int(random.integers(len(values)))]


def _sign(random: Random) -> int:
    return 1 if random.random() < 0.5 else -1


def _cloth(random: Random) -> Colour:
    hue, saturation, value = _pick(random, _CLOTHES)
    return _hsv(hue + random.uniform(-8, 8), saturation * random.uniform(0.8, 1.1), value * random.uniform(0.85, 1.08))


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 360 / 360, min(saturation, 1.0), min(value, 1.0))
    return round(255 * red), round(255 * green), round(255 * blue)
