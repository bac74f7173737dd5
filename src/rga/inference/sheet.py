"""Write the sheet of Figure 3."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rga.drawing.sheet import Heat, Profile, compose
from rga.errors import DataError
from rga.inference.extraction import writing

_NOTE = {"png": "Description", "svg": "Description", "pdf": "Subject"}  # where a file says which runs it shows


def kind(out: Path) -> str:
    """The kind of a file, by its ending; DataError for one that is not written."""
    if (found := out.suffix.lower().removeprefix(".")) not in _NOTE:
        raise DataError(f"{out}: the figure is written as {', '.join(f'.{name}' for name in _NOTE)}")
    return found


def draw(images: NDArray[np.uint8], rows: Sequence[Heat | Profile], captions: Sequence[str], out: Path) -> None:
    """Write the images (n, H, W, 3), and below them each row.

    Args:
        captions: below the figure, and in the file's metadata.
    """
    import matplotlib as mpl

    with mpl.rc_context({**mpl.rcParamsDefault, "svg.hashsalt": "rga", "font.size": 8, "text.parse_math": False}):
        sheet = compose(images, rows, captions)
        note: dict[str, Any] = {_NOTE[kind(out)]: "; ".join(captions)}
        with writing(out) as target:
            sheet.savefig(target, format=kind(out), dpi=200, metadata=note)
