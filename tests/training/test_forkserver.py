"""A process that becomes jobs by forking: each ends as a command of its own would, and none is lost or left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import rga.training.forkserver
from rga.training.forkserver import Forked, ForkServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServer]:
    monkeypatch.setattr(rga.training.forkserver, "PRELOAD", ())
    server = ForkServer({**os.environ, "TOLD": "the server"})
    yield server
    server.close()


def script(folder: Path, text: str) -> list[str]:
    (folder / "job.py").write_text(text)
    return [sys.executable, str(folder / "job.py")]


def wait_for(path: Path, job: Forked) -> str:
    while not path.exists() or not path.read_text():
        assert job.poll() is None
        time.sleep(0.01)
    return path.read_text()


def test_a_job_is_as_the_command_itself(server: ForkServer, tmp_path: Path) -> None:
    """Its arguments, environment, streams, group, and what happens at its end."""
    command = script(
        tmp_path,
        """
import atexit, os, sys, threading, time
atexit.register(print, "at exit")
print(__name__, sys.argv[1:], os.environ["TOLD"], repr(sys.stdin.read()), os.getpgid(0) == os.getpid())
print("an error", file=sys.stderr)
threading.Thread(target=lambda: (time.sleep(0.1), print("a thread"))).start()
""",
    )
    job = server.start([*command, "a", "b"], tmp_path / "console")
    assert job.wait() == 0
    told = (tmp_path / "console").read_text().splitlines()
    assert told == ["__main__ ['a', 'b'] the server '' True", "an error", "a thread", "at exit"]


def test_a_module_is_run_as_python_does(server: ForkServer, tmp_path: Path) -> None:
    assert server.start([sys.executable, "-m", "rga", "--help"], tmp_path / "console").wait() == 0
    plain = subprocess.run([sys.executable, "-m", "rga", "--help"], capture_output=True, text=True, check=True)
    assert (tmp_path / "console").read_text() == plain.stdout


@pytest.mark.parametrize(
    ("ending", "status", "told"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("raise SystemExit('that was wrong')", 1, "that was wrong"),
        ("raise ValueError('that was wrong')", 1, "ValueError: that was wrong"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
    ],
)
def test_how_it_ended_is_told(server: ForkServer, tmp_path: Path, ending: str, status: int, told: str) -> None:
    job = server.start(script(tmp_path, ending), tmp_path / "console")
    assert job.wait() == status == job.returncode == job.poll()
    assert told in (tmp_path / "console").read_text()


def test_jobs_share_nothing_but_the_imports(server: ForkServer, tmp_path: Path) -> None:
    command = script(tmp_path, "import os, sys; print(hasattr(os, 'mine'), os.getcwd()); os.mine = 1; os.chdir('/')")
    for _ in range(2):
        assert server.start(command, tmp_path / "console").wait() == 0
    assert (tmp_path / "console").read_text().splitlines() == 2 * [f"False {Path.cwd()}"]


def test_a_job_that_has_not_begun_never_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped while the server still imports."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "endless.py").write_text("import time\nwhile True: time.sleep(1)")
    monkeypatch.setattr(rga.training.forkserver, "PRELOAD", ("endless",))
    server = ForkServer({**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])})
    job = server.start(script(tmp_path, f"open({str(tmp_path / 'begun')!r}, 'w')"), tmp_path / "console")
    with pytest.raises(subprocess.TimeoutExpired):
        job.wait(0.0)
    job.signal(signal.SIGTERM)
    assert job.wait() == -signal.SIGKILL
    assert not (tmp_path / "begun").exists()
    server.close()


def test_a_server_that_was_killed(server: ForkServer, tmp_path: Path) -> None:
    """Its job is told to have failed and can still be stopped; the next one finds a new server."""
    pid = tmp_path / "pid"
    command = script(tmp_path, f"import os, time; print(os.getpid(), file=open({str(pid)!r}, 'w')); time.sleep(600)")
    job = server.start(command, tmp_path / "console")
    running = int(wait_for(pid, job))
    assert server.process is not None
    server.process.kill()
    assert job.wait() == -signal.SIGKILL
    job.signal(signal.SIGKILL)
    while Path(f"/proc/{running}").exists():  # nobody's child any more: whoever adopts it waits for it
        if Path(f"/proc/{running}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.01)
    assert server.start(script(tmp_path, ""), tmp_path / "console").wait() == 0


def test_what_is_imported_survives_a_fork() -> None:
    """No thread, and no look at the GPUs: CUDA works in none of the jobs if their server has asked for it."""
    code = """
import os, torch
def asked(*_): raise SystemExit("the GPUs were looked at")
for place, name in ((torch.cuda, "is_available"), (torch.cuda, "device_count"), (torch.cuda, "init"),
                    (torch._C, "_cuda_getDeviceCount"), (torch._C, "_cuda_init")):
    setattr(place, name, asked)
from rga.training.forkserver import PRELOAD, preload
import importlib
for name in PRELOAD:
    importlib.import_module(name)
preload(PRELOAD)
print(len(os.listdir("/proc/self/task")))
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # OpenBLAS has threads from the start, and can fork
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_a_job_has_temporary_folders_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import may make one, and remove it at the end of the process: wandb's images go through such a folder."""
    (tmp_path / "keeper.py").write_text(
        "import atexit, tempfile\none, two = tempfile.TemporaryDirectory(), tempfile.TemporaryDirectory()\n"
        "atexit.register(one.cleanup)\n"
    )
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(rga.training.forkserver, "PRELOAD", ("keeper",))
    server = ForkServer({**os.environ, "PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path / "temporary")})
    text = """
import keeper, pathlib
for each in (keeper.one, keeper.two):
    pathlib.Path(each.name, "x").touch()
    print(each.name)
"""
    named = []
    for number in range(2):
        console = tmp_path / f"console{number}"
        assert server.start(script(tmp_path, text), console).wait() == 0, console.read_text()
        named += console.read_text().splitlines()
    assert len(set(named)) == 4
    assert not any(Path(name).exists() for name in named)
    assert len(list((tmp_path / "temporary").iterdir())) == 2, "the server's own are still there"
    server.close()
