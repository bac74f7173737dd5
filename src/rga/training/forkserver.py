"""A process that has imported what every job needs and becomes the jobs by forking, one after another.

Importing torch, Lightning and what goes with them takes as long as a good part of a short training. The server imports
them once, before any thread is started and without a look at the GPUs, as neither survives a fork. Each job is then a
process of its own all the same: in a group of its own, with its own standard streams, and gone with all its memory when
it ends. Its environment is the server's.

    launcher -> server   a line of JSON: {"command": ["python", "-m", "rga", ...], "console": PATH}
    job -> launcher      "pid N", in its group already and before anything else
    server -> launcher   "ended N", its exit status, or -N where signal N has ended it
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# What a run imports; `rga.training.loop` imports its parts late, so they are named here.
PRELOAD = (
    "rga.cli.app", "rga.training.loop", "hydra.main", "hydra._internal.utils", "hydra_plugins.rga_processes", "torch",
    "lightning.pytorch", "rga.training.checkpoints", "rga.training.loggers", "rga.training.monitor", "rga.network",
    "rga.training.provenance", "rga.training.speed", "rga.training.sync", "rga.tables.cells_of_run", "rga.attention",
    "rga.backbones", "rga.data.cifar.image_data", "rga.data.reid.reid_data", "rga.data.scenes.scene_data", "rga.heads",
    "rga.losses", "rga.metrics", "rga.tasks",
)  # fmt: skip


class Forked:
    """A job, as `subprocess.Popen` has it: `pid` (None while the server is importing), `poll`, `wait`, `returncode`."""

    def __init__(self, server: subprocess.Popen[bytes]) -> None:
        self._server = server
        self.pid: int | None = None
        self.returncode: int | None = None

    def poll(self) -> int | None:
        while self.returncode is None and self._hear(0):
            pass
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; `subprocess.TimeoutExpired` if that takes more seconds than `timeout`."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            if not self._hear(None if end is None else max(0.0, end - time.monotonic())):
                raise subprocess.TimeoutExpired("a forked job", timeout or 0.0)
        return self.returncode

    def signal(self, number: int) -> None:
        """Signal the job with all that it has started; one that has not begun never begins."""
        self.poll()
        if self.pid is None and self.returncode is None:
            self._server.kill()
            self.wait()  # the pipe's end comes when no process can write to it any more
        if self.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def _hear(self, timeout: float | None) -> bool:
        """Take in one line of the server or the job; False if there is none within `timeout` seconds."""
        pipe = self._server.stdout
        assert pipe is not None
        if not select.select([pipe], [], [], timeout)[0]:
            return False
        what, _, number = pipe.readline().decode().partition(" ")
        if what == "pid":
            self.pid = int(number)
        else:  # nothing: the server is dead, and what was told of it is told of the job
            self.returncode = int(number) if what else self._server.wait()
        return True


class ForkServer:
    """The launcher's side: a server with an environment, for one job at a time; started with the first one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], console: Path) -> Forked:
        """Run a command, `python -m MODULE ...` or `python FILE ...`; the console is appended to."""
        if self.process is None or self.process.poll() is not None:
            self.close()
            self.process = self._serve(console)
        assert self.process.stdin is not None
        request = json.dumps({"command": list(command), "console": str(console.absolute())})
        with suppress(BrokenPipeError):  # it is dead, which `Forked` notices
            self.process.stdin.write(f"{request}\n".encode())
        return Forked(self.process)

    def close(self) -> None:
        """End the server; a job has to have ended before."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _serve(self, console: Path) -> subprocess.Popen[bytes]:
        with console.open("ab") as file:  # what is told of the imports is told to the first job
            return subprocess.Popen(
                [sys.executable, "-c", "from rga.training.forkserver import main; main()", *PRELOAD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                bufsize=0,
                env=dict(self.environment),
                start_new_session=True,
            )


def main() -> None:
    """The server's process, and each job's."""
    command = _serve()
    # From here on, in a forked process: as if Python had been started with the command.
    if command[1] == "-m":
        sys.argv = command[2:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")


def _serve() -> list[str]:
    """Serve until there are no more requests. Returns in the jobs' processes only, with a job's command."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what an import prints is no answer
    preload(sys.argv[1:])
    folders = [found for found in gc.get_objects() if isinstance(found, tempfile.TemporaryDirectory)]
    gc.freeze()  # the collector would touch, and so copy, every page in every job
    for line in sys.stdin.buffer:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become_a_job(answers, request["console"])
            _own(folders)
            return list(map(str, request["command"]))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with suppress(BrokenPipeError):  # nobody waits for it any more
            os.write(answers, f"ended {status}\n".encode())
    sys.exit()


def preload(names: Sequence[str] = PRELOAD) -> None:
    """Import what the jobs will import; what cannot be imported fails, with a message, in the job that needs it."""
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)


def _own(folders: Sequence["tempfile.TemporaryDirectory[str]"]) -> None:
    """Give a job temporary folders of its own in place of those that imports have made (wandb keeps images in one).

    At its end it would remove them, and the next job would miss them.
    """
    for folder in folders:
        folder.name = tempfile.mkdtemp()
        atexit.register(folder.cleanup)  # of the new one; it also calls off the removal of the old one


def _become_a_job(answers: int, console: str) -> None:
    os.setpgid(0, 0)
    os.write(answers, f"pid {os.getpid()}\n".encode())
    os.close(answers)
    streams = os.open(os.devnull, os.O_RDONLY), os.open(console, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(streams[0], 0)
    os.dup2(streams[1], 1)
    os.dup2(streams[1], 2)
    for stream in streams:
        os.close(stream)
    atexit.register(gc.unfreeze)  # at its end the interpreter collects everything, and libraries tell of what is left
