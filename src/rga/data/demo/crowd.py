"""Who is seen where, and how often: the synthetic people of the demo data, before a layout names the files."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from rga.data.demo import pedestrians
from rga.data.demo.person import Person, person
from rga.data.progress import watched


class Shot(NamedTuple):
    """One image of somebody. `part` is train, query or gallery; identities and cameras are counted from 1."""

    part: str
    identity: int
    camera: int
    frame: int
    image: Image.Image


class Crowd:
    """People and the cameras that see them, all from one seed.

    Args:
        cameras: how many there are, at least six.
        seed: of the whole set.
    """

    def __init__(self, cameras: int, seed: int) -> None:
        self.seed = seed
        self.places = [pedestrians.camera(np.random.default_rng([seed, 0, number])) for number in range(cameras)]

    def shots(self, train: int, test: int, images: int) -> Iterator[Shot]:
        """Everybody's images, person after person: identities 1 .. train to train on, as many as `test` after them.

        Everybody is seen by three to six cameras, `images` times in each on average. As in Market-1501, one image of
        a person in a camera asks, the others answer.
        """
        for identity in watched(range(1, train + test + 1), "drawing", train + test):
            random = np.random.default_rng([self.seed, 1, identity])
            who = person(random)
            for camera in sorted(random.permutation(len(self.places))[: random.integers(3, 7)] + 1):
                for frame in range(max(1, images + int(random.integers(-1, 2)))):
                    part = "train" if identity <= train else "query" if frame == 0 else "gallery"
                    yield Shot(part, identity, int(camera), frame, self.image(who, identity, int(camera), frame))

    def image(self, who: Person | None, identity: int, camera: int, frame: int) -> Image.Image:
        """An image of a person, or of none, in front of a camera; 128 x 64."""
        random = np.random.default_rng([self.seed, 2, identity + 1, camera, frame])
        return pedestrians.image(who, self.places[camera - 1], random)
