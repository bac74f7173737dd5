"""What a trained segmentation network sees in the images of a folder: the classes' colours over them, or label ids."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from PIL import Image

from rga.data import decoding, registry
from rga.data.progress import watched
from rga.data.reid.augment import Normalize
from rga.drawing.overlay import overlay
from rga.errors import ConfigError, DataError
from rga.inference.extraction import writing
from rga.inference.features import digest, expect_outside, find
from rga.inference.trained import Trained, load
from rga.runs.inputs import read_index
from rga.tasks import Segmentation
from rga.training.speed import prepare_inference

MADE = ".rga-predict.json"  # in the folder of the results: of what they are


def predict(
    run: Path,
    images: Path,
    out: Path,
    device: str = "auto",
    strength: float = 0.5,
    *,
    ids: bool = False,
    config_dir: Path | None = None,
) -> int:
    """Write `out/NAME.png` for every image of a folder and of those below it; one that is there already stays.

    Overlays show the classes' colours over the image. Ids are what a benchmark's server takes: images of one byte a
    pixel in the size of the original, with the numbers that the data set's own label files have for the classes (for
    Cityscapes label ids, 7 for road, and not train ids). They are computed in the number format of the run, as
    its test was; on a CPU in float32 where that was float16.

    Args:
        run: the folder of a finished run, `runs/<fingerprint>/<seed>`, or its checkpoint.
        images: the folder of images, of any size, such as `leftImg8bit/test`.
        out: where the results go, under the names that the images have.
        device: cpu, cuda, ...; auto: a GPU if there is one.
        strength: of an overlay's colours, 1 hides the image.
        ids: label ids instead of overlays.
        config_dir: a further folder of configs, see `rga.inference.trained.load`.

    Returns:
        How many were written.

    Raises:
        ConfigError: no finished run of a segmentation task.
        DataError: no images, two of one name, or one that does not decode; or `out` lies among the images, or holds
            results of other weights or of another kind.
    """
    expect_outside(out, images)
    results: dict[Path, Path] = {}
    for name in find(images):
        result = out / Path(name).with_suffix(".png")
        if result in results:
            raise DataError(f"{results[result]} and {images / name} have one name but for the ending: as their results")
        results[result] = images / name
    trained = load(run, kind=Segmentation, config_dir=config_dir)
    task = trained.task
    assert isinstance(task, Segmentation)
    fabric = _fabric(trained, device)
    prepare_inference(task, fabric.device, trained.config.trainer)
    numbers = _label_ids(trained, len(task.colours)) if ids else None
    _claim(out, results, {
        "weights": digest(task),
        "results": "label ids" if ids else f"overlays of strength {strength}",
        "window": list(task.scan.window),
        "scales": list(task.scan.scales),
        "mirror": task.scan.mirror,
    })  # fmt: skip
    task.to(fabric.device)
    normalize, colours = Normalize().to(fabric.device), task.colours.cpu().numpy()
    missing = [result for result in results if not result.exists()]
    for result in watched(missing, "predicting" if ids else "drawing", len(missing)):
        image = decoding.load(results[result])  # (H, W, 3)
        with torch.inference_mode(), fabric.autocast():
            pixels = normalize(torch.tensor(image, device=fabric.device).permute(2, 0, 1).unsqueeze(0))
            probabilities = task(pixels)
            if not bool(probabilities.isfinite().all()):
                raise ConfigError(
                    f"the outputs for {results[result]} are not finite: the weights are damaged, or too large for "
                    f"trainer.precision={trained.config.trainer.precision}"
                )
            classes = probabilities.argmax(1)[0].cpu().numpy()  # (H, W)
        shown = overlay(image, classes, colours, strength) if numbers is None else numbers[classes]
        with writing(result) as file:
            Image.fromarray(shown).save(file, format="png")
    return len(missing)


def _fabric(trained: Trained, device: str) -> Fabric:
    """The device, and the run's number format there."""
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (number and not number.isdecimal()):
        raise ConfigError(f"--device {device}: expected auto, cpu, mps, cuda or cuda:1")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {device}: PyTorch finds {torch.cuda.device_count() or 'no'} GPUs here")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    precision = str(trained.config.trainer.precision)
    if kind == "cpu" and precision.startswith("16"):
        precision = "32-true"
    return Fabric(accelerator=kind, devices=[int(number)] if number else 1, precision=precision)  # type: ignore[arg-type]


def _label_ids(trained: Trained, classes: int) -> NDArray[np.uint8]:
    """(K,) the number that the data set's files have for each class."""
    data = trained.config.data
    name, reader = data.name, str(data.reader._target_)
    ids, means = registry.label_ids(name, reader, data.root), registry.meaning(reader, data.root)
    index = read_index(trained.weights.parent)
    if means and index and not any(line.endswith(f" {means}") for line in index.lines):
        raise DataError(
            f"what the masks in {data.root} mean was changed after the training (names, ids, colours or their order), "
            "so the network's classes are not these: bring back the file that says it"
        )
    if len(ids) != classes:
        raise DataError(f"the network tells {classes} classes apart, {name} has label ids of {len(ids)}")
    return np.array(ids, np.uint8)


def _claim(out: Path, results: dict[Path, Path], made: dict[str, Any]) -> None:
    """Write down of what the results are; results of anything else in this folder are not mixed with them."""
    images = {result.relative_to(out).as_posix(): _sha256(image) for result, image in results.items()}
    try:
        before = json.loads((out / MADE).read_text())
    except (OSError, ValueError):
        before = None
    earlier = before if isinstance(before, dict) else {}
    there = [result for result in results if result.exists()]
    if there and (differ := " and ".join(key for key in made if earlier.get(key) != made[key])):
        how = f"was made with other {differ}" if earlier else f"{out} does not say of what it was made"
        raise DataError(f"{there[0]} is there already, and {how}: name another folder")
    kept = earlier["images"] if isinstance(earlier.get("images"), dict) else {}
    for result in there:
        name = result.relative_to(out).as_posix()
        if kept.get(name) != images[name]:
            raise DataError(
                f"{result} is there already, and of another image than {results[result]}: name another folder"
            )
    now = made | {"images": kept | images}
    if before != now:
        with writing(out / MADE) as file:
            file.write(json.dumps(now, indent=1).encode())


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error
