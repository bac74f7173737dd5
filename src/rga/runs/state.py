"""What a run says of itself while it is made: `state.json` in its folder, for `rga status`.

A result tells what became of a run; this tells how far one is that has none yet, and what ended it.
"""

import errno
import json
import math
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rga.files import write_atomically

STATE = "state.json"


@dataclass(frozen=True)
class State:
    """How far a run is. Times are ISO 8601 in UTC."""

    cells: tuple[str, ...]  # of the tables, see `rga.tables.cells_of_run`
    epochs: int
    epoch: int = 0  # finished ones, of all sessions
    saved: int | None = None  # of them, in the last checkpoint; None: not known
    seconds_per_epoch: float | None = None  # of the last one
    host: str = ""
    pid: int = 0
    started_at: str = ""  # this session
    updated_at: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)  # of the last epoch: `loss`, `val/NAME`
    error: str | None = None  # the last line of what ended the session; None: it has not ended, or nobody could tell

    @classmethod
    def begun(cls, cells: tuple[str, ...], epochs: int, epoch: int, saved: int | None = None) -> "State":
        """Of a session of this process that begins after `epoch` epochs."""
        now = _now()
        return cls(
            cells, epochs, epoch, saved, host=socket.gethostname(), pid=os.getpid(), started_at=now, updated_at=now
        )

    def after(self, epoch: int, seconds: float, metrics: Mapping[str, float]) -> "State":
        """When an epoch has been finished in so many seconds, with these metrics."""
        return replace(self, epoch=epoch, seconds_per_epoch=round(seconds, 3), metrics=dict(metrics), updated_at=_now())

    def ended(self, error: BaseException) -> "State":
        """When the session has ended without a result."""
        return replace(self, error=_last_line(error), updated_at=_now())

    def write(self, folder: Path) -> None:
        """Losing one in a power cut loses nothing, so it is not synced."""
        write_atomically(folder / STATE, json.dumps(asdict(self)) + "\n", sync=False)


def read_state(folder: Path) -> State | None:
    """The state that a run's folder holds; None where there is none, or it is damaged."""
    try:
        found = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return _checked(found)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _checked(found: Mapping[str, Any]) -> State:
    state = State(**{**found, "cells": tuple(map(str, found["cells"]))})
    numbers = [
        state.epochs,
        state.epoch,
        state.saved or 0,
        state.pid,
        state.seconds_per_epoch or 0,
        *state.metrics.values(),
    ]
    texts = (state.host, state.started_at, state.updated_at, state.error or "")
    finite = all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
    if not finite or not all(isinstance(text, str) for text in texts):
        raise ValueError("a value is of another kind")
    return state


def _last_line(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:  # of a full disk PyTorch tells something else in the end
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return "no space is left on the disk"
        cause = cause.__cause__ or cause.__context__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
