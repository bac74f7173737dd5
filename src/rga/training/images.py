"""What a finished run shows in wandb and tensorboard: images of what the test saw, none of it computed for a metric."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray
from torch import Tensor

from rga.attention.gate_values import gates_in
from rga.data import decoding
from rga.data.reid.augment import Normalize
from rga.drawing.confusion import confusion
from rga.drawing.overlay import overlay
from rga.drawing.rank_lists import rank_lists
from rga.drawing.sheet import Heat, compose
from rga.tasks import Classification, ReID, Segmentation
from rga.training.gates import blocks_of
from rga.training.loggers import log_image, shows_images
from rga.training.speed import uncompiled

log = logging.getLogger("rga")

Named = tuple[str, NDArray[np.uint8]]  # (H, W, 3)

_MOST_CLASSES = 100  # of a confusion matrix that can be read
_STRENGTH = 0.5  # of the classes over a scene
_NARROWEST = 0.02  # range of the gates that a row of colours shows


def show(loggers: list[Logger], task: Any, data: Any, step: int) -> None:
    """Log the images of a finished test: of the first process, and only where a logger has images.

    For re-identification rank lists of some queries and, where the network has spatial gates, these; for scenes their
    classes; for classification the confusion matrix. The result is written by now, so what goes wrong is a warning.
    """
    shown = [logger for logger in loggers if shows_images(logger)]
    if not shown:
        return
    try:
        for name, image in images_of(task, data):
            for logger in shown:
                log_image(logger, f"test/{name}", image, step)
    except (
        Exception
    ) as error:  # of a block of somebody's own, of images that are gone: the run is finished all the same
        log.warning("not all images are logged: %s: %s", type(error).__name__, error)


def images_of(task: Any, data: Any) -> Iterator[Named]:
    """The images of a task that was tested on its data, by name."""
    if isinstance(task, ReID) and task.examples:
        samples = [*data.split().query, *data.split().gallery]
        rows = [
            (samples[query].path, [(samples[match].path, right) for match, right in found])
            for query, found in task.examples
        ]
        yield "rank_lists", np.asarray(rank_lists(rows, data.size))
        images = np.stack([decoding.load(path, data.size) for path, _ in rows])
        yield from _gates(task, images, data.augment.normalize)
    elif isinstance(task, Segmentation):
        colours = task.colours.cpu().numpy()
        scenes = {scene.name: scene for scene in data.scenes(data.test[0])}
        for name, classes in task.examples.items():
            image = decoding.load(scenes[name].image)
            yield f"classes/{name}", overlay(image, classes.numpy(), colours, _STRENGTH)
    elif isinstance(task, Classification) and len(task.answers) <= _MOST_CLASSES:
        yield "confusion_matrix", _pixels(confusion(task.answers.numpy(), data.classes))


def _gates(task: ReID, images: NDArray[np.uint8], normalize: Normalize) -> Iterator[Named]:
    """The spatial gates of each stage for images (B, H, W, 3), over them."""
    device, dtype = task.device, task.dtype
    x = normalize.to(device)(torch.tensor(images, device=device).permute(0, 3, 1, 2)).to(dtype)
    with uncompiled():
        found = gates_in(task.backbone.eval(), x, blocks_of(task))
    maps = {stage: gate for stage, gates in found.items() if (gate := gates.spatial()) is not None}
    rows = [Heat(stage, _array(gate), _range(gate), "gate") for stage, gate in maps.items()]
    if rows:
        said = f"Spatial gates; the colours of each row have a range of their own, at least {_NARROWEST} wide."
        yield "gates", _pixels(compose(images, rows, [said]))


def _array(gate: Tensor) -> NDArray[np.float32]:
    return np.asarray(gate.float().cpu().numpy(), dtype=np.float32)


def _range(gate: Tensor) -> tuple[float, float]:
    """Of the colours; not so narrow that gates which are all alike seem to differ."""
    low, high = float(gate.min()), float(gate.max())
    centre, half = (low + high) / 2, max((high - low) / 2, _NARROWEST / 2)
    return centre - half, centre + half


def _pixels(figure: Any) -> NDArray[np.uint8]:
    """matplotlib's figure as (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(120)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
