"""Plans, workers and the status of runs: what is made once, by whom, and what is told of it."""

import json
import os
import re
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

import rga.tables.filling
import rga.training.forkserver
import rga.training.launcher
from rga.errors import ConfigError
from rga.runs import Run, find_results, locked
from rga.runs.compose import compose
from rga.runs.state import State, read_state
from rga.tables.run_plan import Plan, composed, make_plan, read_plan, write_plan
from rga.tables.run_status import as_json, as_text, statuses
from rga.training.launcher import Job, run_jobs
from rga.training.signals import StoppedError
from rga.training.worker import CLAIM, Busy, work

TABLES = Path(__file__).parents[1] / "tables"


@pytest.fixture
def conf(small_conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake = (sys.executable, str(TABLES / "fake_train.py"), str(small_conf))
    monkeypatch.setattr(rga.training.launcher, "COMMAND", fake)
    monkeypatch.setattr(rga.training.forkserver, "PRELOAD", ())
    monkeypatch.chdir(tmp_path)
    return small_conf


@pytest.fixture
def plan(conf: Path) -> Plan:
    return make_plan(["7"], ["seed=0,1"], conf, TABLES)


def never() -> None:
    raise AssertionError("it waited")


def run_of(plan: Plan, number: int, conf: Path) -> Run:
    return composed(plan.runs[number - 1], conf)


def test_each_run_once_baselines_first(plan: Plan, conf: Path) -> None:
    """Three rows of one column with two seeds are six runs, whatever metrics the column has."""
    assert [run.number for run in plan.runs] == [1, 2, 3, 4, 5, 6]
    assert [run.baseline for run in plan.runs] == [True, True, False, False, False, False]
    assert plan.runs[0].cells == ("table 7: Baseline, Market1501",)
    assert len({run.name for run in plan.runs}) == 6
    twice = make_plan(["7", "7"], ["seed=0,1"], conf, TABLES)
    assert twice == plan
    assert "6 to do that nobody has run: time unknown" in plan.summary()


def test_hours_are_those_of_finished_runs(plan: Plan, conf: Path) -> None:
    run_of(plan, 1, conf).write_result({"metrics": {"rank1": 0.5, "map": 0.25}, "duration_s": 7200, "device": "a CPU"})
    again = make_plan(["7"], ["seed=0,1"], conf, TABLES)
    assert [run.hours for run in again.runs] == [2.0, 2.0, None, None, None, None]
    assert again.summary([again.runs[0].name])[:2] == [
        "6 runs behind 6 cells of table 7; 1 finished",
        "1 of the 5 to do: 2 h 00 min, as on a CPU",
    ]
    (other, *_) = make_plan(["7"], ["seed=2"], conf, TABLES).runs
    assert (other.hours, other.on) == (2.0, "a CPU"), "that of another seed"


def test_what_is_recorded_is_not_planned(plan: Plan, conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(plan, 1, conf)
    result = {"fingerprint": run.fingerprint, "seed": 0, "metrics": {}, "duration_s": 3600.0, "recorded": "there"}
    told = rga.tables.filling.results
    monkeypatch.setattr(
        rga.tables.filling,
        "results",
        lambda root, name, folder: [result] if name == run.fingerprint else told(root, name, folder),
    )
    left = make_plan(["7"], ["seed=0,1"], conf, TABLES)
    assert [planned.name for planned in left.runs] == [planned.name for planned in plan.runs[1:]]
    assert left.summary()[:2] == [
        "5 runs behind 5 cells of table 7; 0 finished",
        "1 more are recorded, and not in the plan",
    ]
    write_plan(left, Path("left.jsonl"))
    assert read_plan(Path("left.jsonl")) == left


def test_a_plan_is_frozen(plan: Plan, conf: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.jsonl"
    write_plan(plan, path)
    write_plan(plan, path)
    assert read_plan(path) == plan
    with pytest.raises(ConfigError, match="another plan"):
        write_plan(make_plan(["7"], ["seed=0"], conf, TABLES), path)
    run_of(plan, 1, conf).write_result({"metrics": {"rank1": 0.5, "map": 0.25}, "duration_s": 7200})
    write_plan(make_plan(["7"], ["seed=0,1"], conf, TABLES), path)
    assert read_plan(path) == plan, "the hours are known by now, the numbers are in use"
    with pytest.raises(ConfigError, match="rga train repeats one that is"):
        make_plan(["7"], ["rerun=true"], conf, TABLES)
    with pytest.raises(ConfigError, match="how it is run, rga work says"):
        make_plan(["7"], ["hydra.launcher.jobs=2"], conf, TABLES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], r"holds 5 runs, its first line says 6"),
        (lambda lines: lines[1:], "is no plan"),
        (lambda lines: [*lines[:-1], "{"], r":7 is no line of a plan"),
        (lambda lines: [*lines[:-1], 10**5 * "["], r":7 is no line of a plan"),
        (
            lambda lines: [*lines[:-1], lines[-1].replace('"hours": null', '"hours": NaN')],
            "no run of a plan: hours, on",
        ),
        (lambda lines: [*lines[:-1], lines[-1].replace('"hours": null', '"hours": -5')], "no run of a plan: hours, on"),
        (lambda lines: [*lines[:-1], lines[-1].replace('"seed=1"', '"hydra.run.dir=x"')], "no override of a run"),
        (lambda lines: [*lines[:-1], lines[-1].replace('"name": "', '"name": "../')], "no run of a plan"),
        (
            lambda lines: [*lines[:-1], lines[-1].replace('"number": 6', '"number": "6"')],
            "number missing or",
        ),
        (lambda lines: [lines[0].replace('["7"]', "7"), *lines[1:]], ":1 is no first line of a plan: its tables are 7"),
        (lambda lines: [lines[0].replace('["seed=0,1"]', "null"), *lines[1:]], "its overrides are None"),
        (lambda lines: [*lines[:-1], re.sub(r'"cells": \[.*?\]', '"cells": []', lines[-1])], "no run of a plan"),
        (lambda lines: [*lines[:-1], lines[-2]], "twice: a plan has each once"),
    ],
)
def test_a_damaged_plan(plan: Plan, tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "plan.jsonl"
    write_plan(plan, path)
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(ConfigError, match=message):
        read_plan(path)


def test_a_plan_of_other_configs_is_refused(plan: Plan, conf: Path) -> None:
    changed = replace(plan.runs[0], overrides=(*plan.runs[0].overrides, "recipe.epochs=1"))
    with pytest.raises(ConfigError, match="the configs have changed since the plan was made"):
        work(replace(plan, runs=(changed,)), Path("plan.jsonl"), conf=conf, pause=never)


def test_configs_that_change_while_a_worker_works(plan: Plan, conf: Path, tmp_path: Path) -> None:
    """Each job is told which run it is to be, so none is trained under another name."""
    jobs = [Job(run.overrides, composed(run, conf), str(run.number)) for run in plan.runs[:1]]
    run_jobs(jobs, [{}])
    (result,) = jobs[0].run.folder.glob("result.json")
    assert f"hydra.job.name={plan.runs[0].name}" in json.loads(result.read_text())["arguments"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_waiting_worker_says_where_it_was_stopped(
    plan: Plan, conf: Path, capfd: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    with ExitStack() as others:
        for planned in plan.runs:
            others.enter_context(locked(composed(planned, conf).folder, CLAIM))
        with pytest.raises(StoppedError) as stopped:
            work(plan, Path("plan.jsonl"), conf=conf, pause=lambda: os.kill(os.getpid(), number))
    assert stopped.value.code == 128 + number
    assert f"stopped by {number.name} between two runs; the same command" in capfd.readouterr().err


def test_a_plan_builds_nothing_foreign(plan: Plan, conf: Path) -> None:
    """Its name fits its overrides, and yet nothing of it is run."""
    overrides = (*plan.runs[0].overrides, "++task._target_=os.system")
    config = compose(overrides, conf=conf)
    run = Run(config["paths"]["runs"], config)
    foreign = replace(plan.runs[0], overrides=overrides, name=f"{run.fingerprint}/{run.seed}")
    with pytest.raises(ConfigError, match=r"os\.system"):
        work(replace(plan, runs=(foreign,)), Path("plan.jsonl"), conf=conf, pause=never)


def test_a_worker_makes_them_all_and_another_nothing(plan: Plan, conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert work(plan, Path("plan.jsonl"), jobs=2, conf=conf, pause=never) == []
    assert sum(map(len, find_results("runs").values())) == 6
    assert {status.state for status in statuses("runs", plan)} == {"finished"}
    assert "run 1 (table 7: Baseline, Market1501, seed 0)" in capfd.readouterr().err
    assert work(plan, Path("plan.jsonl"), conf=conf, pause=never) == []
    assert capfd.readouterr().err == ""


def test_a_run_that_another_makes_is_waited_for(plan: Plan, conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is finished by the other while this worker pauses; nothing is made twice."""
    busy = run_of(plan, 3, conf)
    held = locked(busy.folder, CLAIM)
    held.__enter__()

    def pause() -> None:
        assert sum(map(len, find_results("runs").values())) == 5
        busy.write_result({"metrics": {"rank1": 0.125, "map": 0.25}})
        held.__exit__(None, None, None)

    assert work(plan, Path("plan.jsonl"), conf=conf, pause=pause) == []
    assert busy.result()["metrics"]["rank1"] == 0.125
    assert "waiting for run 3 (" in capfd.readouterr().err


def test_a_run_that_is_given_up_is_taken_over(plan: Plan, conf: Path) -> None:
    busy = run_of(plan, 3, conf)
    held = busy.lock()  # as `rga train` holds it
    held.__enter__()
    assert work(plan, Path("plan.jsonl"), conf=conf, pause=lambda: held.__exit__(None, None, None) and None) == []
    assert busy.result()["metrics"]["rank1"] == 0.5


@pytest.mark.parametrize("busy", [Busy.skip, Busy.fail])
def test_what_another_makes_may_be_left(plan: Plan, conf: Path, busy: Busy) -> None:
    with locked(run_of(plan, 3, conf).folder, CLAIM):
        if busy is Busy.fail:
            with pytest.raises(ConfigError, match=r"run 3 .*another process is making it"):
                work(plan, Path("plan.jsonl"), conf=conf, busy=busy, pause=never)
        else:
            assert work(plan, Path("plan.jsonl"), conf=conf, busy=busy, pause=never) == []
    assert sum(map(len, find_results("runs").values())) == 5


def test_a_run_that_fails_is_told_and_the_others_are_made(plan: Plan, conf: Path) -> None:
    overrides = tuple("attention=broken" if "attention" in line else line for line in plan.runs[1].overrides)
    config = compose(overrides, conf=conf)
    broken = replace(plan.runs[1], overrides=overrides, name=f"{Run('runs', config).fingerprint}/1")
    failed = work(replace(plan, runs=(broken, *plan.runs[2:])), Path("plan.jsonl"), conf=conf, pause=never)
    assert len(failed) == 1
    assert "exit status 3: ValueError: the loss is not finite" in failed[0]
    assert sum(map(len, find_results("runs").values())) == 4


def test_what_every_run_is_doing(plan: Plan, conf: Path) -> None:
    running, stopped, failed = (run_of(plan, number, conf) for number in (1, 2, 3))
    half = State.begun(("table 7: RGA-S, Market1501",), 600, 0).after(150, 36.0, {"loss": 1.5})
    for run in (running, stopped):
        half.write(run.folder)
    half.ended(ValueError("first\nthe loss is not finite\n")).write(failed.folder)
    for run in (stopped, failed):
        (run.folder / "last.ckpt").touch()
    with running.lock():
        found = statuses("runs", replace(plan, runs=(*plan.runs[:3], *plan.runs[4:])))
    assert [status.state for status in found] == ["running", "interrupted", "failed", "not begun", "not begun"]
    assert (found[0].epoch, found[0].epochs, found[0].hours_left) == (150, 600, 4.5)
    assert found[1].checkpoint_minutes is not None
    assert found[2].error == "the loss is not finite"
    text = as_text(found)
    assert text.splitlines()[-1] == "5 runs: 1 running, 1 failed, 1 interrupted, 2 not begun"
    assert "150/600" in text
    assert [entry["state"] for entry in json.loads(as_json(found))][:2] == ["running", "interrupted"]
    replace(half, saved=149).write(stopped.folder)
    goes_on = statuses("runs")[[status.run for status in statuses("runs")].index(stopped.name)]
    assert (goes_on.state, goes_on.epoch) == ("interrupted", 149), "what is saved, not what was reached"
    (stopped.folder / "last.ckpt").unlink()  # as in a folder that was copied in part
    partial = statuses("runs")[[status.run for status in statuses("runs")].index(stopped.name)]
    assert (partial.state, partial.epoch, partial.hours_left) == ("interrupted", 0, 6.0)
    assert partial.error == "there is no last.ckpt, so that it begins anew at epoch 0"


def test_the_runs_that_a_plan_does_not_have(plan: Plan, conf: Path) -> None:
    """Other seeds of its configs are sound; what has its cells with other configs, and is not finished, is stale."""
    cells = ("table 7: RGA-S, Market1501",)
    first, other = run_of(plan, 3, conf), run_of(plan, 4, conf)
    assert first.fingerprint == other.fingerprint
    other.write_result({"metrics": {"rank1": 0.5, "map": 0.25}, "cells": list(cells)})
    mine = replace(plan, runs=tuple(run for run in plan.runs if run.name != other.name))
    assert [status.state for status in statuses("runs", mine)] == 5 * ["not begun"]
    without = replace(plan, runs=(replace(plan.runs[0], cells=cells),))
    assert [status.state for status in statuses("runs", without)] == ["not begun"], "a run of another setting"
    State.begun(cells, 600, 0).write(first.folder)
    assert [(status.run, status.state) for status in statuses("runs", without)][1:] == [(first.name, "stale")]
    with first.lock():
        assert [status.state for status in statuses("runs", without)] == ["not begun", "running"]


@pytest.mark.parametrize("seconds", ["NaN", "Infinity", "-5", "1e308"])
def test_a_damaged_result_is_no_finished_run(plan: Plan, conf: Path, seconds: str) -> None:
    run = run_of(plan, 1, conf)
    run.write_result({"metrics": {"rank1": 0.5, "map": 0.25}, "duration_s": 7200.5})
    path = run.folder / "result.json"
    path.write_text(path.read_text().replace("7200.5", seconds))
    with pytest.warns(UserWarning, match=r"is left out: its duration_s is"):
        (found,) = statuses("runs")
    assert found.state == "failed"
    assert found.error is not None
    assert "result.json is damaged" in found.error


def test_runs_that_lie_too_deep_are_named(plan: Plan, conf: Path, tmp_path: Path) -> None:
    run_of(plan, 1, conf).write_result({"metrics": {"rank1": 0.5, "map": 0.25}})
    (tmp_path / "all").mkdir()
    Path("runs").rename("all/one")
    with pytest.warns(UserWarning, match=r"1 finished runs in all/one are not shown: --runs all/one shows them"):
        assert statuses("all") == []
    assert len(statuses("all/one")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"cells": [], "epochs": 3, "seconds_per_epoch": Infinity}',
        '{"cells": 3}',
        '{"cells": [], "epochs": "x"}',
    ],
)
def test_a_damaged_state_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert read_state(tmp_path) is None
