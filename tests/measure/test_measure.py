"""`rga measure`: what its checks find, what a session does with its time, and what is recorded."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import rga.measure.checks
import rga.measure.session
from rga.errors import ConfigError
from rga.measure.checks import CHECKS
from rga.measure.session import LINES, LOG, Row, measure, training_summary
from rga.measure.steps import Step, measured, trainings
from rga.runs import RESULT
from rga.tables.measured import measured_table
from training.command import SMALL

GOOD = Step("good", "json:loads", {"s": '{"note": "fine"}'})
BAD = Step("bad", "json:loads", {"s": "{"})
Session = Callable[..., list[Row]]


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session of the given steps and runs, into one folder."""

    def run(*steps: Step, runs: Any = (), minutes: float = 10.0) -> list[Row]:
        monkeypatch.setattr(rga.measure.session, "measured", lambda *_: list(steps))
        monkeypatch.setattr(rga.measure.session, "trainings", lambda *_: list(runs))
        return measure(minutes, tmp_path / "out", say=lambda line: None)

    return run


def lines(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "out" / LINES).read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CHECKS))
def test_the_checks_hold_here(name: str) -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    assert CHECKS[name]("cpu")
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


def test_the_crops_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rga.measure.checks, "Crops", _Shifted)
    with pytest.raises(AssertionError, match="windows differ"):
        CHECKS["crops"]("cpu")


@pytest.mark.parametrize("name", ["spatial.theta.0.weight", "channel.gg.1.bias", "spatial.W.4.weight"])
def test_the_formula_is_checked_in_every_gradient(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    class Wrong(rga.measure.checks.NxN):
        def __init__(self, block: Any) -> None:
            super().__init__(block)
            self.get_parameter(name).register_hook(lambda gradient: 1.001 * gradient)

    monkeypatch.setattr(rga.measure.checks, "NxN", Wrong)
    with pytest.raises(AssertionError, match=f"gradient of {name} differs by"):
        CHECKS["formula"]("cpu")


class _Shifted(rga.measure.checks.Crops):
    def forward(self, start: torch.Tensor) -> torch.Tensor:
        return super().forward(start + 1)


def test_each_step_is_recorded_and_not_done_again(session: Session, tmp_path: Path) -> None:
    assert [row.text for row in session(GOOD)] == ["fine"]
    (line,) = lines(tmp_path)
    assert line.keys() >= {"step", "command", "commit", "device", "versions", "seconds", "summary", "report"}
    repeated = subprocess.run([sys.executable, *shlex.split(line["command"])[1:]], capture_output=True, text=True)
    assert repeated.stdout == "{'note': 'fine'}\n", repeated.stderr
    with (tmp_path / "out" / LINES).open("a") as file:
        file.write('{"step": "cut off in the mid')
    assert [row.text for row in session(GOOD)] == ["fine (measured before)"]


def test_a_step_that_fails_is_told_and_tried_again(session: Session, tmp_path: Path) -> None:
    bad, good = session(BAD, GOOD)
    assert bad.failed
    assert "Expecting property name" in bad.text
    assert str(tmp_path / "out" / LOG) in bad.text
    assert good.text == "fine", "what fails does not end the session"
    assert [line.get("summary") for line in lines(tmp_path)] == [None, "fine"]
    assert session(BAD)[0].failed


def test_the_time_ends_a_step_and_those_that_need_more_are_not_begun(session: Session) -> None:
    slow = Step("slow", "subprocess:check_output", {"args": ["sleep", "600"]}, minutes=0.0)
    first, second = session(slow, GOOD, minutes=0.05)
    assert "the time was over" in first.text
    assert second.text == "no time left: it takes about 0.5 minutes"


@pytest.mark.slow
def test_a_training_is_an_ordinary_run(session: Session, tmp_path: Path) -> None:
    from rga.tables.run_plan import Planned

    overrides = (*SMALL, f"paths.data={tmp_path / 'data'}", "recipe.epochs=1", "seed=0")
    broken = Planned(2, "0123456789ab/0", ("data=nowhere",), ("table 1: no data",), False, None)
    from rga.runs import Run
    from rga.runs.compose import compose

    run = Run(tmp_path, compose(list(overrides)))
    planned = Planned(1, run.name, overrides, ("table 1: Baseline",), True, None)
    good, bad = session(runs=[planned, broken])
    assert "on SYNTHETIC images, which is no result" in good.text
    assert bad.failed
    result = json.loads((tmp_path / "out" / "runs" / run.name / RESULT).read_text())
    (line,) = lines(tmp_path)
    assert line["run"] == run.name
    assert line["seconds"] == result["duration_s"] == good.seconds, "that of the training, over all its sessions"
    assert line["command"] == shlex.join(["rga", "train", *overrides]), "without what was this session's"
    (again,) = session(runs=[planned])
    assert again == good
    assert len(lines(tmp_path)) == 1
    (tmp_path / "out" / LINES).unlink()  # as if it was killed between the training and its line
    session(runs=[planned])
    assert lines(tmp_path) == [line]
    (none,) = session(runs=[Planned(1, "0123456789ab/1", overrides, ("x",), True, None)], minutes=1.0)
    assert none.text == "no time left for 1 more"


def test_a_training_says_under_what_conditions() -> None:
    from rga.tables.run_plan import Planned

    run = Planned(1, "0123456789ab/0", ("experiment=reid", "scale=small", "data=market1501_holdout"), (), True, None)
    config = {"recipe": {"epochs": 20}, "data": {}}
    result = {"metrics": {"rank1": 0.573, "map": 0.412}, "precision": "bf16-mixed", "config": config}
    told = "rank1 57.30, map 41.20 (scale=small, data=market1501_holdout, bf16-mixed, 20 epochs)"
    assert training_summary(run, result) == told


def test_the_order_on_a_gpu(cache: Path) -> None:
    """Checks, then benches, then the paper's ResNet-110 pair on both sets, and the holdout last."""
    names = [step.name for step in measured(True, "cuda")]
    assert [name.split()[0] for name in names] == 5 * ["check"] + 5 * ["bench"]
    assert len(set(names)) == len(names)
    cells = [run.cells[0] for run in trainings(True)]
    assert cells[:4] == [
        "table 7: ResNet (Baseline), CIFAR-10",
        "table 7: ResNet (Baseline), CIFAR-100",
        "table 7: ResNet + RGA-SC, CIFAR-10",
        "table 7: ResNet + RGA-SC, CIFAR-100",
    ]
    assert [cell.split(":")[0] for cell in cells] == 18 * ["table 7"] + 10 * ["table 1"]
    assert all("trainer.precision=bf16-mixed" in run.overrides for run in trainings(True)[:18])


def test_only_places_are_taken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="what is measured is fixed"):
        measure(1.0, tmp_path, ["recipe.epochs=1"])


def test_the_page_has_what_was_recorded(session: Session, tmp_path: Path) -> None:
    session(BAD, GOOD)
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    assert measured_table(folder) == ["Nothing is recorded yet.", ""]
    (folder / "here.jsonl").write_text((tmp_path / "out" / LINES).read_text() + '{"step": "no more"}\n')
    with pytest.warns(UserWarning, match=r"here\.jsonl:3 is left out"):
        table = "\n".join(measured_table(folder))
    assert "| good | fine |" in table
    assert "| bad |" not in table


def test_a_line_that_was_torn_takes_no_other_with_it(session: Session, tmp_path: Path) -> None:
    session(GOOD)
    path = tmp_path / "out" / LINES
    path.write_text(path.read_text() + '{"step": "torn", "su')
    session(GOOD, replace(GOOD, name="more"))
    whole = [json.loads(line)["step"] for line in path.read_text().splitlines() if line.endswith("}")]
    assert whole == ["good", "more"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the process in /proc")
def test_a_signal_ends_the_step_as_well(tmp_path: Path) -> None:
    code = f"""
import sys, rga.measure.session as session
from pathlib import Path
from rga.measure.steps import Step
session.measured = lambda *_: [Step("endless", "signal:pause", {{}})]
session.trainings = lambda *_: []
session.measure(10, Path({str(tmp_path / "out")!r}))
"""
    told = tmp_path / "told"
    with told.open("w") as file, subprocess.Popen([sys.executable, "-c", code], stdout=file, stderr=file) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (found := children.read_text().split()) or not list((tmp_path / "out").glob(".step-*")):
            assert process.poll() is None, told.read_text()
            time.sleep(0.05)
        process.terminate()
    assert process.returncode != 0
    assert not Path(f"/proc/{found[0]}").exists()
    assert "stopped by SIGTERM: what was measured is in" in told.read_text().replace("SIGTERM what", "SIGTERM: what")
    assert not list((tmp_path / "out").glob(".step-*"))
