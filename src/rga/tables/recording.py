"""Take finished runs out of `runs/` into the repository: `rga record`."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rga
from rga.errors import ConfigError
from rga.paths import CONF, EXPERIMENTS
from rga.runs import RESULT, find_results, fingerprint, without_places
from rga.runs.compose import runs_folder
from rga.runs.folder import deeper
from rga.runs.inputs import InputsError, unlike
from rga.tables.filled import FilledTable
from rga.tables.filling import canonical, fill, override_key
from rga.tables.recorded import Record, read_records, record_of, recorded_settings, write_records
from rga.tables.spec import Table, available, load, tables_and_overrides

METRICS = 4  # of those that differ, so many are named


@dataclass(frozen=True)
class Recorded:
    """What recording one table with one set of overrides did."""

    table: str
    overrides: tuple[str, ...]
    path: Path
    new: tuple[Record, ...]
    changed: tuple[Record, ...]  # were recorded already: from another time, or with --replace with other metrics
    stale: tuple[Record, ...]
    conflicts: tuple[str, ...] = ()  # runs that differ from their records, which stay as they are

    def __str__(self) -> str:
        done = f"{len(self.new)} new, {len(self.changed)} changed in {self.path}"
        stale = f"; stale: {', '.join(record.name for record in self.stale)}" if self.stale else ""
        return f"rga table {' '.join((self.table, *self.overrides))}: {done}{stale}"


def record(words: Sequence[str], replace: bool = False) -> tuple[list[str], list[str]]:
    """Do `rga record [N ...] [OVERRIDES]` and give the lines that it prints, and the conflicts, one line each.

    Without a table: all of them, each as in the paper and in every setting in which it is recorded already.

    Raises:
        ConfigError: no such table or folder of runs, overrides that make no sense, synthetic data, or an
            installed package.
    """
    if EXPERIMENTS.is_relative_to(Path(rga.__file__).parent):
        raise ConfigError("records belong to the sources, and this is an installed package: use a checkout of them")
    tables, overrides = tables_and_overrides(words)
    wanted: list[tuple[Table, tuple[str, ...]]] = []
    if tables:
        wanted += [(load(name), tuple(overrides)) for name in tables]
    elif which := canonical(overrides):
        raise ConfigError(
            f"{' '.join(which)} says which runs to record: of which table? rga record N {' '.join(which)}"
        )
    else:
        for table in map(load, available()):
            settings = sorted({(), *recorded_settings(table)})
            wanted += [(table, (*setting, *overrides)) for setting in settings]
    if not (folder := runs_folder(overrides)).is_dir():
        raise ConfigError(f"there is no folder of runs at {folder.absolute()}: paths.runs=FOLDER names another")
    lines: list[str] = []
    conflicts: list[str] = []
    for table, which in wanted:
        try:
            done = record_table(table, which, replace=replace)
        except InputsError as error:  # of this table nothing is recorded, of the others what there is
            conflicts.append(f"rga table {' '.join((table.name, *which))}: nothing is recorded: {error}")
        except ConfigError as error:
            if tables or which == tuple(overrides):  # what is asked for, and not what is recorded
                raise
            conflicts.append(f"rga table {' '.join((table.name, *which))}: {error}")
        else:
            lines.append(str(done))
            conflicts += done.conflicts
    conflicts += [
        f"{count} finished runs in {lower} are not recorded, as they lie deeper than those of {folder}: "
        f"paths.runs={lower} records them"
        for lower, count in deeper(folder).items()
    ]
    finished = [result for results in find_results(folder).values() for result in results]
    read = {folder / result["fingerprint"] / str(result["seed"]) / RESULT for result in finished}
    conflicts += [
        f"{path} is damaged or no result, so nothing is recorded of it"
        for path in sorted({*folder.glob(f"*/*/{RESULT}")} - read)
    ]
    if left := _left_over(finished):
        lines.append(f"{len(left)} finished runs are recorded nowhere: {', '.join(left)}")
    return lines, list(dict.fromkeys(conflicts))


def record_table(table: Table, overrides: Sequence[str] = (), conf: Path = CONF, *, replace: bool = False) -> Recorded:
    """Put the finished runs that `rga table N OVERRIDES` shows into the table's file of records.

    A run is recorded once: where another table's file has it already (a baseline), it stays there. Made again, or on
    another machine, with the same metrics, the later one is kept. With other metrics it is a conflict, and the record
    stays unless `replace`; made of other data or weights it always stays.

    Raises:
        ConfigError: as `fill`, and for synthetic data, which give no results.
        InputsError: seeds of one row are of different data or weights.
    """
    filled = fill(table, overrides, conf)
    if any(entry.setting.synthetic for entry in filled.entries):
        raise ConfigError("runs on synthetic data are no results: they are not recorded")
    reduced = essential(table, overrides, conf)
    before = {known.run: known for known in read_records(table.results)}
    new, changed, conflicts = [], [], []
    kept = {run: known for run, known in before.items() if known.table == table.name}
    for result in _made_here(filled):
        this = record_of(table.name, reduced, result)
        known = before.get(this.run)
        if known is None:
            new.append(this)
        elif conflict := _conflict(known, this, overrides, replace=replace and known.table == table.name):
            conflicts.append(conflict)
            continue
        elif known.table != table.name or _same(known, this):
            continue
        else:
            changed.append(this)
        kept[this.run] = this
    for this in (*new, *changed):
        if (commit := this.result["commit"]) is None or "-dirty" in commit:
            reason = "its commit is not known" if commit is None else "it was made with changes that were not committed"
            warnings.warn(f"run {this.name} is recorded, but {reason}", stacklevel=2)
    path = write_records(table.name, _sorted(kept.values(), reduced, filled), table.results)
    names = {entry.fingerprint for entry in filled.entries}
    stale = tuple(known for known in kept.values() if known.overrides == reduced and known.run[0] not in names)
    return Recorded(table.name, reduced, path, tuple(new), tuple(changed), stale, tuple(conflicts))


def _conflict(known: Record, this: Record, overrides: Sequence[str], replace: bool) -> str:
    """Why a run does not take the place of its record, and what to do; nothing where it may.

    `overrides` are those with which it was looked for, the folder of runs among them.
    """
    place = known.result.get("recorded")
    if found := unlike(known.result, this.result):
        return (
            f"run {this.name} is recorded already and was made of other inputs then: {'; '.join(found)}. If these take "
            f"the place of the old ones, delete its line ({place}); if not, give them a data.name, or a file name, of "
            "their own"
        )
    mine, theirs = this.result["metrics"], known.result["metrics"]
    other = sorted(name for name in theirs if mine.get(name) != theirs[name])
    lacks_curve = bool(known.result["curve"]) and not this.result["curve"]
    if replace or not (other or lacks_curve):
        return ""
    pairs = [f"{name} {_number(mine.get(name))} instead of {_number(theirs[name])}" for name in other[:METRICS]]
    pairs += [f"{len(other) - METRICS} more"] if len(other) > METRICS else []
    pairs += ["no learning curve"] if lacks_curve else []
    places = [override for override in overrides if override.startswith("paths.")]
    command = " ".join(["rga record", known.table, *known.overrides, *places, "--replace"])
    return (
        f"run {this.name} is recorded already, with other metrics: {', '.join(pairs)}. It was made {_made(this)}; the "
        f"recorded one {_made(known)} ({place}), and that one stays. {command} takes this one instead"
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _made(record: Record) -> str:
    device, commit, time = (record.result[key] or "unknown" for key in ("device", "commit", "finished_at"))
    return f"on {device}, commit {commit}, {time}"


def _same(known: Record, this: Record) -> bool:
    """The same run, or one with the same metrics that finished earlier: it does not matter which is recorded first."""
    if known.line() == this.line():
        return True
    mine, theirs = this.result, known.result
    equal = mine["metrics"] == theirs["metrics"] and bool(mine["curve"]) == bool(theirs["curve"])
    return equal and str(mine["finished_at"] or "") < str(theirs["finished_at"] or "")


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


def _left_over(finished: Sequence[Mapping[str, Any]]) -> list[str]:
    """The finished runs, but those on synthetic data, that no table's records have."""
    runs = {known.run for known in read_records()}
    return [
        f"{result['fingerprint']}/{result['seed']}"
        for result in finished
        if (result["fingerprint"], result["seed"]) not in runs and not _synthetic(result.get("config") or {})
    ]


def _synthetic(config: Mapping[str, Any]) -> bool:
    return (config.get("data") or {}).get("demo") is not None
