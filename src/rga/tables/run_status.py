"""What every run is doing: finished, running, interrupted, failed, stale or not begun. `rga status`. No torch."""

import io
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from rga.files import LAST
from rga.printing import duration
from rga.runs import RESULT, fingerprint, is_locked, read_result
from rga.runs.folder import deeper
from rga.runs.state import State, read_state
from rga.tables.run_plan import Plan

_STATES = ("running", "failed", "interrupted", "not begun", "stale", "finished")


@dataclass(frozen=True)
class Status:
    """A run and what it is doing.

    `state` is one of: finished; running (a process holds the folder); failed (a session ended with an error);
    interrupted (it was ended, and resumes); not begun; stale (its name is none of its config's any more, or it is not
    finished and has cells that the plan has with other configs).
    """

    run: str  # FINGERPRINT/SEED
    cells: tuple[str, ...]
    state: str
    number: int | None = None  # in the plan
    epoch: int | None = None
    epochs: int | None = None
    checkpoint_minutes: float | None = None  # since the last checkpoint
    seconds_per_epoch: float | None = None
    hours_left: float | None = None
    host: str | None = None
    error: str | None = None


def statuses(root: str | Path, plan: Plan | None = None) -> list[Status]:
    """The runs of a plan and, below `root`, the others of the same cells; without a plan, all below `root`."""
    root = Path(root)
    for lower, count in deeper(root).items():
        warnings.warn(f"{count} finished runs in {lower} are not shown: --runs {lower} shows them", stacklevel=2)
    here = sorted(
        {path.parent for name in (RESULT, "state.json", LAST, "console.log") for path in root.glob(f"*/*/{name}")}
    )
    names = {f"{folder.parent.name}/{folder.name}": folder for folder in here}
    if plan is None:
        return [_status(name, folder, ()) for name, folder in names.items()]
    found = [_status(run.name, root / run.name, run.cells, run.number) for run in plan.runs]
    planned = {run.name.partition("/")[0] for run in plan.runs}  # whose other seeds are as sound
    cells = {cell for run in plan.runs for cell in run.cells}
    for name, folder in names.items():
        if name.partition("/")[0] not in planned and cells & {*(other := _status(name, folder, ())).cells}:
            if other.state in ("stale", "running"):
                found.append(other)
            elif other.state != "finished":  # what is finished is a run of another setting of the table
                found.append(replace(other, state="stale"))
    return found


def as_json(found: Sequence[Status]) -> str:
    return json.dumps([asdict(status) for status in found], indent=1, ensure_ascii=False)


def as_text(found: Sequence[Status]) -> str:
    """A line for each run that is not finished, those that run first, and how many there are of each state."""
    table = RichTable(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for heading, left in (
        ("", False),
        ("run", True),
        ("state", True),
        ("epoch", False),
        ("left", False),
        ("saved", False),
        ("", True),
    ):
        table.add_column(Text(heading), justify="left" if left else "right", no_wrap=True)
    shown = [status for status in found if status.state != "finished"]
    for status in sorted(shown, key=lambda status: _STATES.index(status.state)):
        table.add_row(*map(Text, _line(status)))
    console = Console(file=io.StringIO(), width=1000, color_system=None)
    if shown:
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    body = [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]
    counts = ((sum(status.state == state for status in found), state) for state in _STATES)
    total = ", ".join(f"{count} {state}" for count, state in counts if count)
    return "\n".join([*body, *([""] if body else []), f"{len(found)} runs: {total}" if found else "no runs"])


def _line(status: Status) -> tuple[str, ...]:
    number = str(status.number) if status.number is not None else ""
    epochs = f"{status.epoch}/{status.epochs}" if status.epoch is not None else ""
    left = duration(3600 * status.hours_left) if status.hours_left is not None else ""
    saved = f"{status.checkpoint_minutes:.0f} min ago" if status.checkpoint_minutes is not None else ""
    about = "; ".join(status.cells[:1]) + (f" and {len(status.cells) - 1} more" if len(status.cells) > 1 else "")
    where = f" on {status.host}" if status.state == "running" and status.host else ""
    remark = " | ".join(part for part in (about, status.error or "") if part)
    return number, status.run, status.state + where, epochs, left, saved, remark


def _status(name: str, folder: Path, cells: Iterable[str], number: int | None = None) -> Status:
    result, state = read_result(folder / RESULT), read_state(folder)
    cells = tuple(cells) or _cells(result, state)
    if result is None and (folder / RESULT).exists():
        return Status(
            name, cells, "failed", number, error=f"its {RESULT} is damaged: rga train ... rerun=true repeats it"
        )
    if result is not None:
        fits = fingerprint(result.get("config") or {}) == result["fingerprint"]
        return Status(name, cells, "finished" if fits else "stale", number)
    saved = _minutes_since(folder / LAST)
    if state is None:
        running = folder.is_dir() and is_locked(folder)
        begun = running or saved is not None
        return Status(
            name,
            cells,
            "running" if running else "interrupted" if begun else "not begun",
            number,
            checkpoint_minutes=saved,
        )
    kind = "running" if is_locked(folder) else "failed" if state.error else "interrupted"
    pace, epoch, error = state.seconds_per_epoch, state.epoch, state.error if kind == "failed" else None
    if kind != "running":  # it is resumed from what is saved
        if epoch and saved is None:  # copied without it, or not saved yet
            error = "; ".join(filter(None, (error, f"there is no {LAST}, so that it begins anew at epoch 0")))
        epoch = 0 if saved is None else epoch if state.saved is None else state.saved
    left = None if pace is None else round((state.epochs - epoch) * pace / 3600, 3)
    return Status(name, cells, kind, number, epoch, state.epochs, saved, pace, left, state.host or None, error)


def _cells(result: Mapping[str, Any] | None, state: State | None) -> tuple[str, ...]:
    if result is not None:
        return tuple(map(str, result.get("cells") or ()))
    return state.cells if state is not None else ()


def _minutes_since(path: Path) -> float | None:
    try:
        return round((datetime.now(UTC).timestamp() - path.stat().st_mtime) / 60, 1)
    except OSError:
        return None
