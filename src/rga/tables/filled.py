"""A table with the runs there are in its cells, as `rga.tables.filling` puts them there."""

import shlex
import statistics
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rga.runs.published import unpublished
from rga.tables.against import Against
from rga.tables.conditions import Setting
from rga.tables.recorded import Record
from rga.tables.spec import Column, Row, Table


@dataclass(frozen=True)
class Entry:
    """A row in a column: one config, the seeds that are finished, and those that are missing."""

    overrides: tuple[str, ...]  # for `rga train`, without the seed
    fingerprint: str
    setting: Setting
    comparable: bool
    results: tuple[Mapping[str, Any], ...]
    missing: tuple[int, ...]
    all_seeds: tuple[Mapping[str, Any], ...]  # its results, those of seeds that are not asked for among them
    places: Mapping[str, Any]  # where its data and weights lie, see `rga.runs.inputs.places`

    @property
    def recorded(self) -> frozenset[int]:
        """The seeds whose runs are recorded, and not made here."""
        return frozenset(int(result["seed"]) for result in self.results if "recorded" in result)

    @property
    def hours(self) -> float | None:
        """What a run takes, as the mean of those there are of any seed; None where none of them says."""
        known = [result["duration_s"] for result in self.all_seeds if isinstance(result.get("duration_s"), int | float)]
        return statistics.fmean(known) / 3600 if known else None

    @property
    def command(self) -> str:
        """The command that makes the missing runs."""
        sweep = ["-m"] if len(self.missing) > 1 else []
        seeds = f"seed={','.join(map(str, self.missing))}"
        return shlex.join(["rga", "train", *sweep, *self.overrides, seeds])


@dataclass(frozen=True)
class Cell:
    """One metric of an entry, in percent. `entry` is None where nothing can be run: literature, or no reader yet."""

    column: Column
    metric: str
    paper: float | None
    entry: Entry | None

    @cached_property
    def values(self) -> list[tuple[int, float]]:
        """Seed and metric of every run."""
        key, values = self.column.metrics[self.metric], []
        for result in self.entry.results if self.entry else ():
            value = result["metrics"].get(key)
            if isinstance(value, int | float):
                values.append((int(result["seed"]), 100.0 * value))
            elif self.column.of_the_paper:  # a data set of the user's own choice may have fewer parts to test on
                name = f"{result['fingerprint']}/{result['seed']}"
                warnings.warn(f"run {name} has no metric {key!r}: it is left out", stacklevel=2)
        return values

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def recorded(self) -> int:
        """How many of the runs are recorded, and not made here."""
        return sum(seed in self.entry.recorded for seed, _ in self.values) if self.entry else 0

    @property
    def ours(self) -> float | None:
        return statistics.fmean(value for _, value in self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """The sample's standard deviation over seeds; None below two."""
        return statistics.stdev(value for _, value in self.values) if self.n > 1 else None

    @property
    def delta(self) -> float | None:
        """Ours minus the paper's; None where they are numbers of different things."""
        comparable = self.ours is not None and self.paper is not None and self.entry and self.entry.comparable
        if comparable and any(map(published_otherwise, self.entry.results)):  # type: ignore[union-attr]
            return None
        return self.ours - self.paper if comparable else None  # type: ignore[operator]


def fewer_queries(result: Mapping[str, Any]) -> tuple[int, int] | None:
    """How many queries counted in a run's numbers, and how many there are; None where all did, or none is known."""
    query = (result.get("data") or {}).get("query") or {}
    if "counted" not in query or query["counted"] == query["images"]:
        return None
    return int(query["counted"]), int(query["images"])


def published_otherwise(result: Mapping[str, Any]) -> str:
    """In what a run's data are not those that are published under their name, see `rga.runs.published`."""
    return unpublished(result.get("config") or {}, result.get("data") or {})


def precision_of(result: Mapping[str, Any]) -> str:
    """What a run has computed in; of one that does not say, what its config asked for."""
    return str(result.get("precision") or ((result.get("config") or {}).get("trainer") or {}).get("precision") or "")


@dataclass(frozen=True)
class Line:
    """A row with its cells, in the order of the columns and their metrics."""

    row: Row
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class FilledTable:
    """A table with the runs there are. `overrides` are the user's own, `columns` those that are shown.

    `stale` are runs that were recorded with these overrides and that no row has any more: they count nowhere.
    `against` are the differences to one of the rows, where they are asked for.
    """

    table: Table
    overrides: tuple[str, ...]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    stale: tuple[Record, ...] = ()
    against: Against | None = None

    @property
    def cells(self) -> list[Cell]:
        return [cell for line in self.lines for cell in line.cells]

    @property
    def entries(self) -> list[Entry]:
        """The different entries, in the order of the table."""
        return list({cell.entry.fingerprint: cell.entry for cell in self.cells if cell.entry}.values())

    def missing(self) -> list[tuple[Line, Cell, Entry]]:
        """One cell of every entry that misses runs, each fingerprint once."""
        found: dict[str, tuple[Line, Cell, Entry]] = {}
        for line in self.lines:
            for cell in line.cells:
                if cell.entry and cell.entry.missing:
                    found.setdefault(cell.entry.fingerprint, (line, cell, cell.entry))
        return list(found.values())
