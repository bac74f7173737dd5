"""How many images there are of each class, identity or camera, in a line."""

from collections.abc import Mapping
from statistics import median

from rga.data.base import shorten

_FEW = 20  # are listed one by one


def per(what: str, counts: Mapping[str, int]) -> str:
    """Of each one; of many the range, with those that have the fewest.

    >>> per("camera", {"door": 1310, "hall": 29})
    'images of each camera: door: 1,310; hall: 29'
    """
    if len(counts) <= _FEW:
        return f"images of each {what}: {'; '.join(f'{name}: {count:,}' for name, count in counts.items())}"
    fewest, most = min(counts.values()), max(counts.values())
    rare = shorten([name for name, count in counts.items() if count == fewest], 3)
    return f"images of each {what}: {fewest:,} ({rare}) to {most:,}, median {median(counts.values()):g}"


def shares(counts: Mapping[str, int], ignored: int) -> str:
    """The pixels of each class, in percent of those that count, and how many do not."""
    total = sum(counts.values())
    of = [f"{name} {100 * count / max(total, 1):.2f} %" for name, count in counts.items()]
    return f"pixels of each class: {', '.join(of)}; ignored: {100 * ignored / max(total + ignored, 1):.2f} % of all"
