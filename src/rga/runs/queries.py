"""What each query gave, kept in a run's result, so that two runs are compared query by query. No numpy, whose import
takes longer than a table.

A result has it as `queries`, two texts that are base64 of 16-bit integers, in the order of the queries that counted:
`average_precision` in units of 1/65535, and `first_match`, the rank of the first true match (1 = best, at most 65535).
That is 6 bytes a query in all: 20 kB for Market-1501.
"""

import base64
import binascii
import statistics
import sys
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

_MOST = 65535
_RANKS = {"rank1": 1, "rank5": 5, "rank10": 10}
_ROUNDING = 1e-5  # of a mean of average precisions, which are rounded to 1/131070


def pack(average_precision: Iterable[float], first_match: Iterable[int]) -> dict[str, str]:
    """What a result keeps.

    Args:
        average_precision: (Q,) in 0..1.
        first_match: (Q,) ranks of the first true match, 1 = best.
    """
    columns = {
        "average_precision": array("H", (round(_MOST * float(value)) for value in average_precision)),
        "first_match": array("H", (min(int(rank), _MOST) for rank in first_match)),
    }
    return {name: base64.b64encode(_little_endian(column)).decode() for name, column in columns.items()}


def per_query(result: Mapping[str, Any], metric: str) -> list[float] | None:
    """The metric of each query, in the unit of the result's metrics; None where the result does not keep it."""
    kept = result.get("queries")
    if not kept or metric not in ("map", *_RANKS):
        return None
    if metric == "map":
        return [value / _MOST for value in _unpack(kept["average_precision"])]
    return [float(rank <= _RANKS[metric]) for rank in _unpack(kept["first_match"])]


def check_queries(result: Mapping[str, Any]) -> None:
    """See that what a result keeps of its queries gives its metrics.

    Raises:
        ValueError: it is no such thing, or gives others.
    """
    kept = result.get("queries")
    if not kept:
        return
    if not all(isinstance(kept.get(name), str) for name in ("average_precision", "first_match")):
        raise ValueError("its queries have no average_precision and first_match")
    try:
        counts = {len(_unpack(kept[name])) for name in ("average_precision", "first_match")}
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"its queries are damaged: {error}") from error
    if len(counts) != 1 or not min(counts):
        raise ValueError("its queries are damaged: as many average precisions as first matches are wanted")
    counted = ((result.get("data") or {}).get("query") or {}).get("counted")
    if counted is not None and counts != {counted}:
        raise ValueError(f"it keeps {counts.pop()} queries, and {counted} were counted")
    for metric in ("map", *_RANKS):
        values, told = per_query(result, metric), result["metrics"].get(metric)
        if values is None or not isinstance(told, int | float):
            continue
        if abs((mean := statistics.fmean(values)) - told) > _ROUNDING:
            raise ValueError(f"its queries have a {metric} of {mean:.5f}, its metrics of {told:.5f}")


def _unpack(text: str) -> "array[int]":
    column = array("H", base64.b64decode(text, validate=True))
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _little_endian(column: "array[int]") -> bytes:
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()
