"""Which run a checkpoint is of, as the checkpoint itself keeps it."""

from collections.abc import Mapping
from typing import Any

from rga.runs.identity import VERSION

_RUN = "rga_run"  # the version of the rules for names, and FINGERPRINT/SEED


def with_run(run: str) -> dict[str, Any]:
    """What a checkpoint of the run FINGERPRINT/SEED keeps of it."""
    return {_RUN: [VERSION, run]}


def other_run(checkpoint: Mapping[str, Any], run: str) -> str | None:
    """Which run a checkpoint is of, if that is not `run`; None also where it does not say, or by other rules."""
    said = checkpoint.get(_RUN)
    if not isinstance(said, list) or len(said) != 2 or said[0] != VERSION or said[1] == run:
        return None
    return str(said[1])
