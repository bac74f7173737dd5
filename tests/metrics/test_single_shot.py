"""Ranks in drawn galleries, against plain loops, and against the mean over all galleries there are."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rga.metrics import RetrievalMetrics, evaluate_ranking, single_gallery_shot
from rga.metrics.single_shot import one_of_each

Sets = tuple[NDArray[Any], ...]


def people(seed: int, identities: int, images: int, cameras: int = 2) -> Sets:
    """Features that resemble each other within an identity, their identities and cameras: every image asks."""
    random = np.random.default_rng(seed)
    ids = np.repeat(np.arange(1, identities + 1), images)
    cams = random.integers(1, cameras + 1, len(ids))
    features = random.normal(size=(identities + 1, 6))[ids] + 1.5 * random.normal(size=(len(ids), 6))
    return features, features, ids, ids, cams, cams


def cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def rank(query: int, drawn: list[int], features: NDArray[Any], ids: NDArray[Any]) -> int:
    """The place of the query's identity in a gallery, 0 is the best."""
    scores = {place: cosine(features[query], features[place]) for place in drawn}
    order = sorted(drawn, key=lambda place: -scores[place])
    return [ids[place] for place in order].index(ids[query])


def curve(ranks: list[int]) -> NDArray[np.float64]:
    return np.array([np.mean([place <= k for place in ranks]) for k in range(50)])


@pytest.mark.parametrize(("seed", "cameras"), [(0, 2), (1, 2), (2, 3)])
def test_a_loop_gives_the_same(seed: int, cameras: int) -> None:
    sets = people(seed, identities=12, images=5, cameras=cameras)
    features, _, ids, _, cams, _ = sets
    random, ranks = np.random.default_rng(7), []
    for _ in range(3):
        for camera in sorted(set(cams)):
            others = [place for place in range(len(ids)) if cams[place] != camera]
            drawn = [others[place] for place in one_of_each(ids[others], random)]
            assert sorted(ids[drawn]) == sorted(set(ids[others]))  # everybody once
            asking = [place for place in range(len(ids)) if cams[place] == camera and ids[place] in ids[others]]
            ranks += [rank(query, drawn, features, ids) for query in asking]
    np.testing.assert_allclose(single_gallery_shot(*sets, draws=3, seed=7), curve(ranks), rtol=1e-12)


def test_many_draws_come_to_the_mean_over_all_galleries() -> None:
    sets = people(3, identities=3, images=4)
    features, _, ids, _, cams, _ = sets
    ranks: list[NDArray[np.float64]] = []
    for query in range(len(ids)):
        choices = [[p for p in range(len(ids)) if ids[p] == who and cams[p] != cams[query]] for who in (1, 2, 3)]
        if choices[ids[query] - 1]:
            galleries = product(*filter(None, choices))
            ranks.append(curve([rank(query, list(drawn), features, ids) for drawn in galleries]))
    expected = np.mean(ranks, axis=0)
    assert 0.3 < expected[0] < 0.95  # else there is nothing to see
    assert abs(single_gallery_shot(*sets, draws=250) - expected).max() < 0.03


def test_it_is_the_same_every_time_and_on_float32() -> None:
    sets = people(4, identities=20, images=6)
    once = single_gallery_shot(*sets)
    assert (once == single_gallery_shot(*sets)).all()
    assert (once != single_gallery_shot(*sets, seed=1)).any()
    tensors = [torch.as_tensor(values) for values in sets]
    tensors[:2] = [values.float() for values in tensors[:2]]
    np.testing.assert_allclose(single_gallery_shot(*tensors), once, atol=1e-3)


def test_one_picture_of_each_leaves_nothing_to_draw() -> None:
    random = np.random.default_rng(5)
    query, gallery = random.normal(size=(2, 15, 4))
    ids, one, two = np.arange(15), np.ones(15, int), np.full(15, 2)
    drawn = single_gallery_shot(query, gallery, ids, ids, one, two, draws=2)
    np.testing.assert_allclose(drawn, evaluate_ranking(query, gallery, ids, ids, one, two).cmc, rtol=1e-12)


def test_strangers_and_junk() -> None:
    query, gallery = np.eye(2), np.array([[1.0, 0], [1, 0.1], [1, 0.2], [1, 0.3]])
    ids, cams = [1, 9], [1, 1]  # nobody else has 9, so it does not count
    assert single_gallery_shot(query, gallery, ids, [-1, -1, 1, 0], cams, [2, 2, 2, 2])[0] == 1  # junk would be first
    assert single_gallery_shot(query, gallery, ids, [0, 0, 1, 2], cams, [2, 2, 2, 2])[0] == 0  # a distractor is
    assert single_gallery_shot(query, gallery, ids, [0, 0, 1, 2], cams, [1, 1, 2, 2])[0] == 1  # not in the same camera


def test_the_metric_gives_these_ranks_and_the_average_precision_of_the_whole_gallery() -> None:
    features, _, ids, _, cams, _ = sets = people(6, identities=10, images=6)
    metric = RetrievalMetrics()
    metric.gallery_draws = 10
    for is_query in (True, False):
        flags = torch.full((len(ids),), is_query)
        metric.update(torch.as_tensor(features), torch.as_tensor(ids), torch.as_tensor(cams), flags)
    found, whole, cmc = metric.compute(), evaluate_ranking(*sets), single_gallery_shot(*sets)
    assert [found[f"rank{k}"] for k in (1, 5, 10)] == [cmc[k - 1] for k in (1, 5, 10)]
    assert found["rank1"] != whole.cmc[0]
    assert found["map"] == whole.map


def test_what_is_refused() -> None:
    sets = people(0, identities=3, images=4)
    with pytest.raises(ValueError, match="at least once, not 0"):
        single_gallery_shot(*sets, draws=0)
    with pytest.raises(ValueError, match=r"shape \(12,\)"):
        single_gallery_shot(*sets[:2], sets[2][:5], *sets[3:])
    with pytest.raises(ValueError, match="none of the 12 queries"):
        single_gallery_shot(*sets[:4], np.ones(12, int), np.ones(12, int))
