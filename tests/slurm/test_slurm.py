"""On a real SLURM (tests/slurm/up.sh): whatever ends a job, it resumes where it was and ends with the same metrics."""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rga.runs import find_results
from training.command import SMALL, only_result, train, what_counts

pytestmark = pytest.mark.slurm
DISTURBED = Path(__file__).parents[1] / "training" / "disturbed.py"
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")
TWO = ["trainer=ddp_cpu", "trainer.devices=2"]

# What ends a job, and in which state it then is; None: it is started again by itself.
ENDS = {
    "usr1": ("scancel --signal=USR1 $SLURM_JOB_ID", None),
    "requeue": ("scontrol requeue $SLURM_JOB_ID", None),
    "scancel": ("scancel $SLURM_JOB_ID", "CANCELLED"),
    "limit": ("scontrol update JobId=$SLURM_JOB_ID TimeLimit=00:00:01", "TIMEOUT"),
}


@pytest.fixture(scope="session")
def slurm() -> None:
    """Skip where there is none."""
    try:
        up = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no SLURM: tests/slurm/up.sh starts one")
    if not any(state in up for state in ("idle", "mixed", "allocated")):
        pytest.skip("no node of SLURM is up")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, slurm: None) -> Path:
    return tmp_path_factory.mktemp("slurm")


@pytest.fixture(scope="module")
def whole(folder: Path) -> tuple[Any, Any]:
    """What counts of a run that nothing has disturbed."""
    train(folder / "whole")
    return what_counts(only_result(folder / "whole"))


def submit(folder: Path, name: str, *overrides: str, epoch: int = 0, end: str = "", tasks: int = 1) -> str:
    """Send `rga train` to the queue, to be disturbed in an epoch by a command; gives the job's number."""
    paths = [f"paths.runs={folder / name}", f"paths.data={folder / 'data'}"]
    program = [sys.executable, str(DISTURBED), "0", str(epoch), str(folder / f"{name}.done"), end]
    script = folder / f"{name}.sh"
    script.write_text(f"#!/bin/sh\nsrun --overlap {shlex.join([*program, *SMALL, *paths, *overrides])}\n")
    options = [
        f"--ntasks={tasks}", "--requeue", f"--output={folder / name}.log", "--open-mode=append", "--parsable",
        f"--export=ALL,OMP_NUM_THREADS=1,XDG_CACHE_HOME={folder / 'cache'}", "--oversubscribe",
    ]  # fmt: skip
    return ask("sbatch", *options, str(script))


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def state(job: str) -> dict[str, str]:
    return dict(field.partition("=")[::2] for field in ask("scontrol", "show", "job", "--oneliner", job).split())


def wait(job: str, until: Callable[[dict[str, str]], bool] = lambda now: now["JobState"] in ENDED) -> dict[str, str]:
    """Until a job has ended. One that was requeued would stay in the queue for two minutes."""
    while not until(now := state(job)):
        if now["JobState"] == "PENDING" and now["Reason"] == "BeginTime":
            ask("scontrol", "update", f"JobId={job}", "StartTime=now")
        time.sleep(1)
    return now


def log(folder: Path, name: str) -> str:
    return (folder / f"{name}.log").read_text()


@pytest.fixture(scope="module")
def jobs(folder: Path, whole: tuple[Any, Any]) -> dict[tuple[str, int], str]:
    """All jobs at once: most of their time is spent on waiting for SLURM."""
    return {
        (kind, epoch): submit(folder, f"{kind}{epoch}", epoch=epoch, end=end)
        for kind, (end, _) in ENDS.items()
        for epoch in (0, 2)
    }


@pytest.mark.parametrize("epoch", [0, 2])  # before the first checkpoint, and after the second
@pytest.mark.parametrize("kind", ENDS)
def test_a_job_that_is_ended_goes_on(
    folder: Path, whole: tuple[Any, Any], jobs: dict[tuple[str, int], str], kind: str, epoch: int
) -> None:
    name, job, expected = f"{kind}{epoch}", jobs[kind, epoch], ENDS[kind][1]
    ended = wait(job)
    told = log(folder, name)
    kept = f"epoch {epoch} is saved" if epoch else "no epoch is saved yet"
    signal = "SIGUSR1" if kind == "usr1" else "SIGTERM"
    assert f"stopped by {signal} in epoch {epoch + 1} of 4: {kept}" in told
    if expected is None:
        assert int(ended["Restarts"]) == 1
    else:
        assert ended["JobState"] == expected, told
        assert list((folder / name).glob("*/*/result.json")) == []
        ended = wait(submit(folder, name))
    assert ended["JobState"] == "COMPLETED", told
    assert what_counts(only_result(folder / name)) == whole
    assert ("resuming from" in log(folder, name)) == bool(epoch)


def test_two_tasks_are_one_run(folder: Path) -> None:
    """Started by srun they are what Lightning's own two processes are; preempted as well."""
    train(folder / "two", *TWO)
    undisturbed = what_counts(only_result(folder / "two"))
    plain = submit(folder, "tasks", *TWO, tasks=2)
    preempted = submit(folder, "tasks1", *TWO, epoch=1, end=ENDS["usr1"][0], tasks=2)
    for job, name in ((plain, "tasks"), (preempted, "tasks1")):
        assert wait(job)["JobState"] == "COMPLETED", log(folder, name)
        assert what_counts(only_result(folder / name)) == undisturbed
    assert log(folder, "tasks1").count("stopped by SIGUSR1 in epoch 2 of 4: epoch 1 is saved") == 1
    assert "is requeued" in log(folder, "tasks1")


def test_two_tasks_of_a_run_for_one_are_refused(folder: Path) -> None:
    ended = wait(submit(folder, "refused", tasks=2))
    assert ended["JobState"] == "FAILED"
    assert "srun has started 2 processes" in log(folder, "refused")
    assert "trainer=ddp_cpu trainer.devices=2" in log(folder, "refused")
    assert "Traceback" not in log(folder, "refused")


def test_a_script_without_srun_is_one_process(folder: Path, whole: tuple[Any, Any]) -> None:
    """Whatever it has allocated."""
    paths = [f"paths.runs={folder / 'script'}", f"paths.data={folder / 'data'}"]
    command = shlex.join([sys.executable, "-m", "rga", "train", *SMALL, *paths])
    options = ["--ntasks=2", f"--output={folder / 'script.log'}", "--parsable", "--oversubscribe"]
    job = ask("sbatch", *options, "--export=ALL,OMP_NUM_THREADS=1", "--wrap", command)
    assert wait(job)["JobState"] == "COMPLETED", log(folder, "script")
    assert what_counts(only_result(folder / "script")) == whole


def test_the_launcher_sends_each_run_as_a_job(folder: Path, whole: tuple[Any, Any]) -> None:
    pytest.importorskip("submitit")
    asks = ["gpus_per_node=null", "mem_gb=null", "cpus_per_task=1"]
    launcher = ["hydra/launcher=slurm", *(f"hydra.launcher.{option}" for option in asks)]
    train(folder / "launched", "seed=0,1", *launcher, sweep=True)
    counts = [what_counts(result) for found in find_results(folder / "launched").values() for result in found]
    assert len(counts) == 2
    assert counts[0] == whole
