"""The differences of a table's rows to one of them, as `rga.tables.paired` finds them and every format prints them."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rga.errors import ConfigError
from rga.tables.spec import Table

if TYPE_CHECKING:
    from rga.tables.filled import Cell, Line

Place = tuple[str, str, str]  # of a cell: its row, column and metric


@dataclass(frozen=True)
class Difference:
    """A cell minus that of another row, in percent.

    Attributes:
        seeds: that both have.
        low, high: the interval; None of fewer than three seeds.
        queries: how many the interval is over besides the seeds; None where they are not kept.
    """

    value: float
    seeds: tuple[int, ...]
    low: float | None
    high: float | None
    queries: int | None


@dataclass(frozen=True)
class Against:
    """The differences to a row; a cell that has no seed in common with it is absent.

    `better` are the cells that are better than it by more than two pooled standard deviations of the seeds, and whose
    interval excludes 0.
    """

    row: str
    differences: Mapping[Place, Difference]
    better: frozenset[Place]


def place_of(line: "Line", cell: "Cell") -> Place:
    return line.row.name, cell.column.name, cell.metric


def lower_is_better(metric: str) -> bool:
    """Of a metric's name, with or without what it is of before a slash.

    >>> [lower_is_better(name) for name in ("error", "val/top5_error", "pre_bn/map", "train/miou")]
    [True, True, False, False]
    """
    return metric.rpartition("/")[2].endswith(("loss", "error"))


def expect_row(table: Table, row: str) -> None:
    """See that a table has a row of this name of which there can be runs.

    Raises:
        ConfigError: it has none.
    """
    names = list(dict.fromkeys(each.name for each in table.rows if not each.literature))
    if row not in names:
        close = difflib.get_close_matches(row, names, 1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(
            f"{table.label} has no runs of a row {row!r} to compare with{meant}; it has {', '.join(map(repr, names))}"
        )
