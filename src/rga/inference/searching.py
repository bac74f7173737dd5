"""`rga search`: the images of a gallery that are most like each query, as a list and as an image."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch.nn import functional as F

from rga.data.progress import watched
from rga.drawing.rank_lists import rank_lists
from rga.errors import DataError
from rga.inference.extraction import FEATURES, Features, read, writing
from rga.inference.features import Extractor, expect_outside, find

# Identity and camera, as Market-1501's names have them, and those of the sets that took them over.
_NAME = re.compile(r"(-1|\d+)_c(\d+)")
_JUNK = -1

_CHUNK = 256  # queries whose scores are in memory at a time
_ROWS = 20


@dataclass(frozen=True)
class Match:
    """A gallery image.

    Args:
        name: relative to its folder.
        path: where it is.
        score: cosine similarity to the query.
        right: whether it shows the same person; None where that is not known.
    """

    name: str
    path: Path
    score: float
    right: bool | None


@dataclass(frozen=True)
class Ranking:
    """A query and its best matches, best first.

    Args:
        name, path: of the query.
        matches: the best of the gallery.
        same_camera: how many other gallery images of the query's person are left out, as its camera took them.
        junk: how many are left out as junk.
    """

    name: str
    path: Path
    matches: list[Match]
    same_camera: int = 0
    junk: int = 0

    def __str__(self) -> str:
        verdict = {True: "right", False: "wrong", None: ""}
        rows = [f"{rank:4}  {m.score:7.4f}  {verdict[m.right]:5}  {m.name}" for rank, m in enumerate(self.matches, 1)]
        left = [f"{self.same_camera} of the same person by the same camera"] if self.same_camera else []
        left += [f"{self.junk} of junk"] if self.junk else []
        return "\n".join([self.name, *rows, *([f"      left out: {', '.join(left)}"] if left else [])])


def search(extractor: Extractor, gallery: Path, query: Path, top: int = 10, out: Path | None = None) -> list[Ranking]:
    """Rank a gallery by cosine similarity to each query; equal scores in the order of the names.

    Who is on an image is read from names like Market-1501's, `0002_c1s1_000451_03.jpg`. As in its protocol, images
    of the query's person by the query's camera, and junk (`-1_...`), are left out then, and counted. An image is never
    a match of itself.

    Args:
        extractor: with the trained network.
        gallery: a folder of images, or what `rga extract` wrote.
        query: an image, or a folder of images.
        top: matches of each query.
        out: where the matches will be shown, see `draw`.

    Raises:
        DataError: no images, one that does not decode, or features of another run; or `out` lies among the images.
        ConfigError: features that are not finite.
    """
    extracted = read(gallery, extractor) if (gallery / FEATURES).is_file() else None
    for searched in (extracted.folder if extracted else gallery, query):
        if out is not None and searched.is_dir():
            expect_outside(out, searched)
    known = extracted or _features(extractor, gallery, find(gallery))
    folder, names = (query.parent, [query.name]) if query.is_file() else (query, find(query))
    queries = _features(extractor, folder, names)
    paths = [known.folder / name for name in known.names]
    shown = [_person(name) for name in known.names]
    seen = Counter(shown)
    junk = sum(person is not None and person[0] == _JUNK for person in shown)
    places = {path.resolve() for path in paths}
    rankings = []
    for name, order, scores in _ranked(queries, known):
        path, person = folder / name, _person(name)
        if person is not None and person[0] <= 0:
            person = None  # a distractor or junk: nobody
        matches: list[Match] = []
        for index in order:
            if len(matches) == top:
                break
            if paths[index].resolve() != path.resolve() and not _left_out(person, shown[index]):
                right = _is_right(person, shown[index])
                matches.append(Match(known.names[index], paths[index], scores[index], right))
        itself = person is not None and path.resolve() in places
        same = seen[person] - itself if person is not None else 0
        rankings.append(Ranking(name, path, matches, same, junk if person is not None else 0))
    return rankings


def draw(rankings: list[Ranking], size: tuple[int, int], file: Path) -> str:
    """Write the rank lists of the first queries as one image: the query, then its matches framed in green where they
    are right, red where they are wrong, grey where that is not known.

    Args:
        rankings: of which the first 20 are shown.
        size: (H, W) of the network's images, whose shape those that are shown get.
        file: to write, of a kind that Pillow knows by its ending.

    Returns:
        What is shown, in words.

    Raises:
        DataError: an image is not there any more, or the file cannot be written.
    """
    rows = [(ranking.path, [(match.path, match.right) for match in ranking.matches]) for ranking in rankings[:_ROWS]]
    sheet = rank_lists(rows, size)
    with writing(file) as target:
        sheet.save(target, format=kind(file))
    return f"{file}" if len(rows) == len(rankings) else f"{file}: the first {len(rows)} of {len(rankings)} queries"


def kind(file: Path) -> str:
    """Pillow's name for a kind of image, by the ending of its file; DataError where there is none."""
    extensions = Image.registered_extensions()
    if extensions.get(file.suffix.lower()) not in Image.SAVE:
        raise DataError(f"{file}: images are written as .png, .jpg or .webp")
    return extensions[file.suffix.lower()]


def _features(extractor: Extractor, folder: Path, names: list[str]) -> Features:
    paths = [folder / name for name in names]
    rows = (row for _, batch in extractor(paths) for row in batch)
    return Features(torch.stack(list(watched(rows, "extracting", len(paths)))), names, folder)


def _ranked(queries: Features, known: Features) -> Iterator[tuple[str, list[int], list[float]]]:
    """The name of each query, the gallery's places, best first, and the scores of these places as they are."""
    gallery = F.normalize(known.features)
    for start in range(0, len(queries.names), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        scores = F.normalize(queries.features[chunk]) @ gallery.T
        orders = scores.argsort(dim=1, descending=True, stable=True)
        for name, order, row in zip(queries.names[chunk], orders, scores, strict=True):
            yield name, order.tolist(), row.tolist()


def _person(name: str) -> tuple[int, int] | None:
    """Identity and camera, where an image's name says them."""
    match = _NAME.match(Path(name).name)
    return (int(match[1]), int(match[2])) if match else None


def _left_out(query: tuple[int, int] | None, match: tuple[int, int] | None) -> bool:
    return query is not None and match is not None and (match == query or match[0] == _JUNK)


def _is_right(query: tuple[int, int] | None, match: tuple[int, int] | None) -> bool | None:
    return None if query is None or match is None else query[0] == match[0]
