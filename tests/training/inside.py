"""A run within the test's own process, which costs no imports, and what is done to it at a batch of choice."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from omegaconf import OmegaConf

from rga.runs.compose import compose
from rga.training.loop import run
from rga.training.monitor import Monitor
from training.command import SMALL, only_result


class At(NamedTuple):
    """What is done once, after a batch of an epoch, both counted from 0."""

    epoch: int
    batch: int
    act: Callable[[], object]


def signalled(number: int, epoch: int, batch: int = 0) -> At:
    return At(epoch, batch, lambda: os.kill(os.getpid(), number))


def make(folder: Path, *overrides: str, small: list[str] = SMALL, at: At | None = None) -> dict[str, Any]:
    """Make a run, or resume it, and give its result; runs go to `folder`, data beside it."""
    paths = [f"paths.runs={folder}", f"paths.data={folder.parent / 'data'}"]
    with pytest.MonkeyPatch.context() as patched:
        if at is not None:
            disturb(patched, at)
        run(OmegaConf.create(compose([*small, *paths, *overrides])))
    return only_result(folder)


def disturb(patched: pytest.MonkeyPatch, at: At) -> None:
    after = Monitor.on_train_batch_end
    done: list[bool] = []

    def hook(self: Monitor, trainer: Any, module: Any, outputs: Any, of: Any, number: int) -> None:
        after(self, trainer, module, outputs, of, number)
        if (trainer.current_epoch, number) == (at.epoch, at.batch) and not done:
            done.append(True)
            at.act()

    patched.setattr(Monitor, "on_train_batch_end", hook)
