"""Runs of a table without training."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rga.runs import Run
from rga.runs.compose import compose

Recorder = Callable[..., Run]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs, in a working folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.fixture
def record(runs: Path, small_conf: Path) -> Recorder:
    """Write the result of a run: `record("attention=rga_s", "seed=1", rank1=0.5, map=0.25)`."""

    def write(*overrides: str, **metrics: float) -> Run:
        run = Run(runs, compose(overrides, conf=small_conf))
        run.write_result({"metrics": metrics})
        return run

    return write
