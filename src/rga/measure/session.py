"""Do the steps in their order as far as the time goes, each in a process of its own, and record each as it ends.

`OUT/measure.jsonl` gets a line for each step: what was done, the command that repeats it, commit, device, versions,
time and what was found. A step that has a line of the same commit and device is not done again; one that failed is.
Trainings are ordinary runs in `OUT/runs`: one that the time did not suffice for is resumed by the next call. All that
their lines say is their results', so a line that a killed session did not get to is written by the next one.
"""

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rga.errors import ConfigError
from rga.measure.steps import Step, measured, trainings
from rga.runs import RESULT, locked, read_result
from rga.runs.state import read_state
from rga.tables.run_plan import Planned
from rga.training.provenance import provenance
from rga.training.signals import stopping

LINES, LOG, RUNS = "measure.jsonl", "measure.log", "runs"
_WORK = ".step-"  # folders of steps under way begin so
_START = 45.0  # seconds that a training may take before its first step and after its last
_SHORTEST = 1.5  # minutes: less is no time for a training


@dataclass(frozen=True)
class Row:
    """A line of the table that is printed last; `failed` if nothing could be measured."""

    name: str
    text: str
    seconds: float | None = None
    failed: bool = False


def measure(minutes: float, out: Path, overrides: Sequence[str] = (), say: Callable[[str], None] = print) -> list[Row]:
    """Measure for so many minutes what this machine's first GPU, or without one its CPU, does.

    Args:
        minutes: after which no further step is begun, and a training is stopped; it is saved once an epoch.
        out: the folder of the record.
        overrides: for the trainings, of the group `paths` alone: paths.data=FOLDER.
        say: is told of each step as it ends.

    Raises:
        ConfigError: other overrides.
        FolderBusyError: another process measures into the folder.
    """
    import torch

    if foreign := [override for override in overrides if not override.startswith("paths.data=")]:
        raise ConfigError(f"{foreign[0]}: what is measured is fixed; paths.data=FOLDER says where the data are")
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    facts = provenance(device, 1)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out), stopping(lambda: f"what was measured is in {out / LINES}; the same command does the rest"):
        for left in out.glob(f"{_WORK}*"):  # by a session that was killed
            shutil.rmtree(left, ignore_errors=True)
        session = _Session(out, time.monotonic() + 60 * minutes, facts, say)
        steps = measured(gpu, device.type)
        if not gpu:
            say("without a GPU this is a try of the command: small batches, and times that are ratios at most")
        del torch
        rows = [session.step(step) for step in steps]
        return [*rows, *session.train(trainings(gpu), overrides)]


class _Session:
    def __init__(self, out: Path, deadline: float, facts: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self.out, self.deadline, self.facts, self.say = out, deadline, facts, say
        self.done = {line["step"]: line for line in _lines(out / LINES) if self._holds(line)}

    @property
    def left(self) -> float:
        """Minutes."""
        return (self.deadline - time.monotonic()) / 60

    def step(self, step: Step) -> Row:
        """Do a step, or say why not."""
        if (before := self.done.get(step.name)) is not None:
            return self._tell(Row(step.name, f"{before['summary']} (measured before)", before["seconds"]))
        if self.left < step.minutes:
            return self._tell(Row(step.name, f"no time left: it takes about {step.minutes:g} minutes"))
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(dir=self.out, prefix=_WORK) as folder:
            report = Path(folder, "report.json")
            options = json.dumps(dict(step.options))
            error = self._run(["-m", "rga.measure.one", step.function, options, str(report)], step.name)
            found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8")) if error is None else {}
        seconds = round(time.monotonic() - begun, 1)
        if error is not None:
            self._record(step.name, step.command, seconds, error=error)
            return self._tell(Row(step.name, f"FAILED: {error} (see {self.out / LOG})", seconds, failed=True))
        self._record(step.name, step.command, seconds, summary=summary(found), report=found)
        return self._tell(Row(step.name, summary(found), seconds))

    def train(self, planned: Sequence[Planned], overrides: Sequence[str]) -> list[Row]:
        """Make runs, one after the other; those that are left when the time is over are one row."""
        rows: list[Row] = []
        refused: set[str] = set()  # data that cannot be trained on
        for number, run in enumerate(planned):
            folder, data = self.out / RUNS / run.name, _data(run)
            if (result := read_result(folder / RESULT)) is not None:
                rows.append(self._tell(self._finished(run, result, overrides)))
                continue
            if data in refused:
                continue
            if self.left < _SHORTEST:
                rows.append(self._tell(Row("trainings", f"no time left for {len(planned) - number} more")))
                break
            rows.append(self._tell(self._train(run, folder, overrides)))
            if rows[-1].failed:
                refused.add(data)
        return rows

    def _train(self, run: Planned, folder: Path, overrides: Sequence[str]) -> Row:
        begun, seconds = time.monotonic(), int(60 * self.left - _START)
        limit = f"{seconds // 86400:02}:{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        own = (f"paths.runs={self.out / RUNS}", f"trainer.max_time={limit}", "trainer.checkpoint_minutes=1")
        words = [*run.overrides, *overrides, *own]
        error = self._run(["-m", "rga", "train", *words], run.cells[0])
        took = round(time.monotonic() - begun, 1)
        if (result := read_result(folder / RESULT)) is not None:
            return self._finished(run, result, overrides)
        state = read_state(folder)
        if state is not None and state.epoch and state.error is None:
            pace = f", {state.seconds_per_epoch:.1f} s an epoch" if state.seconds_per_epoch else ""
            return Row(run.cells[0], f"epoch {state.epoch} of {state.epochs}{pace}; the same command resumes it", took)
        return Row(run.cells[0], f"FAILED: {error} (see {self.out / LOG})", took, failed=True)

    def _finished(self, run: Planned, result: Mapping[str, Any], overrides: Sequence[str]) -> Row:
        """The row of a run that has a result, which gets its line if it has none."""
        row = Row(run.cells[0], training_summary(run, result), result["duration_s"])  # over all its sessions
        key = {"run": run.name, "finished_at": result["finished_at"]}
        if not any(key.items() <= line.items() for line in _lines(self.out / LINES)):
            command = shlex.join(["rga", "train", *run.overrides, *overrides])
            facts = {
                name: result[name] for name in self.facts
            }  # where it was made, which another session may have done
            self._record(run.cells[0], command, result["duration_s"], **facts, **key, summary=row.text)
        return row

    def _run(self, arguments: Sequence[str], name: str) -> str | None:
        """Run Python in a process with what is left of the time; gives the last line of one that failed."""
        with (self.out / LOG).open("ab") as log:
            log.write(f"\n== {name}\n".encode())
            log.flush()
            start = log.tell()
            process = subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=subprocess.STDOUT)
            try:
                status = process.wait(max(1.0, 60 * self.left))
            except subprocess.TimeoutExpired:
                process.terminate()  # a run says where it is, and has been saved
                process.wait()
                return "the time was over"
            except BaseException:
                process.terminate()
                process.wait()
                raise
        if status == 0:
            return None
        with (self.out / LOG).open("rb") as log:
            log.seek(start)
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {status}"

    def _record(self, step: str, command: str, seconds: float, **found: Any) -> None:
        line = {"step": step, "command": command, **self.facts, "seconds": seconds, **found}
        path = self.out / LINES
        torn = (
            path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
        )  # a write that was killed
        with path.open("a", encoding="utf-8") as file:
            file.write(("\n" if torn else "") + json.dumps(line, ensure_ascii=False) + "\n")

    def _holds(self, line: Mapping[str, Any]) -> bool:
        same = all(line.get(key) == self.facts[key] for key in ("commit", "device"))
        return same and isinstance(line.get("summary"), str) and "run" not in line

    def _tell(self, row: Row) -> Row:
        self.say(f"{row.name}: {row.text}")
        return row


def summary(report: Mapping[str, Any]) -> str:
    """What matters of a report, in one line."""
    if "stages" in report:
        return "N x N / ours " + ", ".join(f"{name} {row['speedup']:.2f}" for name, row in report["stages"].items())
    if "ratios" in report:
        rates = report["images_per_second"]
        pairs = report["ratios"].items()
        return ", ".join(f"{name} {ratio:.2f} x bare ({rates[name]:.1f} images/s)" for name, ratio in pairs)
    return str(report.get("note", "holds"))


def training_summary(run: Planned, result: Mapping[str, Any]) -> str:
    """The metrics of a run in percent, and under what conditions they hold that its cell does not name."""
    shown = [name for name in ("rank1", "map", "error", "miou") if name in result["metrics"]]
    told = ", ".join(f"{name} {100 * result['metrics'][name]:.2f}" for name in shown)
    layers = [override for override in run.overrides if override.startswith(("scale=", "data="))]
    epochs = f"{result['config']['recipe']['epochs']} epochs"
    told += f" ({', '.join([*layers, str(result['precision']), epochs])})"
    synthetic = (result["config"].get("data") or {}).get("demo") is not None
    return f"{told} on SYNTHETIC images, which is no result" if synthetic else told


def _data(run: Planned) -> str:
    return next((override for override in reversed(run.overrides) if override.startswith("data=")), "")


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole: a process may have been killed while it wrote the last one."""
    if not path.exists():
        return []
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), str):
            found.append(line)
    return found
