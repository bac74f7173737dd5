"""What `rga measure` has recorded, as a Markdown table for docs/benchmarks.md."""

import json
import warnings
from pathlib import Path

from rga.printing import is_plain
from rga.tables.origin import short_commit
from rga.tables.render import markdown_table

NONE = "Nothing is recorded yet."
_NEEDED = ("step", "summary", "device", "commit", "seconds")


def measured_table(folder: Path) -> list[str]:
    """The lines of `folder`/*.jsonl that succeeded, a table for each device; what is none of these is left out."""
    found: dict[str, list[list[str]]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                line = json.loads(text)
                if "error" in line:
                    continue
                values = [str(line[key]) for key in _NEEDED if key != "commit"] + [short_commit(line["commit"])]
                if not all(map(is_plain, values)):
                    raise ValueError("a text in it is not plain")
            except (ValueError, KeyError, TypeError) as error:
                warnings.warn(f"{path}:{number} is left out: {error}", stacklevel=2)
                continue
            step, summary, device, seconds, commit = values
            found.setdefault(device, []).append([step, summary, seconds, commit])
    lines: list[str] = []
    for device, rows in found.items():
        lines += [f"On {device}:", "", *markdown_table([device, "", "seconds", "commit"], rows, left=2), ""]
    return lines or [NONE, ""]
