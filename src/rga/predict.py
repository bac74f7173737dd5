"""Draw what a trained segmentation network sees: the classes' colours over the pictures of a folder."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rga.data import DataError, pictures
from rga.data.augment import Normalize
from rga.data.progress import watched
from rga.tasks import Segmentation
from rga.trained import load

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


def predict(run: Path, images: Path, out: Path, device: str = "auto", strength: float = 0.5) -> int:
    """Write `out/NAME.png` for every picture of a folder; one that is there already is left as it is.

    Args:
        run: the folder of a finished run, `runs/<fingerprint>/<seed>`, or its checkpoint.
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
    task = load(run, kind=Segmentation).task.to(device)
    assert isinstance(task, Segmentation)
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


def draw(picture: np.ndarray, classes: Tensor, colours: Tensor, strength: float) -> np.ndarray:
    """Mix a picture (H, W, 3) uint8 with the colours (K, 3) of its pixels' classes (H, W)."""
    painted = colours[classes].numpy().astype(np.float32)
    return (picture * (1 - strength) + painted * strength).round().astype(np.uint8)
