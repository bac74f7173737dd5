"""evaluate_ranking against the reference numbers, the textbook and scikit-learn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torch.utils._python_dispatch import TorchDispatchMode

from rga.metrics import RankingResult, evaluate_ranking
from rga.metrics.match_ranks import CLOSE, find_places
from rga.metrics.scores import full_precision

from . import textbook

DATA = Path(__file__).parents[1] / "fixtures"
Case = tuple[np.ndarray, ...]


def random_case(seed: int, queries: int = 8, gallery: int = 30, grid: float | None = None) -> Case:
    """Junk (-1), distractors (0), queries without a match; with `grid`, coarse features and so many equal scores."""
    random = np.random.default_rng(seed)
    features = [random.standard_normal((count, 3)) for count in (queries, gallery)]
    if grid is not None:
        features = [np.round(array / grid) * grid for array in features]
    labels = (random.integers(1, 6, queries), random.integers(-1, 5, gallery))
    return (*features, *labels, random.integers(1, 4, queries), random.integers(1, 4, gallery))


def assert_equal(result: RankingResult, expected: dict[str, Any]) -> None:
    assert result.valid_queries == expected["valid_queries"]
    np.testing.assert_array_equal(result.cmc, expected["cmc"])
    for name in ("map", "map_trapezoid", "minp"):
        if name in expected:
            assert getattr(result, name) == pytest.approx(float(expected[name]), abs=1e-9), name
    if "first_match" in expected:
        np.testing.assert_allclose(result.average_precision, expected["average_precision"], atol=1e-12)
        np.testing.assert_array_equal(result.first_match.clip(max=51), expected["first_match"])


@pytest.mark.parametrize("name", ["small", "hard", "sparse"])
def test_equals_the_reference(name: str) -> None:
    with np.load(DATA / f"retrieval_{name}.npz") as file:
        arrays = [file[key] for key in ("query", "gallery", "query_id", "gallery_id", "query_cam", "gallery_cam")]
        expected = {key: file[key] for key in ("cmc", "map_trapezoid", "valid_queries")} | {"map": file["map_step"]}
    assert_equal(evaluate_ranking(*arrays), expected)
    assert_equal(evaluate_ranking(*map(torch.as_tensor, arrays), memory=9000), expected)  # many chunks, torch input


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), metric=st.sampled_from(["cosine", "euclidean"]), memory=st.integers(1, 4000))
def test_equals_the_textbook(seed: int, metric: Any, memory: int) -> None:
    query, gallery, *labels = random_case(seed)
    expected = textbook.evaluate(textbook.similarity(query, gallery, metric), *labels)
    if expected["valid_queries"] == 0:
        with pytest.raises(ValueError, match="true match"):
            evaluate_ranking(query, gallery, *labels, metric=metric, memory=memory)
    else:
        assert_equal(evaluate_ranking(query, gallery, *labels, metric=metric, memory=memory), expected)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    step=st.sampled_from([0.1, 1e-7, CLOSE, 0.6 * CLOSE, 0.3 * CLOSE]),
    kinds=st.integers(1, 80),
    dtype=st.sampled_from([np.float32, np.float64]),
    bins=st.sampled_from([6, 8, 2**13]),
    rows_at_a_time=st.integers(1, 3),
)
def test_ties_and_chains_of_close_scores(
    seed: int, step: float, kinds: int, dtype: Any, bins: int, rows_at_a_time: int
) -> None:
    """Scores on a fine grid: exact ties, close neighbours, chains that leave what is sorted around a match."""
    random = np.random.default_rng(seed)
    scores = (random.integers(0, kinds, (3, 60)) * step + random.choice([0.0, 0.5])).astype(dtype)
    scores[random.random(scores.shape) < 0.1] = -np.inf
    match = (random.random(scores.shape) < random.choice([0.1, 0.8])) & np.isfinite(scores)
    rows, columns = match.nonzero()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rga.metrics.match_ranks._BINS", bins)
        patch.setattr("rga.metrics.match_ranks._BLOCK", rows_at_a_time * max(bins, 60))
        places = find_places(*map(torch.from_numpy, (scores, rows, columns)))
    for row, column, rank, start, end in zip(rows, columns, *(place.tolist() for place in places), strict=True):
        order = np.argsort(-scores[row], kind="stable")
        place = int((order == column).nonzero()[0][0])
        with np.errstate(invalid="ignore"):
            edges = [0, *np.flatnonzero(np.diff(scores[row][order]) < -CLOSE) + 1, len(order)]
        assert rank == place
        assert start == max(edge for edge in edges if edge <= place)
        assert end == min(edge for edge in edges if edge > place)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e6, 1e30])
def test_places_at_any_scale(scale: float) -> None:
    """Scores of any size, in bins narrower than their rounding and wider than their range; a row without a match."""
    random = np.random.default_rng(0)
    scores = ((random.standard_normal((6, 500)) - 5) * scale).astype(np.float32)
    rows, columns = np.array([0, 0, 1, 3, 4, 5, 5]), np.array([3, 4, 499, 0, 250, 5, 77])
    scores[4, 250], scores[3, 0] = scores[4].max() + scale, scores[3].min() - scale
    places = find_places(*map(torch.from_numpy, (scores, rows, columns)))
    expected = (scores[rows] > scores[rows, columns][:, None]).sum(1)
    if scale >= 1:  # else different scores are one threshold
        assert (places.start.tolist(), places.end.tolist()) == (expected.tolist(), (expected + 1).tolist())
    assert places.rank.tolist() == expected.tolist()


@pytest.mark.parametrize("grid", [1.0, 100.0])
@pytest.mark.parametrize("seed", range(10))
def test_equal_scores_keep_the_order_of_the_gallery(seed: int, grid: float) -> None:
    """Equal features give equal scores, also where everything is equal (a collapsed network)."""
    query, gallery, *labels = random_case(seed, queries=12, gallery=80, grid=grid)
    scores = -(((query[:, None] - gallery[None]) ** 2).sum(-1) ** 0.5)  # exact: small integers under the root
    assert_equal(evaluate_ranking(query, gallery, *labels, metric="euclidean"), textbook.evaluate(scores, *labels))


def test_step_wise_precision_is_scikit_learns() -> None:
    query, gallery, *_ = random_case(0, queries=20, gallery=100)
    query_ids, gallery_ids = np.arange(20) % 5, np.arange(100) % 5
    result = evaluate_ranking(query, gallery, query_ids, gallery_ids, np.zeros(20, int), np.ones(100, int))
    scores = textbook.similarity(query, gallery)
    expected = np.mean(
        [average_precision_score(gallery_ids == i, row) for i, row in zip(query_ids, scores, strict=True)]
    )
    assert result.map == pytest.approx(expected, abs=1e-12)


def test_figures_worked_out_by_hand() -> None:
    """Order of the gallery: a distractor, a match, the same camera (removed), junk (removed), a match, another."""
    gallery = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [1.0, 0.4], [1.0, 0.5]])
    result = evaluate_ranking(
        np.array([[2.0, 0.0]]), gallery, [7], [0, 7, 7, -1, 7, 8], [1], [2, 2, 1, 1, 3, 1]
    )  # right at ranks 2 and 3 of 4
    assert result.cmc[:3].tolist() == [0.0, 1.0, 1.0]
    assert result.cmc.shape == (50,)
    assert result.map == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result.map_trapezoid == pytest.approx(((0 + 1 / 2) / 2 + (1 / 2 + 2 / 3) / 2) / 2)
    assert result.minp == pytest.approx(2 / 3)
    assert result.summary() == {
        "rank1": 0.0,
        "rank5": 1.0,
        "rank10": 1.0,
        "map": result.map,
        "map_trapezoid": result.map_trapezoid,
        "minp": result.minp,
    }


class LargestTensor(TorchDispatchMode):
    """The size in bytes of the largest tensor that any operation gives."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.size = max(self.size, tensor.untyped_storage().nbytes())
        return out


def test_the_full_matrix_is_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery, *labels = random_case(3, queries=300, gallery=2000)  # a matrix of 4.8 MB
    whole = evaluate_ranking(query, gallery, *labels)
    monkeypatch.setattr("rga.metrics.match_ranks._BLOCK", 2**14)  # else what is made of a chunk takes 1 MB
    with LargestTensor() as largest:
        chunked = evaluate_ranking(query, gallery, *labels, memory=2**17)
    assert 2**16 < largest.size < 2**19
    assert_equal(chunked, vars(whole))


def test_trainings_settings_do_not_change_the_result() -> None:
    arrays = [torch.as_tensor(x) for x in random_case(1, queries=20, gallery=200)]
    arrays[:2] = [x.float().requires_grad_() for x in arrays[:2]]
    plain = evaluate_ranking(*arrays)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            tuned = evaluate_ranking(*arrays)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert_equal(tuned, vars(plain))


def test_half_precision_and_zero_features_work() -> None:
    arrays = [torch.as_tensor(x) for x in random_case(2, queries=20, gallery=200)]
    arrays[1][5] = 0
    halves = [x.bfloat16() for x in arrays[:2]]
    assert_equal(
        evaluate_ranking(*halves, *arrays[2:]), vars(evaluate_ranking(*(x.float() for x in halves), *arrays[2:]))
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: np.zeros((8, 4))}, r"\(8, 4\) and \(30, 3\)"),
        ({0: np.zeros(8)}, r"\(8,\) and"),
        ({2: np.zeros(7, int)}, r"query_ids must have shape \(8,\).*not \(7,\)"),
        ({5: np.zeros(8, int)}, r"gallery_cams must have shape \(30,\)"),
        ({3: np.full(30, 0.5)}, "gallery_ids must be integers"),
        ({3: np.array(["anna"] * 30)}, "gallery_ids must be integers"),
        ({2: [None] * 8}, "query_ids must be integers"),
        ({1: np.full((30, 3), np.nan)}, "30 gallery features are not finite, the first at row 0"),
        ({0: np.diag(np.full(8, np.inf))[:, :3]}, "8 query features|3 query features"),
        ({2: np.full(8, 99)}, "none of the 8 queries has a true match"),
        ({3: np.full(30, -1)}, "true match"),
    ],
)
def test_bad_input_says_what(change: dict[int, np.ndarray], message: str) -> None:
    arrays = [change.get(i, array) for i, array in enumerate(random_case(0))]
    with pytest.raises(ValueError, match=message):
        evaluate_ranking(*arrays)


def test_unknown_metric() -> None:
    with pytest.raises(ValueError, match="choose cosine or euclidean"):
        evaluate_ranking(*random_case(0), metric="manhattan")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_gpu_equals_cpu(metric: Any) -> None:
    query, gallery, *labels = random_case(4, queries=50, gallery=700)
    on_gpu = evaluate_ranking(torch.as_tensor(query).cuda(), torch.as_tensor(gallery).cuda(), *labels, metric=metric)
    assert_equal(on_gpu, vars(evaluate_ranking(query, gallery, *labels, metric=metric)))


def test_a_program_that_sets_one_backends_precision() -> None:
    """PyTorch's newer way, after which it has no common setting to ask for."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        with full_precision(torch.device("cpu")):
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before
