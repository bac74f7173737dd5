"""Run the jobs of a sweep as processes of their own, several at a time.

A process for each job, because Lightning starts the other processes of a DDP run by repeating the command line: under
`rga train -m` that would repeat the whole sweep in each of them. It also frees every byte between jobs, and a crash
ends one job, not the sweep. Jobs of one process are forked from one that has done the imports
(`rga.training.forkserver`); a job that starts further processes is a plain command. Hydra sees this as the launcher
`processes` (`hydra_plugins.rga_processes`).
"""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rga.files import expect_no_links_out
from rga.printing import duration, printable
from rga.runs import Run
from rga.runs.identity import processes
from rga.training import engine
from rga.training.forkserver import Forked, ForkServer
from rga.training.live import Live
from rga.training.signals import stopping

COMMAND = (sys.executable, "-m", "rga", "train")
CONSOLE = "console.log"  # what a job prints, in its run's folder
_PATIENCE = 5.0  # seconds between asking a process to end and ending it
_LOOK = 1.0  # seconds between looks at what other processes are busy with
_BUSY = "another process is making it"


class Busy(StrEnum):
    """What to do about runs that another process is making, once all else is done."""

    wait = "wait"  # until they are finished; one that is given up is made here
    skip = "skip"
    fail = "fail"


@dataclass(frozen=True)
class Job:
    """One run to be made: the command line's overrides for it, and what they compose to."""

    overrides: tuple[str, ...]
    run: Run
    label: str  # for people

    @property
    def console(self) -> Path:
        return self.run.folder / CONSOLE


@dataclass(frozen=True)
class Outcome:
    """How a job ended: `error` is None when its result is there, or when it was `skipped`: another process is at it."""

    job: Job
    seconds: float
    error: str | None
    skipped: bool = False


@dataclass(frozen=True)
class _Slot:
    """Where one job at a time runs: what the environment of its processes is."""

    environment: Mapping[str, str]
    server: ForkServer


@dataclass(frozen=True)
class _Child:
    job: Job
    slot: _Slot
    process: subprocess.Popen[bytes] | Forked
    started: float


def run_jobs(
    jobs: Iterable[Job],
    slots: Sequence[Mapping[str, str]],
    ended: Callable[[Outcome], None] | None = None,
    busy: Busy = Busy.wait,
) -> list[Outcome]:
    """Run every job in a process, `len(slots)` at a time; a slot is what its processes' environment gets added.

    A job is taken from `jobs` when there is a free slot for it, so they may be found on the way; `ended` hears of each
    outcome. Those that another process is making, such as the same sweep in another terminal, come last, see `Busy`.

    A line on stderr tells of each job that has ended; a terminal also shows how far the others are. However this
    function is left (a signal, an error), no process that it started is left behind.
    """
    environments = [{**engine.alone(), "PYTHONUNBUFFERED": "1", **slot} for slot in slots]
    places = [_Slot(environment, ForkServer(environment)) for environment in environments]
    total = len(jobs) if isinstance(jobs, Sized) else None
    waiting, free = iter(jobs), deque(places)
    running: list[_Child] = []
    aside: list[Job] = []  # what others are making
    outcomes: list[Outcome] = []
    looked = time.monotonic()

    def end(outcome: Outcome) -> None:
        outcomes.append(outcome)
        _tell(outcome, len(outcomes), total)
        if ended is not None:
            ended(outcome)

    def where() -> str:
        done = sum(outcome.error is None for outcome in outcomes)
        return f"with {done}{f' of {total}' if total is not None else ''} runs done; the same command makes the rest"

    if total is not None:
        _say(f"{total} {'run' if total == 1 else 'runs'} to do, {min(len(slots), total)} at a time")
    with stopping(where), Live(total, len(slots)) as live:
        try:
            while True:
                while free and (job := next(waiting, None)) is not None:
                    if job.run.busy:
                        aside.append(job)
                    else:
                        running.append(_start(job, free.popleft()))
                if not running and not aside:
                    break
                live.update([(child.job, child.started) for child in running], outcomes)
                time.sleep(0.05)
                for child in [child for child in running if child.process.poll() is not None]:
                    _stop([child])  # what its DDP processes may have left
                    running.remove(child)
                    free.append(child.slot)
                    if child.process.returncode and (child.job.run.busy or _made(child.job)):
                        aside.append(child.job)  # another process was faster
                    else:
                        end(_outcome(child))
                if not free or time.monotonic() - looked < _LOOK:
                    continue
                looked = time.monotonic()
                for job in list(aside):
                    if job.run.busy:
                        if busy is Busy.wait or running:
                            continue
                        end(Outcome(job, 0.0, _BUSY if busy is Busy.fail else None, skipped=busy is Busy.skip))
                    elif _made(job):
                        end(Outcome(job, 0.0, None))
                    elif free:
                        running.append(_start(job, free.popleft()))
                    else:
                        continue
                    aside.remove(job)
        finally:
            _stop(running)
            for place in places:
                place.server.close()
    return outcomes


def _start(job: Job, slot: _Slot) -> _Child:
    # By its name a job tells when configs that changed meanwhile would make another run of it.
    command, started = [*COMMAND, *job.overrides, f"hydra.job.name={job.run.name}"], time.monotonic()
    job.console.parent.mkdir(parents=True, exist_ok=True)
    expect_no_links_out(job.console.parent)
    if _forks(job):
        return _Child(job, slot, slot.server.start(command, job.console), started)
    with job.console.open("ab") as console:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env=slot.environment,
            start_new_session=True,  # its own group: it can be stopped with everything it started
        )
    return _Child(job, slot, process, started)


def _forks(job: Job) -> bool:
    """Whether a fork can do a job: where forking is safe (macOS's libraries do not survive it), and one process is."""
    return sys.platform == "linux" and processes(job.run.config.get("trainer") or {}) == 1


def _made(job: Job) -> bool:
    """Whether a job that was not finished is, by another process. What is to be repeated was finished before."""
    return not job.run.config.get("rerun") and job.run.finished


def _outcome(child: _Child) -> Outcome:
    status, error = child.process.returncode, None
    assert status is not None  # it has ended
    if status < 0:
        error = f"killed by {signal.Signals(-status).name}"
    elif status > 0:
        error = f"exit status {status}: {_last_line(child.job.console)}"
    elif not child.job.run.finished:
        error = f"ended without a result: {_last_line(child.job.console)}"
    return Outcome(child.job, time.monotonic() - child.started, error)


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    # Hydra's advice at the end of a traceback says nothing about the cause.
    telling = [line for line in lines if line and not line.startswith("Set the environment variable HYDRA_FULL_ERROR")]
    return telling[-1] if telling else "it printed nothing"


def _tell(outcome: Outcome, done: int, total: int | None) -> None:
    place, left = (f"{done}/{total}", f", {total - done} left") if total is not None else (str(done), "")
    ending = "" if outcome.error is None else f", FAILED: {outcome.error} (see {outcome.job.console})"
    ending = f", skipped: {_BUSY}" if outcome.skipped else ending
    _say(f"[{place}] {outcome.job.label}: {duration(outcome.seconds)}{ending}{left}")


def _say(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)


def _stop(children: Sequence[_Child]) -> None:
    """End processes with all that they started: politely, and after some seconds by force."""
    for child in children:
        _signal(child, signal.SIGTERM)
    end = time.monotonic() + _PATIENCE
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.0, end - time.monotonic()))
        _signal(child, signal.SIGKILL)
        child.process.wait()


def _signal(child: _Child, number: int) -> None:
    if isinstance(child.process, Forked):
        child.process.signal(number)
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, number)
