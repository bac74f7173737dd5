"""Where the colours of a map lie, and what a sheet says."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from rga.drawing.sheet import Heat, Profile, compose, over
from rga.inference.sheet import draw


def pixels(heat: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A map over a black image, one pixel of the canvas for a pixel of the image: (H, W, 3)."""
    height, width = size
    sheet = Figure(figsize=(width / 100, height / 100), dpi=100)
    axis = sheet.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    axis.imshow(np.zeros((*size, 3), np.uint8), aspect="auto")
    over(axis, heat, (0.0, 1.0))
    axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    canvas = FigureCanvasAgg(sheet)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


@pytest.mark.parametrize("place", [(0, 0), (15, 7), (0, 7), (5, 2), (11, 6)])
def test_one_cell_lights_its_own_pixels(place: tuple[int, int]) -> None:
    heat = np.zeros((16, 8), np.float32)
    heat[place] = 1
    drawn = pixels(heat, (256, 128))
    lit = drawn[..., 0] > drawn[..., 2]  # red is the largest value's colour, blue the smallest's
    expected = np.zeros((256, 128), bool)
    expected[16 * place[0] : 16 * place[0] + 16, 16 * place[1] : 16 * place[1] + 16] = True
    assert (lit == expected).all()
    assert len(np.unique(drawn[expected], axis=0)) == 1  # one value, one colour: nothing is interpolated
    assert len(np.unique(drawn[~expected], axis=0)) == 1


def test_cells_of_another_aspect_cover_the_image() -> None:
    heat = np.linspace(0, 1, 6, dtype=np.float32).reshape(3, 2)
    drawn = pixels(heat, (60, 50))
    for row in range(3):
        for column in range(2):
            tile = drawn[20 * row : 20 * row + 20, 25 * column : 25 * column + 25]
            assert len(np.unique(tile.reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 6


def test_the_colour_bar_has_the_values_of_the_row() -> None:
    images = np.zeros((3, 8, 4, 3), np.uint8)
    rows = [Heat("mask", np.full((3, 4, 2), 0.5, np.float32), (0.25, 0.75), "gate")]
    sheet = compose(images, rows, ["said"])
    (bar,) = [axis for axis in sheet.axes if axis.get_ylabel() == "gate"]
    assert bar.get_ylim() == (0.25, 0.75)
    assert [axis.get_ylabel() for axis in sheet.axes if axis.get_ylabel()] == ["image", "mask", "gate"]


def test_curves_are_sorted_by_their_mean() -> None:
    values = np.array([[0.1, 0.9, 0.4], [0.3, 0.7, 0.6]], np.float32)
    sheet = compose(np.zeros((2, 8, 4, 3), np.uint8), [Profile("channels", values)], ["said"])
    curves = [line.get_ydata() for axis in sheet.axes for line in axis.lines]
    np.testing.assert_allclose(curves, [[0.9, 0.4, 0.1], [0.7, 0.6, 0.3], [0.8, 0.5, 0.2]], rtol=1e-6)


def test_a_mask_of_one_value_is_drawn(tmp_path: Path) -> None:
    """As a gate that begins at 1/2 everywhere has it."""
    rows = [Heat("mask", np.full((1, 4, 2), 0.5, np.float32), (0.5, 0.5), "gate")]
    draw(np.zeros((1, 8, 4, 3), np.uint8), rows, ["what it is"], tmp_path / "one.png")
    assert Image.open(tmp_path / "one.png").info["Description"] == "what it is"
