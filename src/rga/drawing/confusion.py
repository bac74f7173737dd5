"""A confusion matrix as an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WRITTEN = 20  # classes up to which the numbers stand in the cells


def confusion(counts: NDArray[np.integer], names: Sequence[str]) -> Any:
    """Rows are the true classes, columns the answers: matplotlib's figure, coloured by the share of a row.

    Args:
        counts: (K, K) images.
        names: of the classes, K.
    """
    from matplotlib.figure import Figure

    total = counts.sum(1, keepdims=True)
    shares = counts / np.maximum(total, 1)
    side = 2.5 + 0.28 * min(len(names), 40)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis = figure.add_subplot()
    shown = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places, size = np.arange(len(names)), 7 if len(names) <= 40 else 3
    axis.set_xticks(places, names, rotation=90, fontsize=size, parse_math=False)
    axis.set_yticks(places, names, fontsize=size, parse_math=False)
    axis.set(xlabel="answer", ylabel="true class")
    if len(names) <= _WRITTEN:
        for row in range(len(names)):
            for column in range(len(names)):
                colour = "white" if shares[row, column] > 0.6 else "black"
                axis.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=6, color=colour)
    figure.colorbar(shown, ax=axis, label="share of the true class's images")
    return figure
