"""The command `rga train` as a user runs it, on the smallest demo data that still make whole batches.

SMALL is re-identification; CIFAR and SCENES replace it by image classification and scene segmentation.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SMALL = [
    "scale=demo",
    "++data.demo={identities: 10, test_identities: 6, images: 3, distractors: 4, junk: 2, seed: 0}",
    "data.size=[64,32]",
    "data.workers=0",
    "recipe.identities=4",
    "recipe.epochs=4",
    "trainer.accelerator=cpu",
    "trainer.checkpoint_minutes=0",
]

CIFAR = [
    "experiment=cifar_resnet",
    "scale=demo",
    "data.demo={train: 200, test: 60, seed: 0}",
    "backbone.depth=8",
    "recipe.epochs=4",
    "trainer.accelerator=cpu",
    "trainer.checkpoint_minutes=0",
]

SCENES = [
    "experiment=cityscapes",
    "scale=demo",
    "data.demo={train: 6, val: 2, size: 64, seed: 0}",
    "data.size=[49,65]",
    "recipe.epochs=4",
    "recipe.steps=3",
    "trainer.accelerator=cpu",
    "trainer.checkpoint_minutes=0",
    "trainer.check_val_every_n_epoch=2",
]


def command(folder: Path, *overrides: str, sweep: bool = False, small: list[str] = SMALL) -> list[str]:
    """The command line; data are drawn once for all tests of a session, runs go to `folder`."""
    paths = [f"paths.runs={folder}", f"paths.data={folder.parent / 'data'}"]
    return [sys.executable, "-m", "rga", "train", *(["-m"] if sweep else []), *small, *paths, *overrides]


def train(
    folder: Path, *overrides: str, sweep: bool = False, check: bool = True, small: list[str] = SMALL
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command(folder, *overrides, sweep=sweep, small=small),
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def kill_after_a_checkpoint(folder: Path, *overrides: str, small: list[str] = SMALL, later: float = 0.0) -> None:
    """Start a run, and SIGKILL it `later` seconds after its first checkpoint: it has no result."""
    process = subprocess.Popen(
        command(folder, *overrides, small=small), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(folder.glob("*/*/last.ckpt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(later)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(folder.glob("*/*/result.json"))


def only_result(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*/*/result.json")
    return dict(json.loads(path.read_text()))


def what_counts(result: dict[str, Any]) -> tuple[Any, Any]:
    """The figures of a run without its timings."""
    curve = [{k: v for k, v in entry.items() if k != "images_per_second"} for entry in result["curve"]]
    return result["metrics"], curve
