"""Runs on disk: where a run lies, and its result. No torch, so that tables print at once.

A run is named by what determines its result: the fingerprint of its resolved config, and its seed. Its folder is
`<root>/<fingerprint>/<seed>/`; `result.json` is written last and atomically, so a folder without it is not finished.
"""

import fcntl
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rga.files import write_atomically
from rga.runs.identity import VERSION, fingerprint

RESULT = "result.json"


class FolderBusyError(RuntimeError):
    """Another process is working in a folder, such as a run's."""


@dataclass(frozen=True)
class Run:
    """One run: its folder under `root` (`paths.runs`) and its result. `config` is resolved, as plain containers."""

    root: str | Path
    config: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.config)

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def folder(self) -> Path:
        return Path(self.root) / self.fingerprint / str(self.seed)

    @property
    def finished(self) -> bool:
        return self.result() is not None

    def result(self) -> dict[str, Any] | None:
        """Read `result.json`; None when there is none (not finished) or when it is damaged (warned about)."""
        return read_result(self.folder / RESULT)

    def write_result(self, result: Mapping[str, Any]) -> Path:
        """Write `result.json` with the run's config, fingerprint and seed added; it is there in full or not at all.

        Raises:
            ValueError: a number in it is not finite, which JSON does not know.
        """
        named = {"version": VERSION, "fingerprint": self.fingerprint, "seed": self.seed, "config": dict(self.config)}
        path = self.folder / RESULT
        write_atomically(path, json.dumps({**named, **result}, indent=1, allow_nan=False) + "\n")
        return path

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run's folder, see `locked`."""
        return locked(self.folder)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder; FolderBusyError if another process does. Freed by the system when the process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderBusyError(f"another process is working in {folder}") from None
        except OSError as error:  # some network file systems have no locks
            warnings.warn(f"{folder} cannot be locked: {error}", stacklevel=3)
        yield


def read_result(path: Path) -> dict[str, Any] | None:
    """Read one `result.json`; None when it is absent, or damaged or misplaced (then with a warning that names it)."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        missing = {"metrics", "fingerprint", "seed"} - result.keys()
        if missing:
            raise ValueError(f"no {', '.join(sorted(missing))}")
        if [str(result["fingerprint"]), str(result["seed"])] != [path.parent.parent.name, path.parent.name]:
            raise ValueError(f"it is of run {result['fingerprint']}/{result['seed']}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, AttributeError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        warnings.warn(f"{path} is left out: {error}", stacklevel=2)
        return None
    return dict(result)


def results_of(root: str | Path, name: str) -> list[dict[str, Any]]:
    """Give the finished runs of one fingerprint, sorted by seed."""
    found = (read_result(path) for path in sorted((Path(root) / name).glob(f"*/{RESULT}")))
    return sorted((result for result in found if result is not None), key=lambda result: int(result["seed"]))


def find_results(root: str | Path, names: Iterable[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    """Give the finished runs under `root` by fingerprint, each list sorted by seed; only `names` if they are given."""
    if names is None:
        names = sorted({path.parent.parent.name for path in Path(root).glob(f"*/*/{RESULT}")})
    found = {name: results_of(root, name) for name in names}
    return {name: results for name, results in found.items() if results}
