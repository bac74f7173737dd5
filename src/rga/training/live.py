"""What jobs look like in a terminal while they run: a line for each of them, and one for the whole."""

import heapq
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from rga.printing import duration, printable
from rga.runs.state import State, read_state

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

    from rga.training.launcher import Job, Outcome

_EVERY = 1.0  # seconds between looks at what the jobs say of themselves
_WIDE = 72  # columns: with fewer, little is left of a job's label beside its numbers


class Live:
    """Keeps the lines at the bottom of the terminal on stderr; whatever is printed there meanwhile stands above them.

    Without a terminal it shows nothing. It starts no thread: the loop that watches the jobs calls `update`.

    Args:
        total: how many jobs there are; None: they are found on the way.
        slots: how many run at a time.
    """

    def __init__(self, total: int | None, slots: int) -> None:
        self.total, self.slots = total, slots
        self._looked, self._ended = 0.0, 0
        self._shown = None
        if sys.stderr.isatty():
            from rich.console import Console  # late: without a terminal nothing of it is needed
            from rich.live import Live as RichLive

            console = Console(stderr=True)
            if not console.is_dumb_terminal:
                self._shown = RichLive(console=console, auto_refresh=False, transient=True, redirect_stdout=False)

    def __enter__(self) -> "Live":
        if self._shown is not None:
            self._shown.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown.stop()

    def update(self, running: Sequence[tuple["Job", float]], outcomes: Sequence["Outcome"]) -> None:
        """Show what runs, each with the moment (`time.monotonic`) at which it began; and how many have ended."""
        now = time.monotonic()
        if self._shown is not None and (now - self._looked >= _EVERY or len(outcomes) != self._ended):
            self._looked, self._ended = now, len(outcomes)
            self._shown.update(lines(running, outcomes, self.total, self.slots, now), refresh=True)


def lines(
    running: Sequence[tuple["Job", float]], outcomes: Sequence["Outcome"], total: int | None, slots: int, now: float
) -> "Lines":
    """For each running job what it is, its epochs, loss and metric of the last one, time left; below, for all jobs.

    The time left for all takes those that have not begun to last as long as the mean of those that have, each in the
    slot that is free first.
    """
    lasted = [outcome.seconds for outcome in outcomes if outcome.seconds and outcome.error is None]
    left, rows = [], []
    for job, started in running:
        state, rest = read_state(job.run.workplace), None
        if state is not None and state.seconds_per_epoch is not None:
            rest = (state.epochs - state.epoch) * state.seconds_per_epoch
            left.append(rest)
            lasted.append(now - started + rest)
        told = _metrics(state.metrics) if state is not None else ""
        rows.append((" ".join(printable(job.label).split()), _epochs(state), told, _left(rest)))
    failed = sum(outcome.error is not None for outcome in outcomes)
    ended = [f"{len(outcomes) - failed} of {total} done" if total is not None else f"{len(outcomes) - failed} done"]
    ended += [f"{failed} failed"] if failed else []
    waiting = total - len(outcomes) - len(running) if total is not None else 0
    known = total is not None and lasted and len(left) == len(running)
    whole = _left(_until_all(left, waiting, statistics.fmean(lasted), slots) if known else None)
    return Lines(tuple(rows), ", ".join([*ended, *([whole] if whole else [])]))


@dataclass(frozen=True)
class Lines:
    """Each job's label, epochs, metrics and time left in columns, or where that is too wide on two lines; the whole."""

    jobs: Sequence[tuple[str, str, str, str]]
    whole: str

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> Iterator["RenderableType"]:
        from rich.table import Table
        from rich.text import Text

        if options.max_width >= _WIDE:
            table = Table.grid(padding=(0, 1), expand=True)
            table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
            for _ in range(3):
                table.add_column(justify="right", no_wrap=True)
            taken = sum(max((len(job[part]) for job in self.jobs), default=0) + 1 for part in (1, 2, 3))
            for label, *rest in self.jobs:
                table.add_row(*map(Text, (_both_ends(label, options.max_width - taken), *rest)))
            yield table
        else:
            for label, epochs, metrics, left in self.jobs:
                yield Text(_both_ends(label, options.max_width), no_wrap=True, overflow="ellipsis")
                told = "  ".join(filter(None, (epochs, left, metrics)))  # what is cut off first is last
                yield Text(f"  {told}", no_wrap=True, overflow="ellipsis")
        yield Text(self.whole, no_wrap=True, overflow="ellipsis")


def _both_ends(label: str, width: int) -> str:
    """A label in so many characters: the row stands at its start, the column and the seed at its end."""
    if len(label) <= width:
        return label
    half = max(width - 1, 2) // 2
    return f"{label[:half]}\N{HORIZONTAL ELLIPSIS}{label[-half:]}"


def _until_all(left: Sequence[float], waiting: int, each: float, slots: int) -> float:
    """Seconds until the last job ends: `left` are those of the running ones."""
    ends = [*left, *[0.0] * (slots - len(left))]
    heapq.heapify(ends)
    for _ in range(waiting):
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def _epochs(state: State | None) -> str:
    if state is None:
        return "starting"
    return f"epoch {state.epoch}/{state.epochs}" if state.epoch < state.epochs else "testing"


def _left(seconds: float | None) -> str:
    return f"{duration(seconds)} left" if seconds else ""


def _metrics(told: Mapping[str, float]) -> str:
    """The loss and one metric of the validation, if there is one."""
    validation = [name for name in told if name.startswith("val/") and not name.endswith("loss")]
    names = [name for name in ("loss", *validation[:1]) if name in told]
    return "  ".join(f"{name.removeprefix('val/')} {told[name]:.3g}" for name in names)
