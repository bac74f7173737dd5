"""Where recorded numbers come from, in Markdown: data, software, and for each row seeds, time, device and commit."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rga.data.base import in_words
from rga.printing import duration
from rga.tables.filled import Entry, FilledTable, precision_of
from rga.tables.render import markdown_table

_SOFTWARE = ("python", "torch", "torchvision", "lightning")


def origin(entries: Sequence[Entry]) -> list[str]:
    """What all runs of a table have in common, or in how much they differ."""
    results = [result for entry in entries for result in entry.results]
    days = sorted({str(result["finished_at"])[:10] for result in results if result["finished_at"]})
    found = {
        "data": _distinct(_counts(result["data"] or {}) for result in results),
        "precision": _distinct(map(precision_of, results)),
        "software": _distinct(
            ", ".join(f"{name} {version}" for name, version in (result["versions"] or {}).items() if name in _SOFTWARE)
            for result in results
        ),
        "runs": [
            f"{len(results)}, {_time(results)}",
            *([" to ".join([days[0], *days[1:][-1:]])] if days else []),
        ],
    }
    return [f"{name}: {'; '.join(texts)}" for name, texts in found.items() if any(texts)]


def runs(filled: FilledTable) -> list[str]:
    """A table of where each row's numbers come from."""
    several = sum(any(cell.n for cell in filled.cells if cell.column == column) for column in filled.columns) > 1
    lines = []
    for line in filled.lines:
        for cell in {cell.entry.fingerprint: cell for cell in line.cells if cell.entry}.values():
            entry = cell.entry
            if entry is not None and (results := entry.results):
                name = f"{line.row.name}, {cell.column.name}" if several else line.row.name
                seeds = ", ".join(str(result["seed"]) for result in results)
                parameters = _distinct(
                    f"{result['parameters'] / 1e6:.3f}" for result in results if result["parameters"]
                )
                devices = _distinct(str(result["device"] or "unknown") for result in results)
                commits = _distinct(short_commit(result["commit"]) for result in results)
                rest = ["; ".join(texts) for texts in (parameters, [_time(results)], devices, commits)]
                lines.append([name, entry.fingerprint, seeds, *rest])
    return markdown_table(["run", "fingerprint", "seeds", "parameters (M)", "time", "device", "commit"], lines)


def _counts(data: Mapping[str, Any]) -> str:
    """A data set's parts in words, such as `cifar10 (train: 50000 images, 10 classes; test: ...)`."""
    parts = [f"{part}: {in_words(counts)}" for part, counts in data.items() if isinstance(counts, Mapping)]
    return f"{data['name']} ({'; '.join(parts)})" if parts else ""


def short_commit(commit: str | None) -> str:
    """Ten digits of a commit, and whether there were changes."""
    if commit is None:
        return "unknown"
    names = (each.partition("-dirty")[:2] for each in commit.split("; "))  # of the sessions of a run that was resumed
    return "; ".join(name[:10] + (" with changes" if dirty else "") for name, dirty in names)


def _time(results: Sequence[Mapping[str, Any]]) -> str:
    """All runs together, as far as it is known."""
    known = [result["duration_s"] for result in results if result["duration_s"] is not None]
    told = duration(sum(known)) if known else "unknown"
    return told if len(known) in (0, len(results)) else f"{told} for {len(known)} of them"


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
