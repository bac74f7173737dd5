"""The protocol as a textbook has it: sort the gallery for each query, walk down the list."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def similarity(query: Array, gallery: Array, metric: str = "cosine") -> Array:
    """(Q, N) scores, higher is nearer."""
    if metric == "euclidean":
        return -np.sqrt(((query[:, None] - gallery[None]) ** 2).sum(-1))
    query = query / np.maximum(np.linalg.norm(query, axis=1, keepdims=True), 1e-12)
    gallery = gallery / np.maximum(np.linalg.norm(gallery, axis=1, keepdims=True), 1e-12)
    return np.asarray(query @ gallery.T)


def trapezoid_average_precision(match: Array, score: Array) -> float:
    """scikit-learn 0.18's rule, entries descending: close thresholds merged, trapezoids, cut at full recall."""
    ends = [k for k in range(len(score)) if k == len(score) - 1 or not np.isclose(score[k + 1] - score[k], 0)]
    recall, precision, area = 0.0, 1.0, 0.0
    for end in ends:
        hits = match[: end + 1].sum()
        new_recall, new_precision = hits / match.sum(), hits / (end + 1)
        area += (new_recall - recall) * (new_precision + precision) / 2
        recall, precision = new_recall, new_precision
        if hits == match.sum():
            break
    return float(area)


def evaluate(scores: Array, q_id: Array, g_id: Array, q_cam: Array, g_cam: Array) -> dict[str, Any]:
    """All metrics from a full score matrix."""
    cmc, step, trapezoid, inp = [], [], [], []
    for i, row in enumerate(scores):
        order = np.argsort(-row, kind="stable")
        valid = (g_id[order] != -1) & ~((g_id[order] == q_id[i]) & (g_cam[order] == q_cam[i]))
        order = order[valid]
        match = g_id[order] == q_id[i]
        if not match.any():
            continue
        ranks = np.flatnonzero(match) + 1
        cmc.append([float(ranks[0] <= k) for k in range(1, 51)])
        step.append(np.mean([(n + 1) / rank for n, rank in enumerate(ranks)]))
        trapezoid.append(trapezoid_average_precision(match, row[order]))
        inp.append(len(ranks) / ranks[-1])
    if not cmc:
        return {"valid_queries": 0}
    return {
        "cmc": np.mean(cmc, axis=0),
        "map": np.mean(step),
        "map_trapezoid": np.mean(trapezoid),
        "minp": np.mean(inp),
        "valid_queries": len(cmc),
        "average_precision": np.array(step),
        "first_match": 51 - np.sum(cmc, axis=1),  # 51: none within 50 ranks
    }
