"""Queries and the gallery images that are most like them, as one image."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from rga.data import decoding

_HEIGHT, _FRAME, _GAP = 192, 6, 6  # pixels
_COLOURS = {True: (0, 160, 0), False: (210, 0, 0), None: (150, 150, 150)}


def rank_lists(rows: Sequence[tuple[Path, Sequence[tuple[Path, bool | None]]]], size: tuple[int, int]) -> Image.Image:
    """A row for each query: itself, then its matches, best first, framed in green where they are right, red where they
    are wrong, grey where that is not known.

    Args:
        rows: a query, and its matches with whether they are right.
        size: (H, W) of the network's images, whose shape those that are shown get.

    Raises:
        DataError: an image is not there any more.
    """
    height, width = _HEIGHT, round(_HEIGHT * size[1] / size[0])
    cell = (width + 2 * _FRAME + _GAP, height + 2 * _FRAME + _GAP)
    columns = 1 + max(len(matches) for _, matches in rows)
    sheet = Image.new("RGB", (columns * cell[0] + 3 * _GAP, len(rows) * cell[1] + _GAP), "white")
    for row, (query, matches) in enumerate(rows):
        framed = [(query, (0, 0, 0)), *((path, _COLOURS[right]) for path, right in matches)]
        for column, (path, colour) in enumerate(framed):
            left = _GAP + column * cell[0] + (2 * _GAP if column else 0)  # the query stands apart
            image = Image.new("RGB", (width + 2 * _FRAME, height + 2 * _FRAME), colour)
            image.paste(Image.fromarray(decoding.load(path, (height, width))), (_FRAME, _FRAME))
            sheet.paste(image, (left, _GAP + row * cell[1]))
    return sheet
