"""Compare rows of a table over equal seeds and equal queries: `rga table N --against ROW`.

The difference of two rows is the mean over the seeds that both have. Its 95 % interval takes seeds and queries as
samples of more of their kind (two crossed random effects: Searle, Casella and McCulloch, "Variance Components", 1992,
ch. 4), with Student's t of as many degrees of freedom as Satterthwaite's rule gives. The variance is taken as no
smaller than what the seeds or the queries alone give, as the estimate of a component may be negative by chance. Where
no queries are kept the interval is the paired t interval of the seeds. Queries of one person count as independent.

Fewer than three seeds have no interval: the queries of one seed do not say what another seed gives, and Student's t of
two is 12.7 standard errors. A percentile bootstrap over so few is no choice either: it covers far less than it says.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rga.runs.queries import per_query
from rga.tables.against import Against, Difference, expect_row, lower_is_better, place_of
from rga.tables.filled import Cell, FilledTable

COVERAGE = 0.95
SEEDS = 3  # at least, for an interval


def compare(filled: FilledTable, row: str) -> Against:
    """Compare every other row of a table with this one.

    Raises:
        ConfigError: as `expect_row`.
    """
    expect_row(filled.table, row)
    base = next(line for line in filled.lines if line.row.name == row)
    found, better = {}, set()
    for line in filled.lines:
        for cell, other in zip(line.cells, base.cells, strict=True):
            place = place_of(line, cell)
            if line is not base and (difference := _difference(cell, other)) is not None:
                found[place] = difference
                if _clearly_better(cell, other) and _excludes_zero(difference, cell):
                    better.add(place)
    return Against(row, found, frozenset(better))


def against_baseline(filled: FilledTable) -> FilledTable:
    """A table with the differences to its baseline, if it names one and there is an interval to show."""
    if filled.table.baseline is None:
        return filled
    against = compare(filled, filled.table.baseline)
    known = any(difference.low is not None for difference in against.differences.values())
    return replace(filled, against=against) if known else filled


def _clearly_better(cell: Cell, base: Cell) -> bool:
    """Better by more than two pooled standard deviations of the seeds, of which both have at least two."""
    if cell.ours is None or base.ours is None or cell.std is None or base.std is None:
        return False
    freedom = cell.n + base.n - 2
    pooled = math.sqrt(((cell.n - 1) * cell.std**2 + (base.n - 1) * base.std**2) / freedom)
    gain = cell.ours - base.ours
    if lower_is_better(cell.column.metrics[cell.metric]):
        gain = -gain
    return gain > 2 * pooled


def _excludes_zero(difference: Difference, cell: Cell) -> bool:
    """Whether the interval lies on the better side; seeds that only one of the rows has are not in it."""
    if difference.low is None or difference.high is None:
        return False
    return difference.high < 0 if lower_is_better(cell.column.metrics[cell.metric]) else difference.low > 0


def _difference(cell: Cell, base: Cell) -> Difference | None:
    mine, theirs = dict(cell.values), dict(base.values)
    seeds = tuple(sorted(mine.keys() & theirs.keys()))
    if not seeds:
        return None
    by_seed = np.array([mine[seed] - theirs[seed] for seed in seeds])
    by_query = _by_query(cell, base, seeds)
    value, queries = float(by_seed.mean()), None if by_query is None else by_query.shape[1]
    half = half_width(by_seed[:, None] if by_query is None else by_query)
    if half is None:
        return Difference(value, seeds, None, None, None)
    return Difference(value, seeds, value - half, value + half, queries)


def _by_query(cell: Cell, base: Cell, seeds: Sequence[int]) -> NDArray[np.float64] | None:
    """(S, Q): the differences of each query, in percent; None where not all runs keep the same queries."""
    rows = []
    for seed in seeds:
        mine, theirs = (per_query(_result(each, seed), each.column.metrics[each.metric]) for each in (cell, base))
        if mine is None or theirs is None or len(mine) != len(theirs):
            return None
        rows.append(100 * (np.array(mine) - np.array(theirs)))
    return np.stack(rows) if len({len(row) for row in rows}) == 1 else None


def _result(cell: Cell, seed: int) -> Mapping[str, Any]:
    assert cell.entry is not None
    return next(result for result in cell.entry.results if int(result["seed"]) == seed)


def half_width(differences: NDArray[np.float64]) -> float | None:
    """Half of the interval of a mean over (S, Q) seeds and queries, or (S, 1) seeds; none of fewer than three seeds.

    Examples:
        >>> round(half_width(np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])), 2)
        2.27
    """
    seeds, queries = differences.shape
    if seeds < SEEDS:
        return None
    if queries == 1:
        return _half(differences.var(ddof=1) / seeds, seeds - 1)
    by_query = differences.mean(0).var(ddof=1) * seeds  # the mean squares of the two-way layout
    by_seed = differences.mean(1).var(ddof=1) * queries
    rest = differences - differences.mean(0) - differences.mean(1, keepdims=True) + differences.mean()
    residual = (rest**2).sum() / ((seeds - 1) * (queries - 1))
    squares = max(by_seed + by_query - residual, by_seed, by_query)
    if squares == 0:
        return 0.0
    freedom = squares**2 / (
        by_seed**2 / (seeds - 1) + by_query**2 / (queries - 1) + residual**2 / ((seeds - 1) * (queries - 1))
    )
    return _half(squares / (seeds * queries), max(freedom, 1.0))


def _half(variance: float, freedom: float) -> float:
    return float(stats.t.ppf((1 + COVERAGE) / 2, freedom) * math.sqrt(variance))
