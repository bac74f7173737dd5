"""A signal ends a run in one line, with its own exit status, and the same command resumes it to the same metrics."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rga.runs.state import read_state
from rga.training import signals
from rga.training.signals import StoppedError, requeue, stopping
from training.command import SMALL, what_counts
from training.inside import At, make, signalled

TESTS = str(Path(__file__).parents[1])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> tuple[Path, tuple[Any, Any]]:
    """Where runs go, and what counts of a run that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("signals")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(shared_cache))
        return folder, what_counts(make(folder / "whole"))


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for SLURM's command, and a job to be in; gives the file with what it was asked."""
    asked = tmp_path / "asked"
    command = tmp_path / "bin" / "scontrol"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\necho "$@" >> {asked}\nif [ "$2" = 13 ]; then echo "no such job" >&2; exit 1; fi\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    return asked


@pytest.mark.parametrize(("name", "epoch"), [("TERM", 0), ("TERM", 2), ("INT", 1), ("USR1", 0), ("USR1", 2)])
def test_stopped_and_started_again_it_ends_the_same(
    undisturbed: tuple[Path, tuple[Any, Any]],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
    epoch: int,
) -> None:
    number = signal.Signals[f"SIG{name}"]
    monkeypatch.setattr(signal, "getsignal", _of_a_terminal(signal.getsignal))
    before = [signal.getsignal(each) for each in signals._STOPPING]
    folder, whole = undisturbed
    with pytest.raises(StoppedError) as stopped:
        make(folder / f"{name}{epoch}", at=signalled(number, epoch))
    assert stopped.value.code == 128 + number
    kept = f"epoch {epoch} is saved" if epoch else "no epoch is saved yet"
    assert f"rga: stopped by SIG{name} in epoch {epoch + 1} of 4: {kept}" in capfd.readouterr().err
    (log,) = (folder / f"{name}{epoch}").glob("*/*/train.log")
    assert f"stopped by SIG{name} in epoch {epoch + 1} of 4" in log.read_text()
    assert not list(log.parent.glob("result.json"))
    state = read_state(log.parent)
    assert state is not None
    assert (state.epoch, state.saved, state.error) == (epoch, epoch, None)  # interrupted, not failed
    assert [signal.getsignal(each) for each in signals._STOPPING] == before
    assert what_counts(make(folder / f"{name}{epoch}")) == whole


def _of_a_terminal(getsignal: Any) -> Any:
    """What started the tests may have had signals ignored (nohup, a shell's &)."""
    return lambda number: signal.SIG_DFL if getsignal(number) == signal.SIG_IGN else getsignal(number)


def test_the_run_hears_of_signals_itself(undisturbed: tuple[Path, tuple[Any, Any]], cache: Path) -> None:
    """Lightning's handlers, which would wait for the end of an epoch or for other processes, are never there."""
    found: list[Any] = []
    make(
        undisturbed[0] / "handlers",
        at=At(1, 0, lambda: found.extend(signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGUSR1))),
    )
    assert [type(handler.__self__) for handler in found] == [signals._Stop] * 2


def test_a_checkpoint_of_lightnings_own_is_never_loaded(
    undisturbed: tuple[Path, tuple[Any, Any]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its preemption has left in a run's folder (half an epoch) is neither resumed nor tested."""
    folder, whole = undisturbed
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    with pytest.raises(StoppedError):
        make(folder / "hpc", at=signalled(signal.SIGTERM, 1))
    (last,) = (folder / "hpc").glob("*/*/last.ckpt")
    shutil.copy(last, last.with_name("hpc_ckpt_1.ckpt"))
    assert what_counts(make(folder / "hpc")) == whole
    shutil.rmtree(last.parent / "csv")
    last.unlink()
    (last.parent / "result.json").unlink()
    assert what_counts(make(folder / "hpc")) == whole


@pytest.mark.parametrize(
    ("name", "environment", "asked"),
    [
        ("USR1", {}, "requeue 77\n"),
        ("USR2", {}, "requeue 77\n"),
        ("USR1", {"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "3"}, "requeue 70_3\n"),
        ("USR1", {"LOCAL_RANK": "1"}, None),
        ("TERM", {}, None),
        ("HUP", {}, None),
    ],
)
def test_a_job_goes_back_into_the_queue(
    scontrol: Path, monkeypatch: pytest.MonkeyPatch, name: str, environment: dict[str, str], asked: str | None
) -> None:
    """Once, by its first process, on the signals that announce an end."""
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(signal, "getsignal", _of_a_terminal(signal.getsignal))
    with pytest.raises(StoppedError), stopping(lambda: "in a test"):
        os.kill(os.getpid(), signal.Signals[f"SIG{name}"])
    assert (scontrol.read_text() if scontrol.exists() else None) == asked


def test_what_slurm_answers_is_told(scontrol: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert requeue("12") == "job 12 is requeued"
    assert requeue("13") == "job 13 could not be requeued: no such job"
    monkeypatch.setenv("PATH", "")
    assert "could not be requeued" in requeue("12")


def test_ignored_signals_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping(lambda: "in a test"):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def _handlers(answers: Any) -> None:
    answers.put({number.name: signal.getsignal(number) for number in signals._STOPPING})


def test_forked_processes_have_none_of_it() -> None:
    """A DataLoader's worker is ended by its parent, and sends that no signals of its own."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    with stopping(lambda: "in a test"):
        child = context.Process(target=_handlers, args=(answers,))
        child.start()
        found = answers.get()
        child.join()
    assert found["SIGTERM"] == signal.SIG_DFL
    assert found["SIGUSR1"] == found["SIGUSR2"] == signal.SIG_IGN


def python(code: str) -> subprocess.CompletedProcess[str]:
    code = f"import os, signal, sys\nsys.path.append({TESTS!r})\nfrom rga.training import signals\n" + code
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_second_signal_ends_at_once() -> None:
    done = python("""
with signals.stopping(lambda: "in a test"):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        print("not reached")
""")
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "rga: stopped by SIGTERM in a test\n")


def test_a_process_that_waits_in_foreign_code_ends_as_well() -> None:
    """For a GPU, or for a process that has left: a second later it is there, unless the machine is slow, and then it
    ends as any other."""
    done = python("""
import hashlib, subprocess
signals._PATIENCE = 0.1
with signals.stopping(lambda: "in a test"):
    subprocess.Popen(["sh", "-c", f"sleep 1; kill -USR1 {os.getpid()}"])
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # for an hour, without a look at signals
""")
    assert (done.returncode, done.stderr) == (138, "rga: stopped by SIGUSR1 in a test\n")


def test_the_command_ends_with_the_status_of_the_signal(tmp_path: Path, shared_cache: Path) -> None:
    """Through Hydra and the command line; what follows it in a script (&&) does not run."""
    overrides = [*SMALL, f"paths.runs={tmp_path / 'runs'}", f"paths.data={tmp_path / 'data'}"]
    done = python(f"""
import pytest
from rga.cli.app import main
from training.inside import disturb, signalled
sys.argv = ["rga", "train", *{overrides!r}]
with pytest.MonkeyPatch.context() as patched:
    disturb(patched, signalled(signal.SIGTERM, 1))
    main()
""")
    assert done.returncode == 143, done.stderr
    assert done.stderr.count("stopped by SIGTERM in epoch 2 of 4: epoch 1 is saved in") == 1
    assert "the same command resumes it" in done.stderr
    assert "Traceback" not in done.stderr
