"""How many cores a process may use."""

import os

import pytest

from rga.cores import cores


def test_the_smallest_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(12)), raising=False)
    for name in ("RGA_CORES", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    assert cores() == 12
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    assert cores() == 8
    monkeypatch.setenv("RGA_CORES", "4")
    assert cores() == 4
    monkeypatch.setenv("RGA_CORES", "0")
    assert cores() == 8
