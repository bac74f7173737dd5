"""The metrics of single queries: what is packed comes back, and what does not fit a result's metrics is refused."""

from typing import Any

import numpy as np
import pytest

from rga.runs.queries import check_queries, pack, per_query

PRECISION = np.array([1.0, 0.5, 1 / 3, 0.123456])
FIRST = np.array([1, 2, 6, 70000])


def result(**changed: Any) -> dict[str, Any]:
    metrics = {"map": float(PRECISION.mean()), "rank1": 0.25, "rank5": 0.5, "rank10": 0.75, "minp": 0.1}
    return {"metrics": metrics, "queries": pack(PRECISION, FIRST), **changed}


def test_what_is_packed_comes_back() -> None:
    check_queries(result())
    kept = per_query(result(), "map")
    assert kept is not None
    np.testing.assert_allclose(kept, PRECISION, atol=0.5 / 65535)
    for metric, hits in (("rank1", [1, 0, 0, 0]), ("rank5", [1, 1, 0, 0]), ("rank10", [1, 1, 1, 0])):
        np.testing.assert_array_equal(per_query(result(), metric), hits)
    assert per_query(result(), "minp") is None
    assert per_query({"metrics": {}}, "map") is None
    assert sum(map(len, pack(np.ones(3368), np.ones(3368)).values())) == 17968  # of Market-1501, in letters


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"metrics": {"map": 0.9}}, "its queries have a map of 0.48920, its metrics of 0.90000"),
        ({"metrics": {"rank5": 0.75}}, "its queries have a rank5 of 0.50000"),
        ({"queries": {"average_precision": "AAAA"}}, "have no average_precision and first_match"),
        ({"queries": {"average_precision": "AAA*", "first_match": "AAAA"}}, "damaged"),
        ({"queries": {"average_precision": "AAAA", "first_match": "AAAA"}}, "damaged"),  # three bytes
        ({"queries": pack(PRECISION, FIRST) | {"first_match": pack(PRECISION, FIRST[:2])["first_match"]}}, "as many"),
        ({"queries": {"average_precision": "", "first_match": ""}}, "as many"),
        ({"data": {"query": {"counted": 5}}}, "it keeps 4 queries, and 5 were counted"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_queries(result(**changed))
