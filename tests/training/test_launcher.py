"""The jobs of a sweep as processes: what is started, what is not, and what is told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

import rga.training.forkserver
import rga.training.launcher
from rga.runs import Run, find_results
from rga.runs.compose import compose
from rga.training.launcher import Job, run_jobs, slots_for

FAKE = Path(__file__).parents[1] / "tables" / "fake_train.py"


@pytest.fixture
def conf(small_conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config tree, a working folder, and a fake for `rga train` (tests/tables/fake_train.py)."""
    monkeypatch.setattr(rga.training.launcher, "COMMAND", (sys.executable, str(FAKE), str(small_conf)))
    monkeypatch.setattr(rga.training.forkserver, "PRELOAD", ())
    monkeypatch.chdir(tmp_path)
    return small_conf


def sweep(conf: Path, *arguments: str) -> None:
    """`rga train -m ARGUMENTS`, in this process."""

    def task(config: Any) -> None:
        raise AssertionError("a job ran inside the sweep's own process")

    before = sys.argv
    sys.argv = ["rga train", "-m", *arguments]
    try:
        hydra.main(config_path=str(conf), config_name="train", version_base="1.3")(task)()
    finally:
        sys.argv = before
        GlobalHydra.instance().clear()


def results(folder: str = "runs") -> list[dict[str, Any]]:
    return [result for found in find_results(folder).values() for result in found]


def job(conf: Path, *overrides: str) -> Job:
    config = compose(overrides, conf=conf)
    return Job(overrides, Run(config["paths"]["runs"], config), " ".join(overrides))


def test_a_sweep_runs_each_job_once(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sweep(conf, "attention=none,rga_s", "seed=0,1")
    assert sorted((r["config"]["attention"]["after"], r["seed"]) for r in results()) == [
        ([], 0),
        ([], 1),
        ([1, 2, 3, 4], 0),
        ([1, 2, 3, 4], 1),
    ]
    told = capfd.readouterr().err
    assert "4 runs to do, 1 at a time" in told
    assert "[4/4] attention=rga_s seed=1: " in told
    assert told.rstrip().endswith("0 left")

    stamps = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("result.json")}
    sweep(conf, "attention=none,rga_s", "seed=0,1")
    assert "4 runs were finished before" in capfd.readouterr().err
    assert stamps == {path: path.stat().st_mtime_ns for path in Path("runs").rglob("result.json")}


def test_equal_jobs_run_once(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sweep(conf, "data.workers=1,2")
    assert "1 run to do" in capfd.readouterr().err
    assert len(results()) == 1


def test_a_rerun_is_run(conf: Path) -> None:
    sweep(conf, "attention=none")
    (first,) = Path("runs").rglob("result.json")
    stamp = first.stat().st_mtime_ns
    sweep(conf, "attention=none", "rerun=true")
    assert first.stat().st_mtime_ns > stamp


def test_jobs_get_what_concerns_them(conf: Path, tmp_path: Path) -> None:
    sweep(conf, "attention=none", "hydra.launcher.jobs=2", "+hydra.job.env_set.A=b", "hydra.sweep.dir=sweeps")
    (result,) = results()
    assert result["arguments"] == ["+hydra.job.env_set.A=b", "attention=none", "hydra.mode=RUN"]


def test_failures_are_told_and_the_sweep_goes_on(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        sweep(conf, "attention=broken,killed,none")
    assert ended.value.code == 1
    assert len(results()) == 1
    told = capfd.readouterr().err
    broken = job(conf, "attention=broken")
    assert f"FAILED: exit status 3: ValueError: the loss is not finite (see {broken.console})" in told
    assert "FAILED: killed by SIGKILL" in told
    assert "2 failed; the same command tries them again" in told
    assert "Traceback" not in told
    assert "computing" in broken.console.read_text()


def test_a_process_that_leaves_no_result_has_failed(
    conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nothing.py").touch()
    monkeypatch.setattr(rga.training.launcher, "COMMAND", (sys.executable, str(tmp_path / "nothing.py")))
    (outcome,) = run_jobs([job(conf, "attention=none")], [{}])
    assert outcome.error == "ended without a result: it printed nothing"


def test_the_value_of_a_job_is_the_objective(conf: Path) -> None:
    from rga.tables.missing import _launch

    jobs = [["attention=none", "objective=map"], ["attention=rga_s"]]
    returns = _launch(jobs, [], lambda config: None, conf)
    assert [ret.return_value for ret in returns] == [0.25, {"rank1": 0.5, "map": 0.25}]
    GlobalHydra.instance().clear()


def test_cores_are_shared(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rga.training.launcher, "_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    jobs = [job(conf, f"attention={name}") for name in ("none", "rga_s", "rga_c")]
    assert slots_for("auto", jobs) == [{}]
    assert slots_for(2, jobs) == 2 * [{"OMP_NUM_THREADS": "4"}]
    assert slots_for(20, jobs) == 3 * [{"OMP_NUM_THREADS": "2"}]
    demo = [job(conf, f"attention={name}", "scale=demo") for name in ("none", "rga_s", "rga_c")]
    assert slots_for("auto", demo) == 3 * [{"OMP_NUM_THREADS": "2"}]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert slots_for(2, jobs) == [{}, {}]
    with pytest.raises(ValueError, match=r"jobs=0"):
        slots_for(0, jobs)


@pytest.mark.parametrize(
    ("devices", "jobs", "expected"),
    [
        ("1", "auto", ["a", "b", "c"]),
        ("auto", "auto", ["a", "b", "c"]),
        ("2", "auto", ["a,b"]),
        ("8", "auto", ["a,b,c"]),
        ("-1", "auto", ["a,b,c"]),
        ("[0,1]", "auto", ["a,b,c"]),
        ("1", 1, ["a"]),
        ("1", 4, ["a", "b", "c", "a"]),
    ],
)
def test_gpus_are_dealt_out(
    conf: Path, monkeypatch: pytest.MonkeyPatch, devices: str, jobs: Any, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "a,b,c")
    todo = [job(conf, "trainer.accelerator=auto", f"trainer.devices={devices}", f"seed={seed}") for seed in range(5)]
    assert slots_for(jobs, todo) == [{"CUDA_VISIBLE_DEVICES": gpus} for gpus in expected]
    on_cpu = [job(conf, f"trainer.devices={devices}")]
    assert slots_for("auto", on_cpu) == [{}]


def test_a_machine_without_gpus(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert slots_for("auto", [job(conf, "trainer.accelerator=auto")]) == [{}]


def test_several_at_a_time_with_their_environment(conf: Path) -> None:
    jobs = [job(conf, f"seed={seed}") for seed in range(3)]
    outcomes = run_jobs(jobs, [{"CUDA_VISIBLE_DEVICES": "x"}, {"CUDA_VISIBLE_DEVICES": "y"}])
    assert [outcome.error for outcome in outcomes] == 3 * [None]
    assert {result["environment"]["CUDA_VISIBLE_DEVICES"] for result in results()} == {"x", "y"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_process_is_left_behind(conf: Path, tmp_path: Path, number: int) -> None:
    (tmp_path / "runs").mkdir()
    # What started the tests may have had signals ignored (nohup, a shell's &); that would be inherited.
    code = f"""
import signal, sys, rga.training.forkserver, rga.training.launcher
from rga.runs.compose import compose
from rga.training.launcher import Job, run_jobs
from rga.runs import Run
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
rga.training.launcher.COMMAND = (sys.executable, {str(FAKE)!r}, {str(conf)!r})
rga.training.forkserver.PRELOAD = ()
config = compose(["attention=slow"], conf={str(conf)!r})
run_jobs([Job(("attention=slow",), Run("runs", config), "slow")], [{{}}])
"""
    sweeping = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        pids = _wait_for(tmp_path / "runs" / "pids")
        sweeping.send_signal(number)
        assert sweeping.wait(20) != 0
        assert not any(_alive(pid) for pid in pids)
    finally:
        sweeping.kill()


def _wait_for(path: Path) -> list[int]:
    for _ in range(400):
        if path.exists() and len(path.read_text().split()) == 2:
            return [int(pid) for pid in path.read_text().split()]
        time.sleep(0.05)
    raise AssertionError(f"{path} was never written")


def _alive(pid: int) -> bool:
    """Whether a process is running (one that has ended and that nobody has waited for is not)."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_table_is_run_by_the_launcher(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from rga.tables import fill, load
    from rga.tables.missing import run_missing

    table = load("7", FAKE.parent)
    overrides = ["seed=0,1", "scale=demo"]
    assert run_missing(fill(table, overrides, conf), ["hydra.launcher.jobs=2"], lambda config: None, conf) == []
    filled = fill(table, overrides, conf)
    assert [cell.n for cell in filled.cells if cell.entry] == 6 * [2]
    assert "6 runs to do, 2 at a time" in capfd.readouterr().err
    assert run_missing(filled, [], lambda config: None, conf) == []
    assert capfd.readouterr() == ("", "")
    GlobalHydra.instance().clear()


def test_other_launchers_serve_a_table_too(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from rga.tables import fill, load
    from rga.tables.missing import run_missing

    seen = []

    def task(config: Any) -> None:
        print("this is not the table")
        seen.append(config.seed)
        if config.seed == 1:
            raise ValueError("the loss is not finite")

    filled = fill(load("7", FAKE.parent), ["seed=0,1"], conf)
    failures = run_missing(filled, ["hydra/launcher=basic"], task, conf)
    assert seen == [0, 1, 0, 1, 0, 1]
    assert failures[0] == "Baseline on Market1501, seed 1: the loss is not finite"
    assert len(failures) == 3
    assert capfd.readouterr().out == ""
    GlobalHydra.instance().clear()


def test_an_unknown_launcher_is_named(conf: Path) -> None:
    from rga.errors import ConfigError
    from rga.tables import fill, load
    from rga.tables.missing import run_missing

    with pytest.raises(ConfigError, match="no_such"):
        run_missing(fill(load("7", FAKE.parent), [], conf), ["hydra/launcher=no_such"], lambda config: None, conf)
