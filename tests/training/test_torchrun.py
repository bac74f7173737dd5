"""Two machines, as two agents of torchrun: one run of both, with one disk; whichever is lost, the run is resumed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rga.data.marker import MARKER
from training.command import SMALL, only_result, train, what_counts

pytestmark = pytest.mark.slow
DISTURBED = Path(__file__).parent / "disturbed.py"
TWO = ["trainer=ddp_cpu", "trainer.devices=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("torchrun")


def port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])


def agent(
    place: int,
    node: int,
    folder: Path,
    name: str,
    *overrides: str,
    runs: str = "",
    epoch: int = 0,
    end: str = "",
    restarts: int = 0,
) -> subprocess.Popen[str]:
    """What torchrun is on one machine, in a group of its own; the first machine's runs at `place`."""
    paths = [f"paths.runs={folder / (runs or name)}", f"paths.data={folder / 'data'}"]
    options = ["--nnodes=2", "--nproc-per-node=1", f"--max-restarts={restarts}", "--rdzv-backend=c10d"]
    there = [f"--rdzv-endpoint=localhost:{place}", f"--rdzv-conf=is_host={int(node == 0)}", "--rdzv-id=test"]
    script = [str(DISTURBED), "1", str(epoch), str(folder / f"{name}.done"), end]
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *options, *there, *script, *SMALL, *paths, *TWO, *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # With a store that is shared a new agent is never told where it is, see docs/cluster.md.
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        start_new_session=True,
    )


def ended(*agents: subprocess.Popen[str]) -> list[str]:
    """What each agent and its processes have said."""
    try:
        return [agent.communicate()[0] for agent in agents]
    finally:
        for agent in agents:
            if agent.poll() is None:
                os.killpg(agent.pid, signal.SIGKILL)


def test_a_machine_that_is_lost_comes_back(folder: Path) -> None:
    """Killed with its agent; the other one names it and waits for a new one. The metrics are those of two processes."""
    train(folder / "whole", "trainer=ddp_cpu")
    place = port()
    first, second = (
        agent(place, node, folder, "lost", epoch=2, end="kill -9 $PARENT $PPID", restarts=3) for node in (0, 1)
    )
    second.wait()
    told = ended(first, agent(place, 1, folder, "lost", restarts=3))
    assert first.returncode == 0, told[0]
    name = f"process 1 on {socket.gethostname()}"
    assert f"{name} of this run has ended or cannot be reached, so process 0" in told[0]
    assert "resuming from" in told[0]
    assert what_counts(only_result(folder / "lost")) == what_counts(only_result(folder / "whole"))


@pytest.mark.parametrize(
    ("runs", "data", "told"),
    [
        ("elsewhere", "own", "process 1 on HOST does not see what process 0 on HOST writes in"),
        ("", "copy", "process 1 on HOST has other data than process 0 on HOST: train has LESS images, it had ALL"),
    ],
)
def test_machines_with_disks_of_their_own_are_refused(folder: Path, runs: str, data: str, told: str) -> None:
    train(folder / "whole", "trainer=ddp_cpu")
    own, copy = folder / "data" / "own", folder / "data" / "copy"
    if not copy.exists():
        shutil.copytree(folder / "data" / "demo" / "market1501", own)
        (own / MARKER).unlink()  # as if they were not synthetic
        shutil.copytree(own, copy)
        next((copy / "bounding_box_train").glob("*.jpg")).unlink()
    place, name = port(), f"apart-{data}"
    roots = (own, folder / "data" / data)
    agents = [
        agent(place, node, folder, name, "data.demo=null", f"data.root={roots[node]}", runs=runs if node else "")
        for node in (0, 1)
    ]
    count = len([*(own / "bounding_box_train").glob("*.jpg")])
    for word, value in {"HOST": socket.gethostname(), "LESS": str(count - 1), "ALL": str(count)}.items():
        told = told.replace(word, value)
    for agent_, said in zip(agents, ended(*agents), strict=True):
        assert agent_.returncode != 0
        assert told in said
    assert not list(folder.glob(f"{name}/*/*/result.json"))
