"""k-reciprocal re-ranking: a direct transcription of the published algorithm, on full matrices, in double precision."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def rerank(query: Array, gallery: Array, k1: int, k2: int, weight: float) -> Array:
    """(Q, N) distances, from Euclidean distances of the features as they are."""
    features = np.concatenate((query, gallery)).astype(np.float64)
    distance = ((features[:, None] - features[None]) ** 2).sum(2)
    distance = (distance / distance.max(axis=0)).T
    rank = np.argsort(distance, axis=1, kind="stable")
    count = len(features)
    half = int(np.around(k1 / 2))

    def reciprocal(i: int, k: int) -> Array:
        forward = rank[i, : k + 1]
        backward = rank[forward, : k + 1]
        return forward[np.where(backward == i)[0]]

    sets = np.zeros_like(distance)
    for i in range(count):
        own = reciprocal(i, k1)
        expanded = own
        for candidate in own:
            theirs = reciprocal(candidate, half)
            if len(np.intersect1d(theirs, own)) > 2 / 3 * len(theirs):
                expanded = np.append(expanded, theirs)
        expanded = np.unique(expanded)
        weights = np.exp(-distance[i, expanded])
        sets[i, expanded] = weights / weights.sum()
    if k2 != 1:
        sets = np.stack([sets[rank[i, :k2]].mean(axis=0) for i in range(count)])

    asked, asked_for = sets[: len(query)], sets[len(query) :]
    common = np.minimum(asked[:, None], asked_for[None]).sum(2)
    jaccard = 1 - common / (2 - common)
    return np.asarray((1 - weight) * jaccard + weight * distance[: len(query), len(query) :])
