"""The lines that a terminal shows while jobs run."""

import io
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rga.runs import Run
from rga.runs.compose import compose
from rga.runs.state import State
from rga.training.launcher import Job, Outcome
from rga.training.live import Live, lines

FAKE = Path(__file__).parents[1] / "tables" / "fake_train.py"


def job(conf: Path, tmp_path: Path, seed: int, label: str) -> Job:
    config = compose(["attention=none", f"seed={seed}", f"paths.runs={tmp_path / 'runs'}"], conf=conf)
    return Job((), Run(config["paths"]["runs"], config), label)


def shown(*of: Any, width: int = 80) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(lines(*of))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_line_for_each_job_and_one_for_all(small_conf: Path, tmp_path: Path) -> None:
    half, begun, ended = (
        job(small_conf, tmp_path, seed, label) for seed, label in enumerate(("RGA-S " * 20, "begins", "ended"))
    )
    half.run.folder.mkdir(parents=True)
    told = {"loss": 1.23456, "val/loss": 2.0, "val/error": 0.25}
    State.begun(("a cell",), 60, 0).after(30, 10.0, told).write(half.run.folder)
    outcomes = [Outcome(ended, 500.0, None), Outcome(ended, 3.0, "it broke")]

    first, second, last = shown([(half, 100.0), (begun, 390.0)], outcomes, 8, 2, 400.0)
    assert first.startswith("RGA-S RGA-S")
    assert first.endswith("epoch 30/60 loss 1.23  error 0.25 5 min 00 s left")
    assert len(first) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" in first
    assert second.split() == ["begins", "starting"]
    assert last == "1 of 8 done, 1 failed"  # how long the second one takes nobody knows yet

    _, last = shown([(half, 100.0)], outcomes, 8, 2, 400.0)
    # Five more as long as the mean of 500 s and 300 s + 300 s: 550 s; two at a time, the one that runs among them.
    assert last == "1 of 8 done, 1 failed, 27 min 30 s left"
    assert shown([(half, 100.0)], [], 1, 2, 400.0)[1] == "0 of 1 done, 5 min 00 s left", "no faster for a free slot"
    broken = replace(half, label="[red]two\nlines\there")
    assert shown([(broken, 100.0)], [], 1, 2, 400.0)[0].startswith("[red]two lines here ")
    assert shown([(half, 100.0)], outcomes, None, 2, 400.0)[1] == "1 done, 1 failed"

    seeds = [replace(half, label=f"table 1, Spatial, RGA-S w/o Rel., CUHK03 (L), seed {seed}") for seed in (0, 1)]
    for width in (40, 80):
        named = [
            line for line in shown([(seed, 100.0) for seed in seeds], [], 2, 2, 400.0, width=width) if "seed" in line
        ]
        assert ["seed 0" in named[0], "seed 1" in named[1]] == [True, True]
        assert max(map(len, named)) <= width

    State.begun(("a cell",), 60, 0).after(60, 10.0, {}).write(half.run.folder)
    assert shown([(half, 100.0)], [], 1, 2, 400.0)[0].endswith(" testing")
    State.begun(("a cell",), 60, 0).after(30, 10.0, told).write(half.run.folder)

    narrow = shown([(half, 100.0), (begun, 390.0)], outcomes, 8, 2, 400.0, width=40)
    assert len(narrow) == 5
    assert max(map(len, narrow)) <= 40
    assert narrow[0].startswith("RGA-S RGA-S")
    assert narrow[1].startswith("  epoch 30/60  5 min 00 s left  loss")
    assert narrow[2:] == ["begins", "  starting", "1 of 8 done, 1 failed"]


def test_without_a_terminal_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with Live(3, 1) as live:
        live.update([], [])
    assert capsys.readouterr() == ("", "")


def test_in_a_terminal(small_conf: Path, tmp_path: Path) -> None:
    """The lines of today are whole, the live ones are taken away at the end, and the cursor is there again."""
    code = f"""
import sys, rga.training.forkserver, rga.training.launcher
from rga.runs.compose import compose
from rga.training.launcher import Job, run_jobs
from rga.runs import Run
rga.training.launcher.COMMAND = (sys.executable, {str(FAKE)!r}, {str(small_conf)!r})
rga.training.forkserver.PRELOAD = ()
def job(seed):
    overrides = ("attention=none", f"seed={{seed}}")
    return Job(overrides, Run("runs", compose(overrides, conf={str(small_conf)!r})), f"seed {{seed}}")
jobs = [job(seed) for seed in range(3)]
assert not any(outcome.error for outcome in run_jobs(jobs, [{{}}]))
"""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    ) as process:
        os.close(theirs)
        told = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux's way to say that nobody writes any more
                break
            if not part:
                break
            told += part
    os.close(ours)
    text = told.decode()
    assert process.returncode == 0, text
    assert "3 runs to do, 1 at a time" in text
    for number in range(3):
        assert f"[{number + 1}/3] seed {number}: " in text
        assert f"{number} of 3 done" in text
    assert "starting" in text
    hidden, again = text.rindex("\x1b[?25l"), text.rindex("\x1b[?25h")
    assert hidden < again
    assert "of 3 done" not in text[again:]
