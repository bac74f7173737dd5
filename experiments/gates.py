"""How open RGA's gates are before and after a run's training: python experiments/gates.py RUN IMAGES [BATCH].

For each gate, in the order of the network: the mean, and the standard deviation over the nodes of an image (positions
or channels), averaged over BATCH (128) images of a folder. BatchNorm uses the batch's statistics, as in training, so
that start and end are seen alike. `RUN` is a finished run's folder; the start is what its config and seed build.
"""

import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from rga.attention.rga import RelationAttention
from rga.data import decoding
from rga.data.reid.augment import Normalize
from rga.inference.figure3 import spread
from rga.inference.trained import load
from rga.network import build
from rga.runs import read_result


def main(run: Path, folder: Path, batch: int = 128) -> None:
    trained = load(run)
    result = read_result((run / "result.json").absolute())
    assert result is not None
    config = result["config"]
    pl.seed_everything(result["seed"], verbose=False)
    begun, _ = build(config["backbone"], config["attention"], config["data"]["size"])
    paths = spread(sorted(folder.glob("*.jpg")), batch)
    loaded = torch.stack([torch.tensor(decoding.load(path, config["data"]["size"])) for path in paths])
    images = Normalize.of(config["data"].get("augment"))(loaded.permute(0, 3, 1, 2))
    print(f"{trained.network}, seed {result['seed']}, {len(paths)} images of {folder.name}")
    print(f"{'gate':44} {'start: mean':>12} {'sd':>6} {'end: mean':>12} {'sd':>6}")
    start, end = (gates(network, images) for network in (begun, trained.task.backbone))
    for name in start:
        values = [value for gate in (start[name], end[name]) for value in (gate.mean(), gate.std(-1).mean())]
        print(f"{name:44} {values[0]:12.3f} {values[1]:6.3f} {values[2]:12.3f} {values[3]:6.3f}")


@torch.no_grad()
def gates(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """(B, nodes) of every gate by its name."""
    found: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, RelationAttention):
            module.register_forward_hook(lambda _, __, output, name=name: found.update({name: output.flatten(1)}))
    network.train()(images)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
