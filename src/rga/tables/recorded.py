"""Runs that are recorded in the repository, and the runs of one fingerprint wherever they are. No torch.

`experiments/results/` has a file for each table (`table1.jsonl`, `zoo.jsonl`) with one line for each run: the table and
the overrides with which `rga table` shows it, and its `result.json` without what tells of the machine's folders. A line
that does not fit is named and left out.
"""

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rga.files import write_atomically
from rga.paths import EXPERIMENTS
from rga.runs import fingerprint, results_of, without_places
from rga.runs.folder import check_result
from rga.runs.identity import VERSION
from rga.tables.spec import Table, is_plain_override, name_of, stem_of

RESULTS = EXPERIMENTS / "results"
POINTS = 200  # of a learning curve
GATE_STRIDE = 10  # of those points, which keep the statistics of the gates

_RESULT = (
    "version",
    "fingerprint",
    "seed",
    "metrics",
    "data",
    "inputs",
    "parameters",
    "duration_s",
    "device",
    "commit",
    "finished_at",
    "versions",
    "config",
    "curve",
)
_OPTIONAL = ("precision", "queries")  # runs that were made before these were kept have none


@dataclass(frozen=True)
class Record:
    """A recorded run; `result` has the keys of a `result.json` and `recorded`, the file and the line."""

    table: str
    overrides: tuple[str, ...]  # of `rga table`
    result: Mapping[str, Any]

    @property
    def run(self) -> tuple[str, int]:
        return self.result["fingerprint"], self.result["seed"]

    @property
    def name(self) -> str:
        """The run's folder, FINGERPRINT/SEED."""
        return "{}/{}".format(*self.run)

    def line(self) -> str:
        kept = {key: self.result[key] for key in _RESULT} | _optional(self.result)
        return json.dumps({"table": self.table, "overrides": self.overrides, **kept}, ensure_ascii=False)


def record_of(table: str, overrides: Sequence[str], result: Mapping[str, Any]) -> Record:
    """Make a record from a run's result as it is in `result.json`."""
    kept = {key: result.get(key) for key in _RESULT} | _optional(result)
    kept["config"] = without_places(result["config"])
    kept["curve"] = thinned(result.get("curve") or [])
    return Record(table, tuple(overrides), kept)


def _optional(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: result[key] for key in _OPTIONAL if key in result}


def thinned(curve: Sequence[Mapping[str, float]], points: int = POINTS) -> list[dict[str, float]]:
    """At most `points` entries of a learning curve, the first and the last among them, to six digits."""
    last = len(curve) - 1
    kept = range(len(curve)) if last < points else [round(place * last / (points - 1)) for place in range(points)]
    entries = [dict(curve[index]) for index in kept]
    for place, entry in enumerate(entries):  # a gate has three numbers in each stage: ten times what is there otherwise
        if place % GATE_STRIDE and place != len(entries) - 1 and len(entries) > GATE_STRIDE:
            entries[place] = {key: value for key, value in entry.items() if not key.startswith("gates/")}
    return [{key: float(f"{value:.6g}") for key, value in entry.items() if value is not None} for entry in entries]


def read_records(folder: Path = RESULTS) -> tuple[Record, ...]:
    """Give what is recorded, by file and line; what is damaged, foreign or there twice is left out with a warning."""
    stats = [(path, path.stat()) for path in sorted(folder.glob("*.jsonl"))]
    records, problems = _read(tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats))
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    return records


@lru_cache(maxsize=8)
def _read(files: tuple[tuple[Path, int, int], ...]) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """Within a process the files are read again only when a time or a size has changed."""
    records: dict[tuple[str, int], Record] = {}
    problems = []
    for path, _, _ in files:
        for number, text in enumerate(path.read_bytes().splitlines(), 1):
            place = f"{path}:{number}"
            try:
                record = _parse(text, name_of(path.stem), place)
                if record.run in records:
                    raise ValueError(f"run {record.name} is at {records[record.run].result['recorded']} already")
            except (ValueError, TypeError, AttributeError, RecursionError) as error:  # it may be anybody's
                problems.append(f"{place} is left out: {error}")
            else:
                records[record.run] = record
    return tuple(records.values()), tuple(problems)


def _parse(text: bytes, table: str | None, place: str) -> Record:
    line = json.loads(text)
    if not isinstance(line, dict):
        raise ValueError("it is no record of a run")
    if line.get("version") != VERSION:
        raise ValueError("its name is of an older version: rga record --migrate gives it the present one")
    if missing := [key for key in ("table", "overrides", *_RESULT) if key not in line]:
        raise ValueError(f"it has no {', '.join(missing)}")
    if line["table"] != table:
        raise ValueError(f"it is of table {line['table']}")
    for key, kind in (("overrides", list), ("metrics", dict), ("config", dict), ("curve", list)):
        if not isinstance(line[key], kind):
            raise ValueError(f"its {key} is no {kind.__name__}")
    check_result(line)
    if refused := [override for override in line["overrides"] if not is_plain_override(override)]:
        raise ValueError(f"{refused[0]!r} is no override of a table")
    if fingerprint(line["config"]) != line["fingerprint"] or line["config"].get("seed") != line["seed"]:
        raise ValueError("its fingerprint or seed does not fit its config")
    kept = {key: line[key] for key in _RESULT} | _optional(line)
    return Record(line["table"], tuple(line["overrides"]), {**kept, "recorded": place})


def recorded_settings(table: Table) -> list[tuple[str, ...]]:
    """The overrides with which runs of a table are recorded, sorted."""
    return sorted({record.overrides for record in read_records(table.results) if record.table == table.name})


def write_records(table: str, records: Iterable[Record], folder: Path = RESULTS) -> Path:
    """Write a table's records, all of them or nothing; a file that says the same already is not touched."""
    path = folder / f"{stem_of(table)}.jsonl"
    text = "".join(f"{record.line()}\n" for record in records)
    if text != (path.read_text(encoding="utf-8") if path.exists() else ""):
        write_atomically(path, text)
    return path


def results(root: str | Path | None, name: str, folder: Path | None = RESULTS) -> list[dict[str, Any]]:
    """Give the finished runs of a fingerprint, those under `root` (`paths.runs`) and those recorded, sorted by seed.

    A run that is in both places counts once, as it is under `root`: what was made here is nearer to the sources that
    are here. Recorded ones have a key `recorded`, the file and the line.
    """
    local = results_of(root, name) if root is not None else []
    made_here = {result["seed"] for result in local}
    found = [record.result for record in (read_records(folder) if folder else ()) if record.run[0] == name]
    joined = [*local, *(dict(result) for result in found if result["seed"] not in made_here)]
    return sorted(joined, key=lambda result: int(result["seed"]))
