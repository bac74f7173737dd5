"""Where a result comes from: what a reader needs to trust or repeat it."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
    "rga",
    "torch",
    "torchvision",
    "lightning",
    "timm",
    "torchmetrics",
    "hydra-core",
)


def provenance(device: torch.device, devices: int) -> dict[str, Any]:
    """What a session computes with: versions, commit of the sources (None outside a checkout), device; JSON-able."""
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
        "device": f"{devices} x {_name(device)}",
    }


def of_all(sessions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The same of a run that was resumed: where sessions differ all that there were, in their order.

    >>> of_all([{"device": "8 x H100", "commit": None}, {"device": "1 x CPU", "commit": None}])
    {'device': '8 x H100; 1 x CPU', 'commit': None}
    """
    return {
        key: of_all([session.get(key, {}) for session in sessions])  # another version's may lack it
        if isinstance(value, Mapping)
        else "; ".join(dict.fromkeys(filter(None, (session.get(key) for session in sessions)))) or None
        for key, value in sessions[-1].items()
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    here = Path(__file__).resolve().parents[3]
    if not (here / ".git").exists() or Path(__file__).resolve().parents[1] != here / "src" / "rga":  # another project's
        return None
    try:
        # A checkout of another user, as in a container, is read as well: nothing in it is run for this.
        anybody = ["-c", "safe.directory=*", "-c", "core.fsmonitor=false"]
        answer = ["git", *anybody, "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(answer, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({torch.get_num_threads()} threads)"
    return platform.processor() or platform.machine()
