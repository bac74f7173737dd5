"""What has started this process as one of several of a run: srun, torchrun, or nobody. No torch.

Inside a SLURM allocation only what srun starts is a part of something: a shell of `salloc` and the script of `sbatch`
have SLURM's variables too, and each is one process.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_TORCHRUN = "TORCHELASTIC_RUN_ID"
_SRUN = "SLURM_STEP_NUM_TASKS"
_STEP = (_SRUN, "SLURM_STEP_NUM_NODES", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")  # srun sets all of them
# What makes a process one of several; without them it is one by itself, still in its SLURM job.
_ONE_OF_SEVERAL = (
    _TORCHRUN, _SRUN, "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID",
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "NODE_RANK",
    "MASTER_ADDR", "MASTER_PORT",
)  # fmt: skip


@dataclass(frozen=True)
class Engine:
    """What has started this process with others.

    Args:
        name: the command.
        processes: of the run, this one among them.
        nodes: on so many machines.
        rank: of this process among all of them.
        local_rank: among those of its machine.
        node: the number of its machine.
    """

    name: str
    processes: int
    nodes: int
    rank: int
    local_rank: int
    node: int


def engine(environ: Mapping[str, str] = os.environ) -> Engine | None:
    """Read the environment; None for a process that is alone, or that Lightning has started."""
    if _TORCHRUN in environ:
        names = ("WORLD_SIZE", "GROUP_WORLD_SIZE", "RANK", "LOCAL_RANK", "GROUP_RANK")
        found = Engine("torchrun", *(int(environ[name]) for name in names))
    elif all(name in environ for name in _STEP):
        names = _STEP
        found = Engine("srun", *(int(environ[name]) for name in names))
    else:
        return None
    return found if found.processes > 1 else None


def rank(environ: Mapping[str, str] = os.environ) -> int:
    """Of this process in its run; of those that Lightning has started, in its machine."""
    found = engine(environ)
    return found.rank if found else int(environ.get("LOCAL_RANK") or 0)


def alone(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a process that is by itself, whatever has started this one."""
    return {name: value for name, value in environ.items() if name not in _ONE_OF_SEVERAL}


def follow_parent() -> None:
    """Have a process that Lightning has started end with the one that has started it, also when that one is killed."""
    if engine() is None and int(os.environ.get("LOCAL_RANK") or 0) and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def job(environ: Mapping[str, str] = os.environ) -> str | None:
    """The SLURM job that this process is in, as scontrol names it: an array's job has its number in it."""
    if "SLURM_ARRAY_JOB_ID" in environ and "SLURM_ARRAY_TASK_ID" in environ:
        return f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    return environ.get("SLURM_JOB_ID")
