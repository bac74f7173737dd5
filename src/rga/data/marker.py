"""What sets drawn data apart from real ones: a file in their folder, written when they are complete."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rga.errors import DataError

MARKER = "demo.json"  # what the set was drawn from, and how much it holds


def recorded(root: str | Path) -> dict[str, Any] | None:
    """What the marker of a demo set says: `options`, and `counts` as in a reader's `PUBLISHED`; None without one."""
    try:
        found = json.loads((Path(root).expanduser() / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"options", "counts"} <= found.keys() else None


def write(root: str | Path, options: Mapping[str, Any], draw: Callable[[Path], Mapping[str, tuple[int, ...]]]) -> Path:
    """Draw a demo set at `root`, unless the same one lies there already.

    It is drawn in a folder beside `root` and moved there when it is complete, so a half-written one is never read.

    Args:
        root: the folder of the set; demo data that were drawn from other options are replaced.
        options: all that determines the files.
        draw: draws the set in a folder, which exists, and gives the counts of its parts.

    Raises:
        DataError: something else than demo data lies at `root`.
    """
    root, options = Path(root).expanduser(), dict(options)
    if (present := recorded(root)) and present["options"] == options:
        return root
    if not present and root.exists() and any(root.iterdir()):
        raise DataError(f"{root} holds something else than demo data: choose another folder")
    root.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        fresh, old = workplace / "fresh", workplace / "old"
        fresh.mkdir()
        counts = draw(fresh)
        (fresh / MARKER).write_text(json.dumps({"options": options, "counts": counts}, indent=2) + "\n")
        try:
            if root.exists() and (recorded(root) or {}).get("options") != options:
                root.rename(old)
            fresh.rename(root)
        except OSError:
            if (recorded(root) or {}).get("options") != options:  # if so, another process was faster: the same files
                raise
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return root
