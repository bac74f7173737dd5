"""How many cores a process may use."""

import os
from pathlib import Path

import pytest

from rga.cores import cores


def test_the_smallest_share(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("rga.cores.CGROUP", tmp_path)
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


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "450000 100000\n"}, 4),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 12),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 12),
        ({"cpu.max": "1600000 100000\n"}, 12),
        ({"cpu.max": "damaged"}, 12),
        ({}, 12),
    ],
)
def test_the_limit_of_a_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(12)), raising=False)
    for name in ("RGA_CORES", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("rga.cores.CGROUP", tmp_path)
    assert cores() == expected
