"""What each query gave, kept in a run's result, so that two runs are compared query by query. No torch.

A result has it as `queries`, two texts that are base64 of 16-bit integers, in the order of the queries that counted:
`average_precision` in units of 1/65535, and `first_match`, the rank of the first true match (1 = best, at most 65535).
That is 6 bytes a query in all: 20 kB for Market-1501.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
_MOST = 65535
_RANKS = {"rank1": 1, "rank5": 5, "rank10": 10}
_ROUNDING = 1e-5  # of a mean of average precisions, which are rounded to 1/131070


def pack(average_precision: NDArray[Any], first_match: NDArray[Any]) -> dict[str, str]:
    """What a result keeps.

    Args:
        average_precision: (Q,) in 0..1.
        first_match: (Q,) ranks of the first true match, 1 = best.
    """
    columns = {
        "average_precision": np.rint(np.asarray(average_precision, dtype=np.float64) * _MOST),
        "first_match": np.minimum(first_match, _MOST),
    }
    return {name: base64.b64encode(column.astype("<u2").tobytes()).decode() for name, column in columns.items()}


def per_query(result: Mapping[str, Any], metric: str) -> Values | None:
    """(Q,): the metric of each query, in the unit of the result's metrics; None where the result does not keep it."""
    kept = result.get("queries")
    if not kept or metric not in ("map", *_RANKS):
        return None
    if metric == "map":
        return _unpack(kept["average_precision"]) / _MOST
    return (_unpack(kept["first_match"]) <= _RANKS[metric]).astype(np.float64)


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
    for metric in ("map", *_RANKS):
        values, told = per_query(result, metric), result["metrics"].get(metric)
        if values is not None and isinstance(told, int | float) and abs(values.mean() - told) > _ROUNDING:
            raise ValueError(f"its queries have a {metric} of {values.mean():.5f}, its metrics of {told:.5f}")


def _unpack(text: str) -> Values:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<u2").astype(np.float64)
