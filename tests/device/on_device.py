"""What a test asks of the stand-in device, computed in a process of its own: `python -m device.on_device WHAT FOLDER`.

Prints JSON. Both sides of a comparison are computed here, so that they meet the same processor and threads.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from device import standin
from device.standin import DEVICE, Device
from rga.metrics import evaluate_ranking, rerank
from rga.paths import CONF
from rga.runs.compose import compose
from rga.tasks.scanning import Scan
from rga.training.loop import run
from rga.training.monitor import Monitor
from training.command import CIFAR, SCENES, SHAPES, SMALL, only_result, what_counts

TRAININGS: dict[str, list[str]] = {
    "reid": [*SMALL, "attention=rga_sc"],
    "classification": [*CIFAR, "attention=rga_sc"],
    "folders": [*SHAPES, "data.demo={train: 96, val: 15, seed: 0}"],  # which stay on the device
    "segmentation": [*SCENES, "attention=rga_sc", "head=aspp", "task.auxiliary=0.4"],
}


def itself(folder: str) -> dict[str, Any]:
    """What the device says of operations that a GPU would refuse, or wait for."""
    with Device() as device:
        x = torch.ones(3, device=DEVICE)
        try:
            x + torch.ones(3)
            mismatch = "none"
        except standin.Mismatch as error:
            mismatch = str(error)
        (x + torch.ones(())).sum()  # numbers may come from the CPU
        silent = dict(device.waits)
        x.sum().item(), x.nonzero(), x.cpu(), x[x > 0], bool(x.any())
    return {"mismatch": mismatch, "silent": silent, "waits": device.waits.total()}


def training(folder: str, name: str, *overrides: str) -> dict[str, Any]:
    """A demo run on the CPU and on the device: whether they are equal, and what the host waited for in its steps."""
    small = [*TRAININGS[name], "recipe.epochs=2", "trainer.log_every_n_steps=1000", *overrides]

    def result(where: Path) -> Any:
        run(OmegaConf.create(compose([*small, f"paths.runs={where}", f"paths.data={folder}/data"])))
        return what_counts(only_result(where))

    expected = result(Path(folder) / "cpu")
    pl.Trainer = standin.trainer  # type: ignore[assignment, misc]
    with Device() as device:
        waits = _in_steps(device)
        found = result(Path(folder) / "device")
    return {
        "equal": found == expected,
        "operations": device.operations.total(),
        "steps": waits.pop("steps"),
        "waits": waits,
    }


def _in_steps(device: Device) -> Counter[str]:
    """Counts the waits from one batch of an epoch to the next; "steps" are how often."""
    waits: Counter[str] = Counter(steps=0)
    before: list[Counter[str]] = []
    inside = Monitor.on_train_batch_end

    def after(self: Any, trainer: Any, module: Any, outputs: Any, batch: Any, number: int) -> None:
        if number:
            waits.update(device.waits - before.pop())
            waits["steps"] += 1
        inside(self, trainer, module, outputs, batch, number)
        before[:] = [Counter(device.waits)]

    Monitor.on_train_batch_end = after  # type: ignore[method-assign, assignment]
    return waits


def blocks(folder: str, dtype: str) -> dict[str, Any]:
    """Every block, in float32 or bfloat16: its waits, and how much outputs and gradients differ on the two devices."""
    found = {}
    for path in sorted((CONF / "attention").glob("*.yaml")):
        if path.stem == "none":
            continue
        node = compose(["experiment=reid", f"attention={path.stem}"])["attention"]["block"]
        torch.manual_seed(0)
        block: nn.Module = instantiate(node)(32, (8, 4)).to(getattr(torch, dtype))
        x = torch.randn(4, 32, 8, 4, dtype=getattr(torch, dtype))
        expected = _both_ways(block, x)
        torch.manual_seed(0)
        with Device() as device:
            moved = instantiate(node)(32, (8, 4)).to(DEVICE, getattr(torch, dtype))
            got = _both_ways(moved, x.to(DEVICE))
            waits = dict(device.waits)
            differences = [float((a.cpu() - b).abs().max()) for a, b in zip(got, expected, strict=True)]
        found[path.stem] = {"difference": max(differences), "waits": waits}
    return found


def _both_ways(block: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    y = block(x)
    y.square().sum().backward()
    gradients = [parameter.grad for parameter in block.parameters()]
    assert x.grad is not None
    return [y.detach(), x.grad, *(gradient for gradient in gradients if gradient is not None)]


def retrieval(folder: str) -> dict[str, Any]:
    """Metrics, re-ranked ones as well, of the same features on both devices."""
    generator = torch.Generator().manual_seed(0)
    query, gallery = torch.randn(40, 16, generator=generator), torch.randn(300, 16, generator=generator)
    labels = [torch.randint(0, 30, (count,), generator=generator) for count in (40, 300)]
    cameras = [torch.randint(0, 4, (count,), generator=generator) for count in (40, 300)]

    def metrics(move: Callable[[Tensor], Tensor]) -> list[Any]:
        ranked = evaluate_ranking(move(query), move(gallery), *map(move, labels), *map(move, cameras))
        chunks = [chunk.cpu() for chunk in rerank(move(query), move(gallery))]
        return [ranked.cmc.tolist(), ranked.map, ranked.map_trapezoid, torch.cat(chunks)]

    *expected, distances = metrics(lambda x: x)
    with Device():
        *got, found = metrics(lambda x: x.to(DEVICE))
    return {"equal": got == expected, "rerank": float((found - distances).abs().max())}


def windows(folder: str) -> dict[str, Any]:
    """A large image in sliding windows, at two scales, mirrored too."""
    torch.manual_seed(0)
    network = nn.Conv2d(3, 5, 3, padding=1)
    images, scan = torch.randn(1, 3, 50, 70), Scan((33, 33), (1.0, 1.5), mirror=True)
    with torch.no_grad():
        expected = scan(network, images)
        with Device():
            got = scan(network.to(DEVICE), images.to(DEVICE)).cpu()
    return {"difference": float((got - expected).abs().max())}


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    torch.set_num_threads(1)
    print(
        json.dumps({each.__name__: each for each in (itself, training, blocks, retrieval, windows)}[what](*arguments))
    )
