"""Re-ranking against a transcription of the published algorithm, and the metrics from distances."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rga.metrics import evaluate_distances, evaluate_ranking, rerank

from . import zhong
from .test_ranking import LargestTensor, assert_equal, random_case


def features(seed: int, queries: int, gallery: int, grid: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Clusters, so that neighbours are mutual; with `grid`, integers: many distances are equal, and exact."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((5, 3)) * 3
    images = centres[random.integers(0, 5, queries + gallery)] + random.standard_normal((queries + gallery, 3))
    if grid:
        images = np.round(images)
        images[0] += 10  # not all are equal
    return images[:queries], images[queries:]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, 6),
    gallery=st.integers(1, 50),
    k1=st.integers(1, 25),
    k2=st.integers(1, 30),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
    grid=st.booleans(),
    memory=st.integers(1, 30000),
)
def test_equals_the_published_algorithm(
    seed: int, queries: int, gallery: int, k1: int, k2: int, weight: float, grid: bool, memory: int
) -> None:
    query, images = features(seed, queries, gallery, grid)
    options: Any = {"k1": k1, "k2": k2, "weight": weight}
    found = torch.cat(list(rerank(query, images, metric="euclidean", memory=memory, **options)))
    with np.errstate(invalid="ignore"):
        expected = zhong.rerank(query, images, **options)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


def test_the_defaults_are_those_of_the_paper_on_normalised_features() -> None:
    query, images = features(0, 20, 150)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, images)]
    found = torch.cat(list(rerank(query, images, memory=20000)))
    np.testing.assert_allclose(found.numpy(), zhong.rerank(*unit, 20, 6, 0.3), rtol=0, atol=1e-9)
    single = torch.cat(list(rerank(query.astype(np.float32), images.astype(np.float32))))
    assert single.dtype == torch.float32
    assert np.median(np.abs(single.numpy() - found.numpy())) < 1e-5  # near ties may be turned round


def test_images_that_are_all_equal() -> None:
    """A collapsed network: none is nearer than another, and nothing is divided by zero."""
    found = torch.cat(list(rerank(np.ones((3, 4)), np.ones((60, 4)), metric="euclidean")))
    torch.testing.assert_close(found, torch.zeros(3, 60, dtype=torch.float64), rtol=0, atol=1e-12)


def test_full_matrices_are_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    query, images = features(1, 400, 1600)  # all distances are 32 MB, the queries' 5 MB
    whole = torch.cat(list(rerank(query, images)))
    monkeypatch.setattr("rga.metrics.reranking._ROWS", 64)  # else neighbours' sets are compared in 2.5 MB
    with LargestTensor() as largest:
        chunks = list(rerank(query, images, memory=2**17))
    assert len(chunks) > 40
    assert 2**16 < largest.size < 2**20
    torch.testing.assert_close(torch.cat(chunks), whole)


def test_figures_from_distances_are_those_from_features() -> None:
    query, gallery, *labels = random_case(3, queries=40, gallery=300)
    expected = evaluate_ranking(query, gallery, *labels, metric="euclidean")
    distances = np.linalg.norm(query[:, None] - gallery[None], axis=2)
    before = distances.copy()
    assert_equal(evaluate_distances(distances, *labels), vars(expected))
    assert_equal(evaluate_distances(torch.from_numpy(distances).split(7), *labels), vars(expected))
    np.testing.assert_array_equal(distances, before)
    ranks = torch.from_numpy(distances).argsort(1).argsort(1)  # integers: the order is all that counts
    assert evaluate_distances(ranks, *labels).map == pytest.approx(expected.map, abs=1e-12)


def test_reranking_helps_where_neighbours_are_mutual() -> None:
    query, gallery = features(2, 30, 200)
    random = np.random.default_rng(2)
    random.standard_normal((5, 3))
    who = random.integers(0, 5, 230)
    labels = (who[:30], who[30:], np.zeros(30, int), np.ones(200, int))
    plain = evaluate_ranking(query, gallery, *labels, metric="euclidean")
    assert evaluate_distances(rerank(query, gallery, metric="euclidean"), *labels).map > plain.map


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        (np.zeros((8, 29)), r"chunks \(q, 30\), not \(8, 29\)"),
        (np.zeros(30), r"not \(30,\)"),
        (np.zeros((7, 30)), "distances of 7 queries, but labels of 8"),
        (np.full((8, 30), np.nan), "NaN"),
    ],
)
def test_bad_distances(distances: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_distances(distances, *random_case(0)[2:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": 0}, "k1 and k2 are at least 1"),
        ({"k2": 0}, "k1 and k2 are at least 1"),
        ({"weight": 1.5}, "weight is in 0..1"),
        ({"metric": "manhattan"}, "choose cosine or euclidean"),
    ],
)
def test_bad_options_are_refused_before_the_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rerank(np.ones((2, 3)), np.ones((4, 3)), **options)
