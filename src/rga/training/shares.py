"""How the jobs of a sweep share a machine: what GPUs and how many cores each gets."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from rga.cores import VARIABLE as CORES
from rga.cores import cores

if TYPE_CHECKING:
    from rga.training.launcher import Job

_DEMO_JOBS = 4  # at a time at scale=demo on a CPU: the networks are too small to use several cores well


def alike(jobs: Sequence["Job"]) -> list[list["Job"]]:
    """Jobs in groups that ask for as many GPUs each, the most first: a group shares the machine evenly."""
    gpus = [] if all(map(_on_cpu, jobs)) else visible_gpus()
    asked = [_asked(job, len(gpus)) for job in jobs]
    return [[job for job, own in zip(jobs, asked, strict=True) if own == n] for n in sorted({*asked}, reverse=True)]


def slots_for(jobs: int | Literal["auto"], pending: Sequence["Job"]) -> list[dict[str, str]]:
    """Divide the machine among jobs that are alike: the environment of each of the processes that run at the same time.

    On GPUs a job gets as many as its `trainer.devices` says, one if that is `auto`; by default as many jobs run as the
    GPUs suffice for. On a CPU one runs, or four of scale=demo. Several share the cores.
    """
    if jobs != "auto" and (not isinstance(jobs, int) or jobs < 1):
        raise ValueError(f"hydra.launcher.jobs={jobs}: expected auto or a number above 0")
    gpus = [] if all(map(_on_cpu, pending)) else visible_gpus()
    if gpus:
        each = max(_asked(job, len(gpus)) for job in pending)
        groups = [gpus[first : first + each] for first in range(0, len(gpus) - each + 1, each)] or [gpus]
        count = min(len(groups) if jobs == "auto" else jobs, len(pending))
        shares = _shares(count, each)
        return [{"CUDA_VISIBLE_DEVICES": ",".join(groups[number % len(groups)]), **shares} for number in range(count)]

    demo = all((job.run.config.get("scale") or {}).get("name") == "demo" for job in pending)
    count = min((min(cores(), _DEMO_JOBS) if demo else 1) if jobs == "auto" else jobs, len(pending))
    return [_shares(count, 1) for _ in range(count)]


def _shares(count: int, processes: int) -> dict[str, str]:
    """The environment that divides the cores among `count` jobs at a time, each of so many processes."""
    if count == 1:
        return {}
    share = max(1, cores() // count)
    threads = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(max(1, share // processes))}
    return {CORES: str(share), **threads}


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    import torch  # late: a sweep that has nothing to do ends before this

    return [str(number) for number in range(torch.cuda.device_count())]


def _on_cpu(job: "Job") -> bool:
    return (job.run.config.get("trainer") or {}).get("accelerator") == "cpu"


def _asked(job: "Job", available: int) -> int:
    """How many GPUs a job gets. A list in `trainer.devices` names some, and -1 means all: all are visible."""
    devices = (job.run.config.get("trainer") or {}).get("devices", "auto")
    if not available or _on_cpu(job):
        return 0
    if devices in ("auto", None):
        return 1  # not all: a sweep is faster with a job on each
    if isinstance(devices, int | str) and str(devices).isdigit():
        return max(1, min(int(devices), available))
    return available
