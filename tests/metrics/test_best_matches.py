"""The best matches of a few queries, against a sort of everything."""

import numpy as np
import pytest
import torch

from rga.metrics.best_matches import best_matches


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("queries", [3, 12])
def test_against_a_sort(metric: str, queries: int) -> None:
    random = np.random.default_rng(0)
    query, gallery = random.normal(size=(7, 5)), random.normal(size=(30, 5))
    gallery[20:25] = gallery[:5]  # ties
    ids, cams = random.integers(0, 4, 7), random.integers(0, 3, 7)
    gallery_ids, gallery_cams = random.integers(-1, 4, 30), random.integers(0, 3, 30)
    sets = map(torch.tensor, (query, gallery, ids, gallery_ids, cams, gallery_cams))
    found = best_matches(*sets, metric=metric, queries=queries, top=6)
    assert [place for place, _ in found] == ([0, 2, 4] if queries == 3 else list(range(7)))
    for place, matches in found:
        if metric == "cosine":
            score = gallery @ query[place] / np.linalg.norm(gallery, axis=1)
        else:
            score = -np.linalg.norm(gallery - query[place], axis=1)
        kept = [
            image
            for image in np.argsort(-score.round(9), kind="stable")
            if gallery_ids[image] != -1
            and not (gallery_ids[image] == ids[place] and gallery_cams[image] == cams[place])
        ]
        assert matches == [(image, bool(gallery_ids[image] == ids[place])) for image in kept[:6]]


def test_fewer_images_than_places() -> None:
    features, ids = torch.eye(2), torch.tensor([1, 2])
    (first, second) = best_matches(features, features, ids, ids, torch.zeros(2), torch.tensor([0, 1]))
    assert first == (0, [(1, False)])  # its own image is of its own camera
    assert second == (1, [(1, True), (0, False)])
