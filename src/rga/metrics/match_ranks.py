"""The places of a query's true matches among its gallery scores, found by counting instead of sorting.

Every retrieval metric of a query (CMC, both average precisions, mINP) depends only on where its few true matches
stand. So a row of scores is not sorted: each score falls into one of thousands of narrow bins, and the place of a match
is the number of scores in the bins above it, and its place among the few scores around it, which are sorted. That is a
handful of passes over a row that stays in the cache, whatever the number of matches.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

# Scores this close are one threshold of the precision-recall curve: scikit-learn 0.18 drops a threshold where
# numpy.isclose(difference to the next score, 0) holds, whose absolute tolerance is 1e-8.
CLOSE = 1e-8

_BINS = 2**13
_MARGIN = 2  # bins below a row's lowest match, and above its highest: what lies far from them is only counted
_REACH = 32 * CLOSE  # how far around a match its ties are looked for, before the whole row is sorted
_BLOCK, _BLOCK_GPU = 2**19, 2**22  # scores at a time; on a processor, what is made of them stays in its cache


class Places(NamedTuple):
    """For each of M matches, counts of gallery entries, int64 of shape (M,)."""

    rank: Tensor  # that come before it: 0 is the best; entries of equal score count in the order of the gallery
    start: Tensor  # before the first entry of its threshold (see CLOSE)
    end: Tensor  # up to and with the last entry of its threshold


def find_places(scores: Tensor, rows: Tensor, columns: Tensor) -> Places:
    """The places of the entries `(rows[i], columns[i])` within their rows, highest score first.

    Args:
        scores: (Q, N) floating point; -inf for entries that do not take part.
        rows, columns: (M,) int64, `rows` ascending; the entries named here are finite.
    """
    block = _BLOCK if scores.device.type == "cpu" else _BLOCK_GPU
    size = max(block // max(scores.shape[1], _BINS), 1)  # rows at a time
    starts = range(0, len(scores) + size, size)
    edges = torch.searchsorted(rows.contiguous(), torch.tensor(starts, device=rows.device)).tolist()
    parts = [
        _places(part, rows[first:last] - start, columns[first:last])
        for start, part, (first, last) in zip(starts, scores.split(size), pairwise(edges), strict=False)
        if last > first
    ]
    return Places(*map(torch.cat, zip(*parts, strict=True))) if parts else Places(rows, rows, rows)


def _places(scores: Tensor, rows: Tensor, columns: Tensor) -> Places:
    """`find_places` for a few rows, of which every one has a histogram."""
    targets = scores[rows, columns]
    lowest, highest = (
        scores.new_zeros(len(scores)).scatter_reduce(0, rows, targets, reduce, include_self=False)
        for reduce in ("amin", "amax")
    )
    width = ((highest - lowest) / (_BINS - 2 * _MARGIN - 1)).clamp(min=2 * _REACH)
    offset = torch.arange(_MARGIN, len(scores) * _BINS, _BINS, dtype=torch.int32, device=scores.device)  # by row

    def bins(values: Tensor, lowest: Tensor, width: Tensor, offset: Tensor) -> Tensor:
        """Each step is monotone also when it is rounded, so a higher bin of a row means a higher score."""
        return values.sub(lowest).div_(width).clamp_(-_MARGIN, _BINS - _MARGIN - 1).int().add_(offset)

    bin_of = bins(scores, lowest[:, None], width[:, None], offset[:, None]).view(-1)
    count = torch.bincount(bin_of, minlength=len(scores) * _BINS)
    around = torch.zeros_like(count, dtype=torch.bool)
    of_match = lowest[rows], width[rows], offset[rows]
    for beside in (-_REACH, 0, _REACH):
        around[bins(targets + beside, *of_match).long()] = True
    near = around.index_select(0, bin_of).nonzero()[:, 0]  # (K,) the entries around matches, ascending
    # The entries above a match, but for those around any match: these are sorted.
    above = count.masked_fill_(around, 0).view(-1, _BINS).flip(1).cumsum(1).flip(1).view(-1)
    above = above[bins(targets, *of_match).long()]

    gallery = scores.shape[1]
    matches = torch.searchsorted(near, rows * gallery + columns)
    values = scores.reshape(-1)[near]
    places, reach = _sort(values, near.div(gallery, rounding_mode="floor"), matches)
    rank, start, end = (above + place for place in places)
    # A chain of close scores that ends well within _REACH of its match has no more links among those not sorted.
    for row in rows[reach > _REACH / 2].unique().tolist():
        here = rows == row
        whole, _ = _sort(scores[row], columns.new_zeros(gallery), columns[here])
        rank[here], start[here], end[here] = whole
    return Places(rank, start, end)


def _sort(values: Tensor, rows: Tensor, matches: Tensor) -> tuple[Places, Tensor]:
    """The places of some entries among those of their row, by sorting; and how far from them their thresholds reach.

    Args:
        values, rows: (K,) scores in the order of the gallery, and the row of each, ascending.
        matches: (M,) int64, entries by their position in `values`.
    """
    order = values.argsort(descending=True, stable=True)
    order = order[rows[order].argsort(stable=True)]
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    first = torch.searchsorted(rows, rows[matches])  # of the row
    values_sorted = values[order]
    # Neighbours in sorted order that are CLOSE share a threshold, so a chain of them does.
    threshold = torch.zeros_like(order)
    threshold[1:] = ((values_sorted[:-1] - values_sorted[1:] > CLOSE) | (rows[1:] > rows[:-1])).cumsum(0)
    mine = threshold[place[matches]]
    start, end = torch.searchsorted(threshold, mine), torch.searchsorted(threshold, mine, right=True)
    reach = torch.maximum(values_sorted[start] - values[matches], values[matches] - values_sorted[end - 1])
    return Places(place[matches] - first, start - first, end - first), reach
