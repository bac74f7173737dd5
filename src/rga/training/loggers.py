"""Weights & Biases under the run's own identity."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlparse

from lightning.pytorch.loggers import Logger, WandbLogger

from rga.runs import RERUN


def wandb_logger(save_dir: Path, project: str, offline: bool | str = "auto") -> WandbLogger:
    """Log to the wandb run `<fingerprint>-<seed>`, so that a resumed run continues in the same place.

    Args:
        save_dir: the run's folder, `<fingerprint>/<seed>`, or that of its repetition below it.
        project: of wandb.
        offline: "auto" is offline where neither WANDB_API_KEY nor a login of `wandb login` is found; `wandb sync` sends
            an offline run later. WANDB_MODE has the last word.
    """
    run = save_dir.parent if save_dir.name == RERUN else save_dir
    name = f"{run.parent.name}-{run.name}"
    if offline == "auto":
        offline = os.environ.get("WANDB_MODE", "") == "offline" or not _account()
    return WandbLogger(save_dir=save_dir, project=project, id=name, name=name, offline=bool(offline), resume="allow")


def begins_anew(logger: Logger) -> bool:
    """Whether each session of a run writes a file that has to hold the whole of it: of wandb's offline runs under one
    name, the one that is sent last counts."""
    return isinstance(logger, WandbLogger) and bool(logger.experiment.offline)


@contextmanager
def finished_wandb() -> Iterator[None]:
    """Finish the wandb run, if there is one, however the block is left: the next job of a process is another run."""
    failed = 1
    try:
        yield
        failed = 0
    finally:
        if "wandb" in sys.modules:
            import wandb

            wandb.finish(exit_code=failed)


def _account() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    try:
        return netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
