"""Torchreid's evaluation, `eval_market1501` of its torchreid/metrics/rank.py, as published: numpy, query by query.

Sort the gallery by distance; remove the entries of the query's identity and camera; the CMC is the running sum of
matches, cut at 1; the average precision is the sum of the precisions at the matches over their number. Queries without
a match are left out of both means.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def eval_market1501(
    distmat: Array, q_pids: Array, g_pids: Array, q_camids: Array, g_camids: Array, max_rank: int = 50
) -> tuple[Array, float, int]:
    """(max_rank,) CMC, mAP, and how many queries counted; the CMC is as long as the gallery where that is shorter."""
    max_rank = min(max_rank, distmat.shape[1])
    all_cmc, all_ap = [], []
    for q in range(distmat.shape[0]):
        order = np.argsort(distmat[q], kind="stable")  # torchreid's own sort leaves the order of ties open
        remove = (g_pids[order] == q_pids[q]) & (g_camids[order] == q_camids[q])
        matches = (g_pids[order][~remove] == q_pids[q]).astype(int)
        if not np.any(matches):
            continue
        cmc = matches.cumsum()
        cmc[cmc > 1] = 1
        all_cmc.append(np.pad(cmc, (0, max(max_rank - len(cmc), 0)), mode="edge")[:max_rank])
        relevant = matches.sum()
        precision = matches.cumsum() / (np.arange(len(matches)) + 1.0)
        all_ap.append((precision * matches).sum() / relevant)
    if not all_ap:
        raise AssertionError("Error: all query identities do not appear in gallery")
    return np.mean(np.asarray(all_cmc, float), axis=0), float(np.mean(all_ap)), len(all_ap)
