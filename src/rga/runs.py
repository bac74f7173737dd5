"""Runs on disk: what names a run, where it lies, and its result. No torch, so that tables print at once.

A run is named by what determines its result: the fingerprint of its resolved config, and its seed. Its folder is
`<root>/<fingerprint>/<seed>/`; `result.json` is written last and atomically, so a folder without it is not finished.
"""

import fcntl
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

RESULT = "result.json"

# What does not determine the result: where things lie, how the run is watched, and the seed (it is named beside).
_NOT_RESULT = {"seed", "paths", "logger", "hydra", "rerun", "objective"}
_NOT_RESULT_DATA = {"root", "workers", "cache", "seed", "download", "test_batch"}  # `data.seed` repeats the run's seed
_PLACES, _PLACES_DATA = {"paths", "logger", "hydra"}, {"root", "cache"}  # of these, what tells of one machine
# On which devices (the batch is the global one), how fast, how often something is written or validated. All other
# options of the Trainer count, those of a quick try among them: limit_train_batches, fast_dev_run, ...
_NOT_RESULT_TRAINER = {
    "_target_", "accelerator", "devices", "num_nodes", "strategy", "benchmark", "channels_last", "compile", "profiler",
    "check_val_every_n_epoch", "checkpoint_minutes", "log_every_n_steps", "enable_progress_bar", "enable_model_summary",
}  # fmt: skip
_WEIGHT_FILES = (".pth", ".pt", ".safetensors")


class FolderBusyError(RuntimeError):
    """Another process is working in a folder, such as a run's."""


def fingerprint(config: Mapping[str, Any]) -> str:
    """Name what determines a run's result: 12 hexadecimal digits of the SHA-256 of its canonical config.

    `config` is the resolved config as plain containers. Dropped are the seed, paths, loggers, Hydra's own node,
    `rerun` and `objective`; of `data` the root, the workers, the cache, the download and the test batch; of `trainer`
    where and how fast it trains (devices, strategy, compilation, ...). A file of backbone weights counts by its name,
    not by where it lies. Everything else counts.
    """
    canonical = json.dumps(_canonical(_determining(config)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _determining(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key not in _NOT_RESULT}
    if isinstance(kept.get("data"), Mapping):
        kept["data"] = {key: value for key, value in kept["data"].items() if key not in _NOT_RESULT_DATA}
    if isinstance(kept.get("trainer"), Mapping):
        kept["trainer"] = {key: value for key, value in kept["trainer"].items() if key not in _NOT_RESULT_TRAINER}
    if isinstance(kept.get("backbone"), Mapping):
        kept["backbone"] = _without_folders(kept["backbone"])
    return kept


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved config without what tells where things lie on this machine; its fingerprint is the same."""
    kept = {key: value for key, value in config.items() if key not in _PLACES}
    if isinstance(kept.get("data"), Mapping):
        kept["data"] = {key: value for key, value in kept["data"].items() if key not in _PLACES_DATA}
    if isinstance(kept.get("backbone"), Mapping):
        kept["backbone"] = _without_folders(kept["backbone"])
    return kept


def determines_result(key: str) -> bool:
    """Whether an override's key, such as `data.size`, can change a run's result; a file of weights may lie anywhere."""
    top, _, rest = key.partition(".")
    if top == "data" and rest:
        return rest.partition(".")[0] not in _NOT_RESULT_DATA
    if top == "trainer":
        return bool(rest) and rest.partition(".")[0] not in _NOT_RESULT_TRAINER
    return top not in _NOT_RESULT


def _without_folders(node: Any) -> Any:
    """Reduce every `weights` that names a file to the file's name (`trunk.weights` repeats `backbone.weights`)."""
    if not isinstance(node, Mapping):
        return node
    return {
        key: PurePath(value).name if key == "weights" and _is_file(value) else _without_folders(value)
        for key, value in node.items()
    }


def _is_file(weights: Any) -> bool:
    return isinstance(weights, str) and ("/" in weights or os.sep in weights or weights.endswith(_WEIGHT_FILES))


def _canonical(value: Any) -> Any:
    """Make equal values equal text: 1.0 is 1, a tuple is a list, keys are strings."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


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
        """Write `result.json` with the run's config, fingerprint and seed added; it is there in full or not at all."""
        named = {"fingerprint": self.fingerprint, "seed": self.seed, "config": dict(self.config)}
        path = self.folder / RESULT
        write_atomically(path, json.dumps({**named, **result}, indent=1) + "\n")
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


def write_atomically(path: Path, text: str, *, sync: bool = True) -> None:
    """Write a text file that is there in full or not at all; with `sync` even after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp's files are private; results are shared
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if sync:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself
        finally:
            os.close(folder)


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
