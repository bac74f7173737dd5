"""Runs of a table without training."""

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rga.training.launcher
from rga.runs import Run
from rga.runs.compose import compose
from rga.tables import Table, load
from rga.tables.recording import record_table

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


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """tests/tables/table7.yaml in a folder of the test's own, where its records go."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    shutil.copy(Path(__file__).parent / "table7.yaml", folder)
    return load("7", folder)


@pytest.fixture
def fake_train(small_conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is launched is fake_train.py."""
    fake = Path(__file__).with_name("fake_train.py")
    monkeypatch.setattr(rga.training.launcher, "COMMAND", (sys.executable, str(fake), str(small_conf)))


def take(table: Table, conf: Path, *overrides: str) -> list[dict[str, Any]]:
    """Record, and give what is in the file then."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*commit")
        record_table(table, overrides, conf)
    path = table.results / "table7.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
