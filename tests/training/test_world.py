"""How many processes a run is of: what srun or torchrun has started, or what the settings say; never neither."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf

from rga.errors import ConfigError
from rga.runs.compose import compose
from rga.training.engine import Engine, alone, engine, job, rank
from rga.training.loop import run
from rga.training.world import Srun
from training.command import SMALL, what_counts
from training.inside import make

SRUN = {
    "SLURM_JOB_ID": "1207", "SLURM_STEP_ID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2",
    "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_STEP_NODELIST": "node[03-04]",
    "SLURM_NTASKS": "4",
}  # fmt: skip
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1", "RANK": "1", "LOCAL_RANK": "1",
    "GROUP_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500",
}  # fmt: skip
SALLOC = {"SLURM_JOB_ID": "1207", "SLURM_NTASKS": "4", "SLURM_NNODES": "2"}  # its shell, and sbatch's script


def test_what_has_started_a_process() -> None:
    assert engine(SRUN) == Engine("srun", processes=4, nodes=2, rank=3, local_rank=1, node=1)
    assert engine(TORCHRUN) == Engine("torchrun", processes=2, nodes=1, rank=1, local_rank=1, node=0)
    assert engine({**SRUN, **TORCHRUN}) == engine(TORCHRUN)  # srun starts the agents
    assert engine(SALLOC) is engine({}) is None
    assert engine({**SRUN, "SLURM_STEP_NUM_TASKS": "1"}) is None
    assert engine({"SLURM_STEP_NUM_TASKS": "2"}) is None, "srun sets all of its variables"
    assert [rank(each) for each in (SRUN, TORCHRUN, SALLOC, {"LOCAL_RANK": "2"}, {"LOCAL_RANK": ""})] == [3, 1, 0, 2, 0]


def test_a_process_by_itself() -> None:
    assert engine(alone(SRUN)) is engine(alone(TORCHRUN)) is None
    assert job(alone(SRUN)) == "1207"
    assert job({}) is None
    assert job({**SRUN, "SLURM_ARRAY_JOB_ID": "1200", "SLURM_ARRAY_TASK_ID": "7"}) == "1200_7"


def test_where_the_processes_of_srun_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    found = engine(SRUN)
    assert found is not None
    there = Srun(found)
    assert there.main_address == "node03"
    assert (there.world_size(), there.global_rank(), there.local_rank(), there.node_rank()) == (4, 3, 1, 1)
    ports = set()
    for step in range(10):
        monkeypatch.setenv("SLURM_STEP_ID", str(step))
        ports.add(there.main_port)
    monkeypatch.setenv("SLURM_JOB_ID", "1208")
    ports.add(there.main_port)
    assert len(ports) == 11
    assert all(1024 < port < 32768 for port in ports)
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert there.main_port == 29500


def refused(folder: Path, *overrides: str) -> str:
    paths = [f"paths.runs={folder / 'runs'}", f"paths.data={folder / 'data'}"]
    with pytest.raises(ConfigError) as raised:
        run(OmegaConf.create(compose([*SMALL, *overrides, *paths])))
    assert list(folder.iterdir()) == []
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("started", "overrides", "told"),
    [
        (
            SRUN,
            (),
            "srun has started 4 processes (2 on each of 2 machines), and by its settings the run is of 1 "
            "(trainer.devices=1, trainer.num_nodes=1): it would be trained several times in one folder. For one run of "
            "all of them: trainer=ddp, or on CPUs trainer=ddp_cpu trainer.devices=2 trainer.num_nodes=2. For a run of "
            "one process: srun --ntasks=1",
        ),
        (SRUN, ("trainer=ddp_cpu", "trainer.num_nodes=1"), "by its settings the run is of 2"),
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "3"}, (), "3 processes on 2 machines: a run needs as many on each"),
        (TORCHRUN, (), "For a run of one process: the command without torchrun"),
        (TORCHRUN, ("trainer=ddp_cpu", "trainer.devices=1"), "by its settings the run is of 1"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, (), "WORLD_SIZE=2 is set, and by its settings the run is of 1"),
        ({}, ("trainer=ddp_cpu", "trainer.num_nodes=2"), "nothing has started the processes of the other machines"),
    ],
)
def test_another_number_of_processes_is_refused(
    tmp_path: Path,
    shared_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: dict[str, str],
    overrides: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # which Lightning sets
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    assert told in refused(tmp_path, *overrides)


def test_a_shell_within_an_allocation_is_one_process(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM's variables do not make a process one of several; nor does a stale rank, by which Lightning would go."""
    whole = make(tmp_path / "whole")
    for name, value in (SALLOC | {"SLURM_PROCID": "1", "SLURM_NTASKS_PER_NODE": "2"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert what_counts(make(tmp_path / "shell")) == what_counts(whole)
    assert list((tmp_path / "shell").glob("*/*/csv/*/metrics.csv"))


def test_no_process_outlives_the_one_that_has_started_it() -> None:
    """Lightning's second process, when the first one is killed: it would wait for that one for half an hour."""
    child = "import time; from rga.training.engine import follow_parent; follow_parent(); print(0); time.sleep(3600)"
    code = f"""
import os, subprocess, sys
environment = {{**os.environ, "LOCAL_RANK": "1"}}
started = subprocess.Popen([sys.executable, "-uc", {child!r}], env=environment, stdout=subprocess.PIPE)
started.stdout.readline()
print(started.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    while _runs(int(done.stdout)):
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Whether a process is running: one that has ended and that nobody has waited for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
