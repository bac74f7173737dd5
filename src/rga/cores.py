"""How many cores this process may use."""

import os
from contextlib import suppress
from pathlib import Path

VARIABLE = "RGA_CORES"  # a sweep sets it for each of the jobs that it runs at the same time
CGROUP = Path("/sys/fs/cgroup")  # as a container sees its own


def cores() -> int:
    """As many as its affinity says, or fewer where a sweep or SLURM gives a job its share, or a container has less."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [os.environ.get(name, "") for name in (VARIABLE, "SLURM_CPUS_PER_TASK")]
    return min([found, *_quota(), *(int(share) for share in shares if share.isdigit() and int(share))])


def _quota() -> list[int]:
    """The CPU time that a container may take, in whole cores, at least one; nothing where it is not limited.

    Such a limit (docker run --cpus, Kubernetes' resources.limits) leaves all cores visible and stops the process when
    its share of each tenth of a second is used up. Version 2 of cgroups tells it as `QUOTA PERIOD`, or `max PERIOD`;
    version 1 in two files, with a quota of -1.
    """
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        with suppress(OSError, ValueError, IndexError):
            quota, period = [int(word) for name in files for word in (CGROUP / name).read_text().split()][:2]
            if quota > 0 and period > 0:
                return [max(1, quota // period)]
    return []
