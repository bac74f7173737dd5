"""A finished run of a tiny re-ID network that nobody has trained: seconds instead of minutes."""

from pathlib import Path

import lightning
import torch
from omegaconf import OmegaConf

from rga.network import build, component
from rga.runs import Run
from rga.runs.checkpoint_run import with_run
from rga.runs.compose import compose
from rga.training.checkpoints import LAST, AtomicCheckpointIO

SMALL = [
    "scale=demo",
    "attention=rga_sc",
    "++data.demo={identities: 3, test_identities: 5, images: 2, distractors: 3, junk: 1, seed: 0}",
    "data.workers=0",
    "trainer.accelerator=cpu",
]
CIFAR = [
    "experiment=cifar_resnet",
    "scale=demo",
    "data.demo={train: 100, test: 100, seed: 0}",
    "backbone.depth=8",
    "trainer.accelerator=cpu",
]


def write_run(
    folder: Path,
    *overrides: str,
    classes: int = 3,
    dtype: torch.dtype = torch.float32,
    metrics: dict[str, float] | None = None,
) -> Path:
    """Write `folder/runs/<fingerprint>/<seed>`, whose synthetic data are in `folder/data`.

    The features of an untrained network lie close together: where their order counts, take double precision.
    """
    config = compose([*overrides, f"paths.runs={folder / 'runs'}", f"paths.data={folder / 'data'}"])
    node = OmegaConf.create(config)
    torch.manual_seed(0)
    network, channels = build(node.backbone, node.attention, node.data.size)
    task = component(node.task, network=network, channels=channels, optimizer=None, schedule=None)
    task.complete({"classifier.weight": torch.empty(classes, channels)}, tuple(node.data.size))
    task.to(dtype)
    with torch.no_grad():
        for _ in range(8):  # statistics that fit: else all images have nearly one feature
            task.train()(torch.randn(8, 3, *node.data.size))
    component(node.data).write_demo()
    run = Run(config["paths"]["runs"], config)
    epoch = config["recipe"]["epochs"] - 1  # counted from 0
    checkpoint = {"state_dict": task.state_dict(), "epoch": epoch, "pytorch-lightning_version": lightning.__version__}
    checkpoint |= with_run(run.name)
    AtomicCheckpointIO().save_checkpoint(checkpoint, run.folder / LAST)
    run.write_result({"metrics": metrics or {}})
    return run.folder
