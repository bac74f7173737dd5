"""A worker: makes the runs of a plan that nobody else is making, until none is left. `rga work`.

Any number of workers, on any nodes that share the folder of runs, work on one plan: each holds a run's folder
(`.claim`, freed by the system when the worker dies) while it makes the run. A run whose worker was ended is resumed by
whoever comes to it next.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rga.errors import ConfigError
from rga.paths import CONF
from rga.runs import FolderBusyError, Run, locked
from rga.runs.foreign import vetted
from rga.tables.run_plan import Plan, composed_all
from rga.training.launcher import Busy, Job, Outcome, run_jobs
from rga.training.shares import alike, slots_for
from rga.training.signals import stopping

CLAIM = ".claim"


@dataclass
class _Claims:
    """The runs that this worker holds, by name."""

    held: dict[str, ExitStack] = field(default_factory=dict)

    def take(self, name: str, run: Run) -> bool:
        """Whether the run is this worker's now."""
        stack = ExitStack()
        try:
            stack.enter_context(locked(run.folder, CLAIM))
            with run.lock():  # nor does somebody's `rga train` make it
                pass
        except FolderBusyError:
            stack.close()
            return False
        self.held[name] = stack
        return True

    def release(self, name: str) -> None:
        self.held.pop(name).close()


def work(
    plan: Plan,
    source: Path,
    *,
    jobs: int | None = None,
    busy: Busy = Busy.wait,
    conf: Path = CONF,
    pause: Callable[[], None] = lambda: time.sleep(15),
) -> list[str]:
    """Make the runs of a plan; gives a line for each that failed.

    A run that failed is not tried again by this worker: the next one, or the same command, does.

    Args:
        plan: the runs.
        source: the plan's file, for errors.
        jobs: how many runs at a time; None: as many as the GPUs there are, on a CPU one, of scale=demo several.
        busy: what to do about runs that others make, once nothing else is left.
        conf: the folder of `train.yaml`.
        pause: called between two looks at what others make.

    Raises:
        ConfigError: the plan does not fit the configs, or names what they do not.
    """
    with stopping(lambda: "between two runs; the same command makes what is left of the plan"):
        return _work(plan, source, jobs, busy, conf, pause)


def _work(plan: Plan, source: Path, jobs: int | None, busy: Busy, conf: Path, pause: Callable[[], None]) -> list[str]:
    runs = composed_all(plan, conf)
    for run in runs.values():
        vetted(run.config, (conf,), source)
    labels = {
        planned.name: f"run {planned.number} ({planned.cells[0]}, seed {runs[planned.name].seed})"
        for planned in plan.runs
    }
    overrides = {planned.name: planned.overrides for planned in plan.runs}
    claims, failed = _Claims(), {}

    def todo() -> list[str]:
        return [name for name, run in runs.items() if name not in failed and not run.finished]

    def ended(outcome: Outcome) -> None:
        name = outcome.job.run.name
        claims.release(name)
        if outcome.error is not None:
            failed[name] = f"{labels[name]}: {outcome.error} (see {outcome.job.console})"

    def claimed(group: Sequence[Job]) -> Iterator[Job]:
        for name in [job.run.name for job in group]:
            if not runs[name].finished and claims.take(name, runs[name]):
                if runs[name].finished:  # in the meantime
                    claims.release(name)
                else:
                    yield Job((*overrides[name], "hydra.mode=RUN"), runs[name], labels[name])

    try:
        while names := todo():
            groups = alike([Job((), runs[name], name) for name in names])
            if any(run_jobs(claimed(group), slots_for(jobs or "auto", group), ended=ended) for group in groups):
                continue
            others = todo()
            if not others or busy is Busy.skip:
                break
            if busy is Busy.fail:
                raise ConfigError(f"{_listed(others, labels)}: another process is making it (--busy wait or skip)")
            _say(f"waiting for {_listed(others, labels)}, which another process is making")
            while set(todo()) == set(others) and not _free(others, runs):
                pause()
    finally:
        for name in list(claims.held):
            with suppress(OSError):
                claims.release(name)
    return list(failed.values())


def _free(names: Sequence[str], runs: dict[str, Run]) -> bool:
    """Whether one of the runs has been given up by whoever was making it."""
    claims = _Claims()
    for name in names:
        if claims.take(name, runs[name]):
            claims.release(name)
            return True
    return False


def _listed(names: Sequence[str], labels: dict[str, str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(labels[name] for name in names[:2]) + more


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
