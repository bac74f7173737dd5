"""How many cores this process may use."""

import os

VARIABLE = "RGA_CORES"  # a sweep sets it for each of the jobs that it runs at the same time


def cores() -> int:
    """As many as its affinity says, or fewer where a sweep or SLURM gives a job its share."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [os.environ.get(name, "") for name in (VARIABLE, "SLURM_CPUS_PER_TASK")]
    return min([found, *(int(share) for share in shares if share.isdigit() and int(share))])
