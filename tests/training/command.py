"""The command `rga train` as a user runs it, on the smallest demo data that still make whole batches.

SMALL is re-identification; CIFAR and SCENES replace it by image classification and scene segmentation, SHAPES by the
classification of images in folders.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from rga.training.forkserver import ForkServer

KILLED = Path(__file__).with_name("killed.py")

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

SHAPES = ["experiment=image_folder", "scale=demo", "trainer.accelerator=cpu"]

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
    """The command line; data are written once for all tests of a session, runs go to `folder`."""
    return [sys.executable, "-m", "rga", *_arguments(folder, *overrides, sweep=sweep, small=small)]


def train(
    folder: Path, *overrides: str, sweep: bool = False, check: bool = True, small: list[str] = SMALL
) -> subprocess.CompletedProcess[str]:
    """Run the command; what it prints is in `stderr`.

    One process is forked from one that has done the imports, as the jobs of a sweep are: a quarter of the time.
    """
    line = command(folder, *overrides, sweep=sweep, small=small)
    if sweep or any(override.startswith("trainer=ddp") for override in overrides):
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_environment())
        status, told = done.returncode, done.stdout
    else:
        status, told = _fork(line)
    assert not check or status == 0, told
    return subprocess.CompletedProcess(line, status, "", told)


def kill_after_a_checkpoint(folder: Path, *overrides: str, small: list[str] = SMALL, moment: str = "saved") -> None:
    """Start a run that is killed after its first checkpoint, at a moment of tests/training/killed.py."""
    line = [sys.executable, str(KILLED), moment, *_arguments(folder, *overrides, small=small)]
    status, told = _fork(line)
    assert status == -signal.SIGKILL, told
    assert list(folder.glob("*/*/last.ckpt"))
    assert not list(folder.glob("*/*/result.json"))


def _arguments(folder: Path, *overrides: str, sweep: bool = False, small: list[str] = SMALL) -> list[str]:
    paths = [f"paths.runs={folder}", f"paths.data={folder.parent / 'data'}"]
    return ["train", *(["-m"] if sweep else []), *small, *paths, *overrides]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"}


@cache
def _server() -> ForkServer:
    server = ForkServer(_environment())
    atexit.register(server.close)
    return server


def _fork(line: list[str]) -> tuple[int, str]:
    with tempfile.TemporaryDirectory() as folder:
        console = Path(folder, "console")
        status = _server().start(line, console).wait()
        return status, console.read_text(encoding="utf-8", errors="replace")


def only_result(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*/*/result.json")
    return dict(json.loads(path.read_text()))


def what_counts(result: dict[str, Any]) -> tuple[Any, Any]:
    """The metrics of a run without its timings."""
    curve = [{k: v for k, v in entry.items() if k != "images_per_second"} for entry in result["curve"]]
    return result["metrics"], curve
