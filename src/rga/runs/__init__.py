"""What names a run, where it lies, and what it was made of. No torch, so that tables print at once."""

from rga.runs.folder import (
    RERUN,
    RESULT,
    FolderBusyError,
    Run,
    find_results,
    is_locked,
    locked,
    read_result,
    results_of,
)
from rga.runs.identity import determines_result, fingerprint, without_places

__all__ = [
    "RERUN",
    "RESULT",
    "FolderBusyError",
    "Run",
    "determines_result",
    "find_results",
    "fingerprint",
    "is_locked",
    "locked",
    "read_result",
    "results_of",
    "without_places",
]
