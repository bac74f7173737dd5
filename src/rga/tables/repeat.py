"""Make a recorded run again and compare it with its record: `rga repeat FINGERPRINT/SEED`. No torch of its own."""

import difflib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rga.errors import ConfigError
from rga.paths import CONF, EXPERIMENTS
from rga.runs import results_of
from rga.runs.compose import runs_folder
from rga.runs.inputs import unlike
from rga.tables.filling import fill, override_key
from rga.tables.recorded import Record, read_records
from rga.tables.run_plan import runnable_cells
from rga.tables.spec import load

FOLDER = "repeated"  # of the runs, where `paths.runs` is not given: those in runs/ may be the recorded ones themselves
ROUNDING = ("channels_last", "compile")  # of the trainer: they name no run, and round differently
# Of a result: where these are equal, the metrics are wanted bit for bit.
SAME = ("device", "precision", "versions", "commit")


@dataclass(frozen=True)
class Repetition:
    """A recorded run, and how to make it again."""

    record: Record
    label: str  # of the cell
    overrides: tuple[str, ...]  # for `rga train`
    runs: Path

    @property
    def command(self) -> str:
        return shlex.join(["rga", "train", *self.overrides])

    def result(self) -> dict[str, Any] | None:
        """What was made; None where it is not finished."""
        name, seed = self.record.run
        return next((result for result in results_of(self.runs, name) if result["seed"] == seed), None)


def repetition(
    name: str, overrides: Sequence[str] = (), conf: Path = CONF, experiments: Path = EXPERIMENTS
) -> Repetition:
    """Find out how a recorded run is made: by the overrides of its row, and with its options that round differently.

    Args:
        name: FINGERPRINT/SEED, as RESULTS.md has them.
        overrides: where the data, the weights and the runs are on this machine, and how it is to run.

    Raises:
        ConfigError: no such run is recorded, its row has another config by now, or the overrides give it one, or the
            folder of the recorded run itself.
    """
    record = _record(name, read_records(experiments / "results"))
    seed = record.result["seed"]
    own = list(overrides)
    if not any(override_key(override) == "paths.runs" for override in own):
        own.append(f"paths.runs={FOLDER}")
    filled = fill(load(record.table, experiments), (*record.overrides, *own, f"seed={seed}"), conf, counted="here")
    cells = {entry.fingerprint: (label, entry) for label, entry in runnable_cells(filled)}
    if record.run[0] not in cells:
        raise ConfigError(
            f"run {record.name} is recorded for {filled.table.label} ({' '.join(record.overrides) or 'no overrides'}), "
            "but no row of it has that name: the table was changed, or the overrides make other runs"
        )
    label, entry = cells[record.run[0]]
    trainer = record.result["config"].get("trainer") or {}
    given = {override_key(override) for override in own}
    rounding = [
        f"trainer.{option}={str(trainer[option]).lower()}"
        for option in ROUNDING
        if option in trainer and f"trainer.{option}" not in given
    ]
    again = [] if "rerun" in given else ["rerun=true"]  # what an earlier call made says nothing of today's code
    repeated = Repetition(record, label, (*entry.overrides, *rounding, *again, f"seed={seed}"), runs_folder(own))
    if (made := repeated.result()) and made.get("finished_at") == record.result["finished_at"] is not None:
        raise ConfigError(
            f"{repeated.runs / record.name} is the recorded run itself: paths.runs=FOLDER names another folder"
        )
    if made and "rerun" not in given and "paths.runs" in given:
        raise ConfigError(
            f"{repeated.runs / record.name} is there already: rerun=true makes it anew, paths.runs=FOLDER another one"
        )
    return repeated


def compare(repeated: Repetition) -> tuple[list[str], bool]:
    """Compare the run that was made with its record: what to say, and whether all metrics are the same, bit for bit.

    Raises:
        ConfigError: it is not finished, or was made of other data or weights.
    """
    record = repeated.record
    result = repeated.result()
    if result is None:
        raise ConfigError(f"run {record.name} has no result in {repeated.runs}")
    if found := unlike(record.result, result):
        raise ConfigError(f"run {record.name} was made of other inputs than its record: {'; '.join(found)}")
    theirs, mine = record.result["metrics"], result["metrics"]
    other = [metric for metric in {**theirs, **mine} if theirs.get(metric) != mine.get(metric)]
    lines = [f"{record.name} ({repeated.label})"]
    if not other:
        return [*lines, f"the same {len(theirs)} metrics as its record, bit for bit"], True
    lines.append(f"{len(other)} of {len(theirs)} metrics differ from its record:")
    lines += [
        f"  {metric}: {_number(theirs.get(metric))} recorded, {_number(mine.get(metric))} here" for metric in other
    ]
    unequal = [
        f"{key}: {_text(record.result.get(key))} recorded, {_text(result.get(key))} here"
        for key in SAME
        if record.result.get(key) != result.get(key)
    ]
    if unequal:
        lines.append(
            "another processor or version rounds differently, so that trainings drift apart by as much as seeds do; "
            "another commit may compute something else:"
        )
        lines += [f"  {line}" for line in unequal]
    return lines, False


def _record(name: str, records: Iterable[Record]) -> Record:
    known = {record.name: record for record in records}
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, 3)
    hint = f"; there are {', '.join(close)}" if close else ""
    raise ConfigError(f"no run {name} is recorded{hint}: RESULTS.md has the names, FINGERPRINT/SEED")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6f}"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key} {entry}" for key, entry in value.items())
    return str(value)
