"""Images in a row, and below them maps over the same images, or profiles: the sheet of Figure 3."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WIDTH = 0.8  # of an image, in inches


@dataclass(frozen=True)
class Heat:
    """A row of maps over the images.

    Args:
        label: left of the row.
        maps: (n, h, w), h x w equal tiles of an image; tiles are shown as they are, nothing is interpolated.
        range: the values of the first and of the last colour.
        unit: of the values, beside the colour bar.
    """

    label: str
    maps: NDArray[np.float32]
    range: tuple[float, float]
    unit: str


@dataclass(frozen=True)
class Profile:
    """A row with a curve for each image: the values (n, C) of its channels, in one order for all images."""

    label: str
    values: NDArray[np.float32]


def compose(images: NDArray[np.uint8], rows: Sequence[Heat | Profile], captions: Sequence[str]) -> Any:
    """The sheet as matplotlib's figure."""
    from matplotlib.figure import Figure

    height, lines = _WIDTH * images.shape[1] / images.shape[2], len(rows) + 1
    columns = max(len(images), 4)  # room for the captions
    sheet = Figure(figsize=(1.06 * _WIDTH * columns + 1.9, height * lines + 0.5), layout="constrained")
    grid = sheet.add_gridspec(lines, columns + 1, width_ratios=[1.0] * columns + [0.1])  # colour bars at the right
    for place, row in enumerate([Heat("image", np.empty((0, 1, 1), np.float32), (0, 1), ""), *rows]):
        if isinstance(row, Profile):
            _curves(sheet.add_subplot(grid[place, :columns]), row)
            continue
        axes = [sheet.add_subplot(grid[place, column]) for column in range(len(images))]
        for axis, image in zip(axes, images, strict=True):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.imshow(image)
        axes[0].set_ylabel(row.label, rotation=0, ha="right", va="center")
        shown = [over(axis, heat, row.range) for axis, heat in zip(axes, row.maps, strict=False)]
        if shown:
            sheet.colorbar(shown[0], cax=sheet.add_subplot(grid[place, columns]), label=row.unit)
    letters = int(sheet.get_figwidth() / 0.038)  # of 5 points, in a line
    caption_lines = [line for sentence in captions for line in textwrap.wrap(sentence, letters)]
    sheet.supxlabel("\n".join(caption_lines), fontsize=5, x=0.02, ha="left")
    return sheet


def over(axis: Any, heat: NDArray[np.float32], scale: tuple[float, float]) -> Any:
    """Lay a map (h, w) over the image (H, W, 3) that an axis shows: the tile (i, j) covers H / h x W / w pixels.

    The pixel (0, 0) reaches from -0.5 to 0.5 in both directions, the image to H - 0.5 and W - 0.5.
    """
    height, width = axis.images[0].get_array().shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    low, high = scale
    return axis.imshow(heat, cmap="jet", alpha=0.5, vmin=low, vmax=high, extent=extent, interpolation="nearest")


def _curves(axis: Any, row: Profile) -> None:
    """Channels by their mean over the images, the largest first."""
    mean = row.values.mean(0)
    order = np.argsort(-mean, kind="stable")
    for number, values in enumerate(row.values):
        axis.plot(values[order], color="0.7", linewidth=0.4, label="one image" if number == 0 else None)
    axis.plot(mean[order], color="C3", linewidth=1.2, label="mean of the images")
    axis.margins(x=0)
    axis.set(xlabel=f"{row.values.shape[1]} channels, by their mean gate")
    axis.legend(frameon=False)
    axis.set_ylabel(f"{row.label}\n\ngate", rotation=0, ha="right", va="center")
