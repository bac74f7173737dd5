"""On a device that is not the CPU: the same numbers, no tensor on the wrong side, and no step that waits for it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch.utils import backend_registration

TESTS = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
        reason="this torch has no device in Python",
    ),
]


def on_device(what: str, folder: Path, *arguments: str) -> Any:
    """In a process of its own, which is never the same again."""
    done = subprocess.run(
        [sys.executable, "-m", "device.on_device", what, str(folder), *arguments],
        cwd=TESTS,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_device_notices(tmp_path: Path) -> None:
    found = on_device("itself", tmp_path)
    assert "tensors of the device and of the CPU, [(3,)]" in found["mismatch"]
    assert found["silent"] == {}
    assert found["waits"] == 5


@pytest.mark.parametrize("name", ["reid", "classification", "folders", "segmentation"])
def test_a_training(tmp_path: Path, cache: Path, name: str) -> None:
    """Metrics and curve are the CPU's, and from one line of the log to the next nothing waits."""
    found = on_device("training", tmp_path, name)
    assert found["equal"]
    assert found["operations"] > 1000
    assert found["steps"] > 1
    assert found["waits"] == {}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_block(tmp_path: Path, dtype: str) -> None:
    found = on_device("blocks", tmp_path, dtype)
    assert len(found) > 30
    assert {name: block for name, block in found.items() if block != {"difference": 0.0, "waits": {}}} == {}


def test_retrieval(tmp_path: Path) -> None:
    assert on_device("retrieval", tmp_path) == {"equal": True, "rerank": 0.0}


def test_sliding_windows(tmp_path: Path) -> None:
    assert on_device("windows", tmp_path) == {"difference": 0.0}
