"""The places of a query's true matches among its gallery scores, found by counting instead of sorting.

Every retrieval figure of a query (CMC, both average precisions, mINP) depends only on where its few true matches
stand. The place of a match is the number of entries with a higher score: one comparison of the row with each match,
in cache and vectorised, which is many times cheaper than sorting tens of thousands of entries.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Scores this close are one threshold of the precision-recall curve: scikit-learn 0.18 drops a threshold where
# numpy.isclose(difference to the next score, 0) holds, whose absolute tolerance is 1e-8.
CLOSE = 1e-8

_BLOCK = 2**20  # comparisons at a time: the buffer (4 MiB in float32) stays in the processor's cache
_WINDOW = 64 * CLOSE  # how far around a match its ties are looked for, before the whole row is sorted
_MANY = 32  # a row with more tied matches than this is sorted at once


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
    targets = scores[rows, columns]
    # Rounding is monotone, so every score within CLOSE of a target lies in [low, high]: a match that is alone there has
    # no ties, and its place is the number of scores above `high`. The other matches are looked at one row at a time.
    high, low = targets + 2 * CLOSE, targets - 2 * CLOSE
    below_low = torch.nextafter(low, low.new_tensor(-math.inf))  # so that "greater" means "at least `low`"
    bounds = torch.stack((high, below_low), dim=1).view(-1, 1)  # (2M, 1)
    counts = torch.zeros(2 * len(rows), dtype=torch.long, device=scores.device)
    buffer = scores.new_empty(_BLOCK)

    stop = 0
    for row, size in zip(scores, (2 * torch.bincount(rows, minlength=len(scores))).tolist(), strict=True):
        start, stop = stop, stop + size
        for part in row.split(max(_BLOCK // size, 1)) if size else ():
            if buffer.numel() < size * len(part):
                buffer = scores.new_empty(size * len(part))
            greater = buffer[: size * len(part)].view(size, len(part))
            # Written as 0. and 1. of the scores' own type, both steps are vectorised; the sums are small, so exact.
            torch.gt(part, bounds[start:stop], out=greater)
            counts[start:stop] += greater.sum(1).long()

    above, at_least = counts.view(-1, 2).unbind(1)
    rank, begin, end = above.clone(), above.clone(), above + 1
    tied = at_least - above > 1
    matches_tied = tied.nonzero()[:, 0]
    rows_tied, sizes = rows[matches_tied].unique_consecutive(return_counts=True)
    for index, which in zip(rows_tied.tolist(), matches_tied.split(sizes.tolist()), strict=True):
        rank[which], begin[which], end[which] = _resolve(scores[index], columns[which], above[which], high[which])
    return Places(rank, begin, end)


def _resolve(scores: Tensor, columns: Tensor, above: Tensor, high: Tensor) -> Places:
    """The places of matches with ties in one row: sorts what lies near them, the whole row only where it must.

    Args:
        scores: (N,) one row.
        columns: (F,) the matches, ascending.
        above: (F,) how many scores are greater than `high`, which is a little more than the match's own score.
    """
    targets = scores[columns]
    for reach in (_WINDOW, math.inf) if len(columns) <= _MANY else (math.inf,):
        if reach < math.inf:
            near = ((scores - targets[:, None]).abs() <= reach).any(0).nonzero()[:, 0]
        else:
            near = torch.arange(len(scores), device=scores.device)
        values, order = scores[near].sort(descending=True, stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        place = place[torch.searchsorted(near, columns)]
        # Thresholds: neighbours in sorted order that are CLOSE share one, so a chain of them does.
        threshold = torch.zeros_like(order)
        threshold[1:] = (values[:-1] - values[1:] > CLOSE).cumsum(0)
        start = torch.searchsorted(threshold, threshold[place])
        end = torch.searchsorted(threshold, threshold[place], right=True)
        inside = reach - 2 * CLOSE  # a chain that ends inside the window cannot go on outside it
        if bool(((values[start] - targets <= inside) & (targets - values[end - 1] <= inside)).all()):
            break
    # How many entries stand before the near ones that stand before the match.
    outside = above - (len(values) - torch.searchsorted(values.flip(0), high, right=True))
    return Places(outside + place, outside + start, outside + end)
