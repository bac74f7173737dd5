"""Runs on disk: where a run lies, and its result. No torch, so that tables print at once.

A run is named by what determines its result: the fingerprint of its resolved config, and its seed. Its folder is
`<root>/<fingerprint>/<seed>/`; `result.json` is written last and atomically, so a folder without it is not finished.
A run that is repeated (`rerun=true`) is made in `rerun/` below it; finished, it takes its predecessor's place.
"""

import fcntl
import json
import math
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rga.errors import ConfigError
from rga.files import RESULT, expect_no_links_out, write_atomically
from rga.printing import is_plain
from rga.runs.identity import VERSION, fingerprint, is_name
from rga.runs.queries import check_queries

RERUN = "rerun"
LOCK = ".lock"
_ATTEMPTS = 3


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
        seed = self.config["seed"]
        if type(seed) is not int:  # a sweep may have any texts and numbers for seeds
            raise ConfigError(f"seed={seed}: expected a whole number, such as seed=0")
        return seed

    @property
    def name(self) -> str:
        """FINGERPRINT/SEED, its folder below the root."""
        return f"{self.fingerprint}/{self.seed}"

    @property
    def folder(self) -> Path:
        return Path(self.root) / self.fingerprint / str(self.seed)

    @property
    def finished(self) -> bool:
        return self.result() is not None

    @property
    def busy(self) -> bool:
        """Whether a process is working in the run's folder."""
        return is_locked(self.folder)

    @property
    def workplace(self) -> Path:
        """Where the run is made: its folder, or, to repeat one that is finished, a folder below it."""
        return self.folder / RERUN if self.config.get("rerun") and self.finished else self.folder

    def result(self) -> dict[str, Any] | None:
        """Read `result.json`; None when there is none (not finished) or when it is damaged (warned about)."""
        return read_result(self.folder / RESULT)

    def write_result(self, result: Mapping[str, Any], workplace: Path | None = None) -> Path:
        """Write `result.json` with the run's config, fingerprint and seed added; it is there in full or not at all.

        Args:
            result: what was found.
            workplace: where the run was made, if that is not its folder: see `settle`.

        Raises:
            ValueError: a number in it is not finite, which JSON does not know.
        """
        named = {"version": VERSION, "fingerprint": self.fingerprint, "seed": self.seed, "config": dict(self.config)}
        path = (workplace or self.folder) / RESULT
        write_atomically(path, json.dumps({**named, **result}, indent=1, allow_nan=False) + "\n")
        return path

    def settle(self) -> None:
        """Put a repeated run that is finished in the place of its predecessor, the result last.

        What a killed process has begun of it is completed. The folder has to be locked.
        """
        new = self.folder / RERUN
        if not (new / RESULT).exists():
            return
        for path in sorted(new.iterdir(), key=lambda path: path.name == RESULT):
            old = self.folder / path.name
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            path.replace(old)
        new.rmdir()

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run's folder, see `locked`."""
        return locked(self.folder)


@contextmanager
def locked(folder: Path, name: str = LOCK) -> Iterator[None]:
    """Hold a folder to write in it. Freed by the system when the process dies.

    Raises:
        FolderBusyError: another process holds it.
        OutsideError: see `rga.files.expect_no_links_out`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    expect_no_links_out(folder)
    with (folder / name).open("w") as file:
        try:
            _hold(file)
        except BlockingIOError:
            raise FolderBusyError(f"another process is working in {folder}") from None
        except OSError as error:  # some network file systems have no locks
            warnings.warn(f"{folder} cannot be locked: {error}", stacklevel=3)
        yield


def is_locked(folder: Path, name: str = LOCK) -> bool:
    """Whether a process holds a folder."""
    try:
        with (folder / name).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # for a moment, which `_hold` waits for
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _hold(file: IO[str]) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt + 1 == _ATTEMPTS:
                raise
            time.sleep(0.05)  # somebody may only have looked
        else:
            return


def read_result(path: Path) -> dict[str, Any] | None:
    """Read one `result.json`; None when it is absent, or damaged or misplaced (then with a warning that names it)."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        check_result(result)
        if [str(result["fingerprint"]), str(result["seed"])] != [path.parent.parent.name, path.parent.name]:
            raise ValueError(f"it is of run {result['fingerprint']}/{result['seed']}")
        if (trained := _epochs(result)) is not None and trained[0] != trained[1]:
            raise ValueError(f"its network was trained for {trained[0]:g} of {trained[1]} epochs; make it anew")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        warnings.warn(f"{path} is left out: {error}", stacklevel=2)
        return None
    return dict(result)


def _epochs(result: Mapping[str, Any]) -> tuple[float, int] | None:
    """How far the learning curve of a result goes, and how far its config does; None where it says neither."""
    curve, recipe = result.get("curve"), (result.get("config") or {}).get("recipe")
    wanted = recipe.get("epochs") if isinstance(recipe, dict) else None
    return (curve[-1]["epoch"], wanted) if curve and wanted is not None else None


def check_result(result: Any) -> None:
    """See that a result, which anybody may have sent, is of the form that is written here.

    Raises:
        ValueError: it is no result, something in it is of another kind, or a text in it is not plain.
    """
    if not isinstance(result, dict):
        raise ValueError("it is no result of a run")
    if missing := _NEEDED - result.keys():
        raise ValueError(f"no {', '.join(sorted(missing))}")
    for key, kinds in _KINDS.items():
        value = result.get(key)
        absent = value is None and key not in _NEEDED
        if not absent and (isinstance(value, bool) or not isinstance(value, kinds)):
            raise ValueError(f"its {key} is {value!r:.80}")
    seconds = result.get("duration_s")
    if seconds is not None and not 0 <= seconds <= _CENTURY:
        raise ValueError(f"its duration_s is {seconds!r:.80}")
    numbers = [("metrics", result["metrics"]), *(("curve", entry) for entry in result.get("curve") or ())]
    for where, entry in numbers:
        if not isinstance(entry, dict) or not all(value is None or _is_number(value) for value in entry.values()):
            raise ValueError(f"its {where} holds something else than finite numbers")
        if where == "curve" and not _is_number(entry.get("epoch")):
            raise ValueError("its curve has no epochs")
    for name, value in result["metrics"].items():
        if value is not None and not name.endswith("loss") and not 0 <= value <= 1:
            raise ValueError(f"its {name} is {value!r}: metrics are fractions, from 0 to 1")
    inputs = result.get("inputs") or {}
    if any(not isinstance(inputs.get(part) or {}, dict) for part in ("data", "weights")):
        raise ValueError("its inputs are no splits and no file of weights")
    check_queries(result)
    for text in _texts(result):
        if not is_plain(text):
            raise ValueError(f"it holds a text with characters that are not seen: {text!r:.80}")


_CENTURY = 100 * 365 * 86400  # seconds, which no run takes
_NEEDED = {"metrics", "fingerprint", "seed"}
_KINDS: dict[str, tuple[type, ...]] = {
    "fingerprint": (str,), "seed": (int,), "metrics": (dict,), "config": (dict,), "curve": (list,), "data": (dict,),
    "inputs": (dict,), "versions": (dict,), "parameters": (int,), "duration_s": (int, float), "device": (str,),
    "commit": (str,), "finished_at": (str,), "queries": (dict,), "precision": (str,),
}  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)


def results_of(root: str | Path, name: str) -> list[dict[str, Any]]:
    """Give the finished runs of one fingerprint, sorted by seed; a folder that cannot be read is named in a warning."""
    try:  # a glob would pass over what there is no permission to read
        seeds = sorted((Path(root) / name).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        warnings.warn(f"{Path(root) / name} is left out: {error}", stacklevel=2)
        return []
    found = [read_result(seed / RESULT) for seed in seeds]
    return sorted((result for result in found if result is not None), key=lambda result: int(result["seed"]))


def find_results(root: str | Path, names: Iterable[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    """Give the finished runs under `root` by fingerprint, each list sorted by seed; only `names` if they are given."""
    if names is None:
        names = sorted(path.name for path in Path(root).iterdir()) if Path(root).is_dir() else []
    found = {name: results_of(root, name) for name in names}
    return {name: results for name, results in found.items() if results}


def deeper(root: str | Path) -> dict[Path, int]:
    """Folders of runs that lie one or two levels below `root`, which nothing that reads `root` sees, and their runs.

    So lie the runs of several machines whose folders were copied into one, each as a whole.
    """
    name = 12 * "[0-9a-f]"  # of a config: nothing else is looked into
    paths = [path for level in ("*", "*/*") for path in Path(root).glob(f"{level}/{name}/*/{RESULT}")]
    runs = [path.parent for path in paths if is_name(f"{path.parent.parent.name}/{path.parent.name}")]
    return dict(sorted(Counter(run.parent.parent for run in runs).items()))
