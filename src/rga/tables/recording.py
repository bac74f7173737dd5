"""Take finished runs out of `runs/` into the repository: `rga record`."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rga
from rga.errors import ConfigError
from rga.paths import CONF, EXPERIMENTS
from rga.runs import find_results, fingerprint, without_places
from rga.runs.compose import runs_folder
from rga.runs.inputs import InputsError, unlike
from rga.tables.filled import FilledTable, canonical, fill, override_key
from rga.tables.recorded import Record, read_records, record_of, recorded_settings, write_records
from rga.tables.spec import Table, available, load, tables_and_overrides


@dataclass(frozen=True)
class Recorded:
    """What recording one table with one set of overrides did."""

    table: str
    overrides: tuple[str, ...]
    path: Path
    new: tuple[Record, ...]
    changed: tuple[Record, ...]  # were recorded with other numbers, from another time or machine
    stale: tuple[Record, ...]

    def __str__(self) -> str:
        done = f"{len(self.new)} new, {len(self.changed)} changed in {self.path}"
        stale = f"; stale: {', '.join(record.name for record in self.stale)}" if self.stale else ""
        return f"rga table {' '.join((self.table, *self.overrides))}: {done}{stale}"


def record(words: Sequence[str]) -> list[str]:
    """Do `rga record [N ...] [OVERRIDES]` and give the lines that it prints.

    Without a table: all of them, each as in the paper and in every setting in which it is recorded already.

    Raises:
        ConfigError: no such table, overrides that make no sense, synthetic data, or an installed package.
    """
    if EXPERIMENTS.is_relative_to(Path(rga.__file__).parent):
        raise ConfigError("records belong to the sources, and this is an installed package: use a checkout of them")
    tables, overrides = tables_and_overrides(words)
    lines = []
    if tables:
        lines += [str(record_table(load(name), overrides)) for name in tables]
    elif which := canonical(overrides):
        raise ConfigError(
            f"{' '.join(which)} says which runs to record: of which table? rga record N {' '.join(which)}"
        )
    else:
        for table in map(load, available()):
            settings = sorted({(), *recorded_settings(table)})
            lines += [str(record_table(table, (*setting, *overrides))) for setting in settings]
    if left := _left_over(runs_folder(overrides)):
        lines.append(f"{len(left)} finished runs are recorded nowhere: {', '.join(left)}")
    return lines


def record_table(table: Table, overrides: Sequence[str] = (), conf: Path = CONF) -> Recorded:
    """Put the finished runs that `rga table N OVERRIDES` shows into the table's file of records.

    A run is recorded once: where another table's file has it already (a baseline), it stays there. One that was made
    again replaces its record.

    Raises:
        ConfigError: as `fill`, and for synthetic data, which give no results.
        InputsError: a run that is recorded was made again, of other data or weights.
    """
    filled = fill(table, overrides, conf)
    if any(entry.setting.synthetic for entry in filled.entries):
        raise ConfigError("runs on synthetic data are no results: they are not recorded")
    reduced = essential(table, overrides, conf)
    before = {known.run: known for known in read_records(table.results)}
    new, changed, kept = [], [], {run: known for run, known in before.items() if known.table == table.name}
    for result in _made_here(filled):
        this = record_of(table.name, reduced, result)
        if this.run in before and before[this.run].table != table.name:
            continue
        if this.run not in kept:
            new.append(this)
        elif kept[this.run].line() != this.line():
            _expect_same_inputs(kept[this.run], this, table)
            changed.append(this)
        kept[this.run] = this
    for this in (*new, *changed):
        if (commit := this.result["commit"]) is None or commit.endswith("-dirty"):
            reason = "its commit is not known" if commit is None else "it was made with changes that were not committed"
            warnings.warn(f"run {this.name} is recorded, but {reason}", stacklevel=2)
    path = write_records(table.name, _sorted(kept.values(), reduced, filled), table.results)
    names = {entry.fingerprint for entry in filled.entries}
    stale = tuple(known for known in kept.values() if known.overrides == reduced and known.run[0] not in names)
    return Recorded(table.name, reduced, path, tuple(new), tuple(changed), stale)


def _expect_same_inputs(before: Record, this: Record, table: Table) -> None:
    """A run that was made again replaces its record, but not one of other data or other weights."""
    if found := unlike(before.result, this.result):
        raise InputsError(
            f"run {this.name} is recorded already and was made of other inputs then: {'; '.join(found)}. If these take "
            f"the place of the old ones, delete its line ({before.result.get('recorded', table.results)}); if not, "
            "give them a data.name, or a file name, of their own"
        )


def essential(table: Table, overrides: Sequence[str], conf: Path = CONF) -> tuple[str, ...]:
    """The overrides without which a table would show other runs, in one order and without this machine's folders."""
    kept = list(canonical(overrides))
    for override in tuple(kept):
        fewer = [other for other in kept if other is not override]
        try:
            if _names(table, kept, conf) <= _names(table, fewer, conf):
                kept = fewer
        except ConfigError:
            pass  # another override needs this one
    return tuple(map(_without_folder, kept))


def _names(table: Table, overrides: Sequence[str], conf: Path) -> set[str]:
    return {entry.fingerprint for entry in fill(table, overrides, conf, counted="recorded").entries}


def _without_folder(override: str) -> str:
    key, equals, value = override.partition("=")
    if override_key(override) != "backbone.weights":
        return override
    return f"{key}{equals}{without_places({'backbone': {'weights': value}})['backbone']['weights']}"


def _made_here(filled: FilledTable) -> list[Mapping[str, Any]]:
    found = [result for entry in filled.entries for result in entry.results if "recorded" not in result]
    good = []
    for result in found:
        if fingerprint(result.get("config") or {}) == result["fingerprint"]:
            good.append(result)
        else:
            name = f"{result['fingerprint']}/{result['seed']}"
            warnings.warn(f"run {name} is not recorded: its fingerprint does not fit its config", stacklevel=3)
    return good


def _sorted(records: Iterable[Record], reduced: tuple[str, ...], filled: FilledTable) -> list[Record]:
    """By overrides, row and column, seed; what is stale comes last. Those of other overrides keep their order."""
    places = {entry.fingerprint: place for place, entry in enumerate(filled.entries)}

    def key(numbered: tuple[int, Record]) -> tuple[tuple[str, ...], int, str, int]:
        number, this = numbered
        if this.overrides != reduced:
            return this.overrides, number, "", 0
        return this.overrides, places.get(this.run[0], len(places)), *this.run

    return [this for _, this in sorted(enumerate(records), key=key)]


def _left_over(folder: Path) -> list[str]:
    """The finished runs, but those on synthetic data, that no table's records have."""
    runs = {known.run for known in read_records()}
    found = [result for results in find_results(folder).values() for result in results]
    return [
        f"{result['fingerprint']}/{result['seed']}"
        for result in found
        if (result["fingerprint"], result["seed"]) not in runs and not _synthetic(result.get("config") or {})
    ]


def _synthetic(config: Mapping[str, Any]) -> bool:
    return (config.get("data") or {}).get("demo") is not None
