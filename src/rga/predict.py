"""Draw what a trained segmentation network sees: the classes' colours over the pictures of a folder."""

from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor

from rga.checkpoints import LAST
from rga.compose import ConfigError
from rga.data import DataError, pictures
from rga.data.augment import Normalize
from rga.data.progress import watched
from rga.network import build
from rga.runs import RESULT, read_result
from rga.tasks import Segmentation

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


def predict(run: Path, images: Path, out: Path, device: str = "auto", strength: float = 0.5) -> int:
    """Write `out/NAME.png` for every picture of a folder; one that is there already is left as it is.

    Args:
        run: the folder of a finished run, `runs/<fingerprint>/<seed>`.
        images: the folder of pictures, of any size.
        out: where the overlays go.
        device: cpu, cuda, ...; auto: a GPU if there is one.
        strength: of the colours, 1 hides the picture.

    Returns:
        How many were written.

    Raises:
        ConfigError: no finished run of a segmentation task.
        DataError: no pictures, two of one name, or one that does not decode.
    """
    found = sorted(path for path in images.iterdir() if path.suffix.lower() in SUFFIXES) if images.is_dir() else []
    if not found:
        raise DataError(f"no pictures ({', '.join(sorted(SUFFIXES))}) in {images.absolute()}")
    if len({path.stem for path in found}) < len(found):
        raise DataError(f"two pictures in {images} have the same name but for the ending: their overlays would, too")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    task = load(run).to(device)
    normalize = Normalize().to(device)
    missing = [path for path in found if not (out / f"{path.stem}.png").exists()]
    out.mkdir(parents=True, exist_ok=True)
    for path in watched(missing, "drawing", len(missing)):
        picture = pictures.load(path)  # (H, W, 3)
        with torch.inference_mode():
            image = normalize(torch.tensor(picture, device=device).permute(2, 0, 1).unsqueeze(0))
            overlay = draw(picture, task(image).argmax(1)[0].cpu(), task.colours.cpu(), strength)
        temporary = out / f".{path.stem}.png"
        Image.fromarray(overlay).save(temporary, format="png")
        temporary.rename(out / f"{path.stem}.png")
    return len(missing)


def load(run: Path) -> Segmentation:
    """The network of a finished run, with its last weights, for evaluation."""
    result = read_result((run / RESULT).absolute())
    if result is None:
        raise ConfigError(f"no finished run in {run.absolute()}: expected {RESULT} there, and {LAST}")
    config = OmegaConf.create(result["config"])
    if "weights" in config.backbone:
        config.backbone.weights = config.backbone.trunk.weights = None  # the checkpoint has them
    network, channels = build(config.backbone, config.attention, config.data.size)
    task = instantiate(config.task, network=network, channels=channels, optimizer=None, schedule=None)
    if not isinstance(task, Segmentation):
        raise ConfigError(f"{run} is a run of {type(task).__name__}; pictures are drawn of segmentations")
    if not (run / LAST).is_file():
        raise ConfigError(f"{run.absolute()} has no {LAST}, so its weights are not here")
    state = torch.load(run / LAST, map_location="cpu", weights_only=True)["state_dict"]
    height, width = config.data.size
    task.build((height, width), state["colours"])
    task.load_state_dict(state)
    return task.eval()


def draw(picture: np.ndarray, classes: Tensor, colours: Tensor, strength: float) -> np.ndarray:
    """Mix a picture (H, W, 3) uint8 with the colours (K, 3) of its pixels' classes (H, W)."""
    painted = colours[classes].numpy().astype(np.float32)
    return (picture * (1 - strength) + painted * strength).round().astype(np.uint8)
