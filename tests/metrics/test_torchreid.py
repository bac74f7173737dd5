"""Against torchreid's published formula: on random sets, and on what random sets never are."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from metrics.torchreid_formula import eval_market1501
from rga.metrics import evaluate_ranking
from rga.metrics.ranking import RankingResult, evaluate_distances

Array = NDArray[Any]
Labels = tuple[Array, Array, Array, Array]


def agree(result: RankingResult, distances: Array, labels: Labels) -> None:
    cmc, mean, counted = eval_market1501(distances, *labels)
    assert result.valid_queries == counted
    np.testing.assert_allclose(result.cmc[: len(cmc)], cmc, rtol=0, atol=1e-12)
    assert (result.cmc[len(cmc) :] == cmc[-1]).all()
    assert result.map == pytest.approx(mean, abs=1e-12)


def compare(distances: Array, labels: Labels) -> None:
    """The same metrics, or both refuse."""
    try:
        eval_market1501(distances, *labels)
    except AssertionError:
        with pytest.raises(ValueError, match="has a true match"):
            evaluate_distances(distances, *labels)
        return
    agree(evaluate_distances(distances, *labels), distances, labels)


@st.composite
def sets(draw: st.DrawFn) -> tuple[Array, Labels]:
    """Few identities, cameras and distances: ties, queries without a match, one camera and one query are common."""
    queries, images = draw(st.integers(1, 6)), draw(st.integers(1, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels, people, cameras = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    labels = [random.integers(0, most, size) for most in (people, cameras) for size in (queries, images)]
    return random.integers(0, levels, (queries, images)) / 4, (labels[0], labels[1], labels[2], labels[3])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(case=sets())
def test_any_set(case: tuple[Array, Labels]) -> None:
    compare(*case)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("seed", range(5))
def test_features(seed: int, metric: Any) -> None:
    random = np.random.default_rng(seed)
    query, gallery = random.standard_normal((40, 8)), random.standard_normal((300, 8))
    labels = tuple(random.integers(0, most, size) for most in (12, 4) for size in (40, 300))
    if metric == "cosine":
        unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, gallery)]
        distances = 1 - unit[0] @ unit[1].T
    else:
        distances = np.linalg.norm(query[:, None] - gallery[None], axis=2)
    agree(evaluate_ranking(query, gallery, *labels, metric=metric), distances, labels)


def arrays(*values: list[int]) -> Labels:
    query_ids, gallery_ids, query_cams, gallery_cams = map(np.array, values)
    return query_ids, gallery_ids, query_cams, gallery_cams


@pytest.mark.parametrize(
    ("labels", "rank1", "mean"),
    [
        (arrays([1], [1], [1], [2]), 1.0, 1.0),  # one query, one image
        (arrays([1], [2, 1], [1], [1, 2]), 0.0, 0.5),  # a tie: the gallery's order counts
        (arrays([1, 3], [2, 1], [1, 1], [1, 2]), 0.0, 0.5),  # the second query has no match and does not count
        (arrays([1, 1], [1, 2, 1], [1, 2], [1, 1, 2]), 0.5, 0.75),  # each loses another image
        (arrays([5], [5] * 60, [1], [2] * 60), 1.0, 1.0),  # all match, more of them than ranks
    ],
)
def test_degenerate_sets(labels: Labels, rank1: float, mean: float) -> None:
    distances = np.zeros((len(labels[0]), len(labels[1])))
    agree(evaluate_distances(distances, *labels), distances, labels)
    result = evaluate_distances(distances, *labels)
    assert (result.cmc[0], result.map) == (rank1, mean)


@pytest.mark.parametrize(
    "labels",
    [
        arrays([1, 2], [1, 2, 2], [1, 1], [1, 1, 1]),  # all of one camera
        arrays([1], [2, 3], [1], [2, 2]),  # nobody who is asked for
    ],
)
def test_sets_without_a_match_are_refused(labels: Labels) -> None:
    compare(np.zeros((len(labels[0]), len(labels[1]))), labels)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_distances_in_half_precision(dtype: torch.dtype) -> None:
    """As autocast gives them: exactly those numbers, with the ties that rounding makes."""
    torch.manual_seed(0)
    distances = torch.rand(8, 3000).to(dtype)
    labels = [torch.randint(0, high, (count,)) for high in (40, 6) for count in (8, 3000)]
    half, full = (evaluate_distances(each, *labels) for each in (distances, distances.double()))
    assert half.map == full.map
    assert (half.cmc == full.cmc).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_distances_are_finite(bad: float) -> None:
    """Some mask what is of the query's own camera with infinity, which the protocol leaves out anyway."""
    ids, cameras = np.array([7, 8, 7, 7]), np.array([1, 1, 2, 0])
    with pytest.raises(ValueError, match="NaN or infinite; the same identity in the same camera is left out"):
        evaluate_distances(np.array([[0.2, 0.1, 0.3, bad]]), np.array([7]), ids, np.array([0]), cameras)
