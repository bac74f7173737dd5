"""How a signal ends what is under way: one line, an exit status of 128 + n, a place in SLURM's queue, nothing lost.

What is on disk is there in full or not at all, so that a run can be left anywhere. Within `stopping` the first signal
says where the run is and raises `StoppedError`; the second ends the process at once. A thread hears of the signal even
while the main one waits in foreign code, for a GPU or for another process that has left: it puts the job back into the
queue, and ends the process where the exception does not.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rga.training import engine

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_REQUEUEING = (signal.SIGUSR1, signal.SIGUSR2)  # sbatch --signal's usual one, and submitit's
_PATIENCE = 10.0  # seconds that the exception has to reach the end
_ANSWER = 30.0  # seconds that SLURM's controller has for an answer


class StoppedError(SystemExit):
    """A signal has ended what was under way; `line` is what has been told of it.

    Where nobody catches it, the process ends with status 128 + n.
    """

    def __init__(self, number: int, line: str) -> None:
        super().__init__(128 + number)
        self.line = line


@contextmanager
def stopping(where: Callable[[], str | None]) -> Iterator[None]:
    """Leave the block by a `StoppedError` when a signal arrives.

    Signals that are ignored (nohup) stay ignored; outside of the main thread nothing is done. A block within a block
    says where it is itself.

    Args:
        where: what is told after "stopped by SIGTERM"; None in a process whose part another one tells.
    """
    global _stop
    _places.append(where)
    try:
        if _stop is not None or threading.current_thread() is not threading.main_thread():
            yield
            return
        _stop = _Stop()
        try:
            yield
        finally:
            ended, _stop = _stop, None
            ended.restore()
    finally:
        _places.remove(where)


def not_begun() -> str | None:
    """Where a run is while it is composed and its libraries are imported."""
    return None if engine.rank() else "before anything was begun; the same command begins it"


class _Stop:
    """The handlers of the signals and the thread that watches them, from the outermost block's begin to its end."""

    def __init__(self) -> None:
        self.number: int | None = None  # of the first signal
        self._told, self._line = False, ""
        self._ended, self._heard = threading.Event(), threading.Event()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        current = {number: signal.getsignal(number) for number in _STOPPING}
        self._before = {number: handler for number, handler in current.items() if handler not in (None, signal.SIG_IGN)}
        self._thread = threading.Thread(target=self._watch, name="rga-signals", daemon=True)
        self._thread.start()
        for number in self._before:
            signal.signal(number, self._handle)

    def restore(self) -> None:
        """Give the signals back, after the place in the queue, if there is to be one, is taken."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        self._ended.set()
        os.write(self._write, b"\0")
        self._thread.join(_ANSWER)
        for end in (self._read, self._write):
            os.close(end)

    def forget(self) -> None:
        """In a forked process, such as a DataLoader's worker: it has none of this. Its parent ends it."""
        signal.set_wakeup_fd(-1)
        for number in self._before:
            signal.signal(number, signal.SIG_IGN if number in _REQUEUEING else signal.SIG_DFL)
        if signal.SIGINT in self._before:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for end in (self._read, self._write):
            os.close(end)

    def _handle(self, number: int, _: Any) -> None:
        if self.number is not None:
            self._leave()
        self.number = number
        self._tell(number)
        raise StoppedError(number, self._line)

    def _watch(self) -> None:
        """Hear of the first signal as soon as it arrives, whatever the main thread does."""
        number = 0
        while number not in self._before and not self._ended.is_set():
            number = os.read(self._read, 1)[0]
        if number not in self._before:
            return
        if number in _REQUEUEING and engine.rank() == 0 and (job := engine.job()):
            _say(requeue(job))
        self._heard.set()
        if not self._ended.wait(_PATIENCE):
            self.number = self.number or number
            self._tell(number)
            self._leave()

    def _tell(self, number: int) -> None:
        if self._told:
            return
        self._told = True
        place: str | None = ""
        with suppress(Exception):  # what is told must not stand in the way of the end
            place = _places[-1]()
        if place is not None:
            self._line = f"stopped by {signal.Signals(number).name} {place}"
            _say(self._line)

    def _leave(self) -> None:
        assert self.number is not None
        self._heard.wait(_ANSWER)
        os._exit(128 + self.number)


_stop: _Stop | None = None
_places: list[Callable[[], str | None]] = []


def requeue(job: str) -> str:
    """Put a SLURM job back into its queue; SLURM then ends what runs of it. Gives what is to be said of it."""
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, timeout=_ANSWER, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"job {job} could not be requeued: {error}"
    if done.returncode:
        return f"job {job} could not be requeued: {' '.join((done.stderr or done.stdout).split())}"
    return f"job {job} is requeued"


def _say(line: str) -> None:
    """On stderr, past its buffer: the main thread may be writing to that when the signal arrives."""
    with suppress(OSError):
        os.write(2, f"rga: {line}\n".encode())


def _forked() -> None:
    global _stop
    if _stop is not None:
        forgotten, _stop = _stop, None
        with suppress(ValueError):
            forgotten.forget()


os.register_at_fork(after_in_child=_forked)
