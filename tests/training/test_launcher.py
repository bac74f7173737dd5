"""The jobs of a sweep as processes: what is started, what is not, and what is told."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

import rga.training.forkserver
import rga.training.launcher
import rga.training.shares
from rga.errors import ConfigError
from rga.runs import FolderBusyError, Run, find_results
from rga.runs.compose import compose
from rga.training.launcher import Job, run_jobs
from rga.training.shares import alike, slots_for

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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=a,b"], "seed=a: expected a whole number"),
        (["seed=0,0.5"], "seed=0.5: expected a whole number"),
        (
            ["data.root=/a,/b"],
            "data.root=/a and data.root=/b would be one run, .* of data.root=/a and of data.root=/b: give",
        ),
        (["attention=glob(nothing*)"], "the sweep has no runs: a glob in it matches none"),
    ],
)
def test_a_sweep_that_names_no_runs(conf: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigError, match=said):
        sweep(conf, *words)
    assert not results()


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
    name = f"hydra.job.name={result['fingerprint']}/{result['seed']}"
    assert result["arguments"] == ["+hydra.job.env_set.A=b", "attention=none", "hydra.mode=RUN", name]


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

    jobs = [("first", ["attention=none", "objective=map"]), ("second", ["attention=rga_s"])]
    returns = _launch(jobs, [], lambda config: None, conf)
    assert [ret.return_value for ret in returns] == [0.25, {"rank1": 0.5, "map": 0.25}]
    GlobalHydra.instance().clear()


OPTUNA = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1", "seed=choice(0,1)"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["objective=map"], "the search is for the worst map, whose higher value is the better one"),
        (["objective=val/error", "hydra.sweeper.direction=maximize"], "whose lower value is the better one"),
        (["hydra.sweeper.direction=maximize"], "objective=METRIC"),
    ],
)
def test_a_search_is_for_the_best(conf: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], told: str) -> None:
    """Optuna's sweeper minimizes unless it is told otherwise."""
    pytest.importorskip("optuna")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigError, match=told):
        sweep(conf, *OPTUNA, *given)
    assert not results()


def test_a_search_finds_the_best(conf: Path) -> None:
    pytest.importorskip("optuna")
    sweep(conf, *OPTUNA, "objective=map", "hydra.sweeper.direction=maximize")
    assert {result["seed"] for result in results()} <= {0, 1}
    assert "best_value: 0.25" in Path("runs/sweeps/optimization_results.yaml").read_text()


def test_a_working_directory_of_hydras_is_refused(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigError, match=r"hydra\.job\.chdir=true: runs and data have folders of their own"):
        sweep(conf, "seed=0,1", "hydra.job.chdir=true")
    assert not results()


def test_cores_are_shared(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rga.training.shares, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    jobs = [job(conf, f"attention={name}") for name in ("none", "rga_s", "rga_c")]
    assert slots_for("auto", jobs) == [{}]
    assert slots_for(2, jobs) == 2 * [{"RGA_CORES": "4", "OMP_NUM_THREADS": "4"}]
    assert slots_for(20, jobs) == 3 * [{"RGA_CORES": "2", "OMP_NUM_THREADS": "2"}]
    demo = [job(conf, f"attention={name}", "scale=demo") for name in ("none", "rga_s", "rga_c")]
    assert slots_for("auto", demo) == 3 * [{"RGA_CORES": "2", "OMP_NUM_THREADS": "2"}]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert slots_for(2, jobs) == 2 * [{"RGA_CORES": "4"}]
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
    monkeypatch.setattr(rga.training.shares, "_shares", lambda count, processes: {})
    todo = [job(conf, "trainer.accelerator=auto", f"trainer.devices={devices}", f"seed={seed}") for seed in range(5)]
    assert slots_for(jobs, todo) == [{"CUDA_VISIBLE_DEVICES": gpus} for gpus in expected]
    on_cpu = [job(conf, f"trainer.devices={devices}")]
    assert slots_for("auto", on_cpu) == [{}]


def test_jobs_on_gpus_share_the_cores(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "a,b,c,d")
    monkeypatch.setattr(rga.training.shares, "cores", lambda: 16)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    todo = [job(conf, "trainer.accelerator=auto", "trainer.devices=2", f"seed={seed}") for seed in range(3)]
    share = {"RGA_CORES": "8", "OMP_NUM_THREADS": "4"}  # of a job; of each of its two processes
    assert slots_for("auto", todo) == [{"CUDA_VISIBLE_DEVICES": gpus, **share} for gpus in ("a,b", "c,d")]


def test_a_mixed_sweep_gives_each_job_what_it_asks_for(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "a,b,c")
    monkeypatch.setattr(rga.training.shares, "_shares", lambda count, processes: {})
    one = [job(conf, "trainer.accelerator=auto", "trainer.devices=1", f"seed={seed}") for seed in range(2)]
    two, on_cpu = job(conf, "trainer.accelerator=auto", "trainer.devices=2"), job(conf)
    groups = alike([one[0], on_cpu, two, one[1]])
    assert groups == [[two], one, [on_cpu]]
    assert [[slot.get("CUDA_VISIBLE_DEVICES") for slot in slots_for("auto", group)] for group in groups] == [
        ["a,b"],
        ["a", "b"],
        [None],
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert alike([one[0], two]) == [[one[0], two]]
    assert alike([]) == []


def test_a_machine_without_gpus(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert slots_for("auto", [job(conf, "trainer.accelerator=auto")]) == [{}]


def test_several_at_a_time_with_their_environment(conf: Path) -> None:
    jobs = [job(conf, f"seed={seed}") for seed in range(3)]
    outcomes = run_jobs(jobs, [{"CUDA_VISIBLE_DEVICES": "x"}, {"CUDA_VISIBLE_DEVICES": "y"}])
    assert [outcome.error for outcome in outcomes] == 3 * [None]
    assert {result["environment"]["CUDA_VISIBLE_DEVICES"] for result in results()} == {"x", "y"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_process_is_left_behind(conf: Path, tmp_path: Path, number: signal.Signals) -> None:
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
    told = tmp_path / "told"
    with told.open("w") as file:
        sweeping = subprocess.Popen([sys.executable, "-c", code], stderr=file)
    try:
        pids = _wait_for(tmp_path / "runs" / "pids")
        sweeping.send_signal(number)
        assert sweeping.wait() == 128 + number
        assert not any(_alive(pid) for pid in pids)
        line = f"rga: stopped by {number.name} with 0 of 1 runs done; the same command makes the rest"
        assert told.read_text().splitlines()[1:] == [line]
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


def test_a_sweeper_finds_its_folder(conf: Path) -> None:
    """Those that search write what they have found into it, at the end."""
    sweep(conf, "attention=none", "hydra.sweep.dir=new/sweeps")
    assert Path("new/sweeps").is_dir()


def _busy_for(monkeypatch: pytest.MonkeyPatch, looks: int, then: Callable[[Run], object]) -> None:
    """Have another process work on what attention=rga_s is, for some looks at it; it leaves with `then`."""
    seen: list[Run] = []

    def busy(run: Run) -> bool:
        if run.config["attention"]["after"] and len(seen) <= looks:
            seen.append(run)
            if len(seen) > looks:
                then(run)
        return bool(run.config["attention"]["after"]) and len(seen) <= looks

    monkeypatch.setattr(Run, "busy", property(busy))
    monkeypatch.setattr(rga.training.launcher, "_LOOK", 0.0)


@pytest.mark.parametrize("finished", [True, False])
def test_what_another_process_is_busy_with_is_waited_for(
    conf: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], finished: bool
) -> None:
    """The same sweep in two terminals: what the other one leaves unfinished is made here, at the end."""
    other = {"metrics": {"map": 0.75}}
    _busy_for(monkeypatch, 3, lambda run: run.write_result(other) if finished else None)
    sweep(conf, "attention=rga_s,none", "seed=0,1")
    told = capfd.readouterr().err
    assert told.index("[1/4] attention=none seed=0") < told.index("attention=rga_s seed=0")
    assert "FAILED" not in told
    assert [result["metrics"]["map"] for result in results()].count(0.75) == finished


def test_what_another_process_is_busy_with_is_skipped(
    conf: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _busy_for(monkeypatch, 10**6, lambda run: None)
    sweep(conf, "attention=rga_s,none", "hydra.launcher.busy=skip")
    assert "[2/2] attention=rga_s: 0 s, skipped: another process is making it" in capfd.readouterr().err
    assert len(results()) == 1


def test_what_another_process_is_busy_with_fails(
    conf: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _busy_for(monkeypatch, 10**6, lambda run: None)
    with pytest.raises(SystemExit):
        sweep(conf, "attention=rga_s,none", "hydra.launcher.busy=fail")
    assert "FAILED: another process is making it" in capfd.readouterr().err
    assert len(results()) == 1


def test_a_job_that_another_process_has_taken_at_the_same_moment(
    conf: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails to lock its folder, and is no failure of the sweep's."""
    taken = job(conf, "attention=broken")
    looks = []

    def busy(run: Run) -> bool:
        looks.append(run)
        if len(looks) == 3:
            run.write_result({"metrics": {"map": 0.75}})
        return len(looks) == 2  # not when it is started, but when it has failed

    monkeypatch.setattr(Run, "busy", property(busy))
    monkeypatch.setattr(rga.training.launcher, "_LOOK", 0.0)
    (outcome,) = run_jobs([taken], [{}])
    assert outcome.error is None


def test_whether_a_folder_is_busy(conf: Path) -> None:
    run = job(conf, "attention=none").run
    assert not run.busy
    with run.lock():
        assert run.busy
        with pytest.raises(FolderBusyError), run.lock():
            pass
    assert not run.busy


def test_jobs_are_by_themselves(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that srun or torchrun has started, maybe several times, is not what its jobs are a part of."""
    for name in ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    shown = conf / "show.py"
    shown.write_text("import os, sys\nprint(sorted(name for name in os.environ if name in sys.argv[1:]))\n")
    names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID")
    monkeypatch.setattr(rga.training.launcher, "COMMAND", (sys.executable, str(shown), *names))
    (outcome,) = run_jobs([job(conf, "attention=none")], [{}])
    assert outcome.error == "ended without a result: ['SLURM_JOB_ID']"


def test_a_table_is_run_by_the_launcher(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from rga.tables import fill, load
    from rga.tables.missing import run_missing

    table = load("7", FAKE.parent)
    overrides = ["seed=0,1", "scale=demo"]
    assert run_missing(fill(table, overrides, conf), ["hydra.launcher.jobs=2"], lambda config: None, conf) == []
    filled = fill(table, overrides, conf)
    assert [cell.n for cell in filled.cells if cell.entry] == 6 * [2]
    told = capfd.readouterr().err
    assert "6 runs to do, 2 at a time" in told
    assert "] Baseline on Market1501, seed 1: " in told, "a job is called by its row"
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
