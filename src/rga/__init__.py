"""Relation-Aware Global Attention: attention blocks, a backbone plugin, and the paper's tables from one command."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rga.exported import Exported

__version__ = "0.1.0"


def load(folder: "str | Path") -> "Exported":
    """The network that `rga export` has written into a folder: images (B, 3, H, W), RGB in 0..1, to what it was for.

    Nothing in the folder is executed, see `rga.exported`.
    """
    from rga.exported import load as exported

    return exported(folder)
