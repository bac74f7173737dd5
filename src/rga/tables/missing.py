"""Make the runs that a table misses, through whatever launcher Hydra is told to use."""

import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import RunMode, TaskFunction

from rga.errors import ConfigError
from rga.hydra_internals import launcher_context
from rga.paths import CONF
from rga.runs.paths_in_overrides import quoted
from rga.tables.filled import FilledTable


def run_missing(filled: FilledTable, hydra: Sequence[str], task: TaskFunction, conf: Path = CONF) -> list[str]:
    """Launch every missing run of a table once; gives a message for each that failed.

    Args:
        filled: the table; its entries know the seeds that are missing.
        hydra: overrides for Hydra itself, such as `hydra/launcher=submitit_slurm` or `hydra.launcher.jobs=2`.
        task: what a launcher without processes of its own calls with the config (`rga.training.loop.run`).
        conf: the folder of `train.yaml`.

    Raises:
        ConfigError: a launcher or an option of it that does not exist.
    """
    jobs = [
        (f"{line.row.name} on {cell.column.name}, seed {seed}", [*entry.overrides, f"seed={seed}"])
        for line, cell, entry in filled.missing()
        for seed in entry.missing
    ]
    return run_jobs(jobs, hydra, task, conf)


def run_jobs(
    jobs: Sequence[tuple[str, list[str]]], hydra: Sequence[str], task: TaskFunction, conf: Path = CONF
) -> list[str]:
    """Launch runs, each with a label and the overrides of `rga train`; gives a message for each that failed.

    Raises:
        ConfigError: as `run_missing`.
    """
    if not jobs:
        return []
    # What launchers and jobs print goes to stderr: stdout is the command's.
    with contextlib.redirect_stdout(sys.stderr):
        returns = _launch([(name, quoted(overrides)) for name, overrides in jobs], quoted(hydra), task, conf)
    failures = [(name, _failure(ret)) for (name, _), ret in zip(jobs, returns, strict=True)]
    return [f"{name}: {error}" for name, error in failures if error]


def _launch(
    jobs: Sequence[tuple[str, list[str]]], overrides: list[str], task: TaskFunction, conf: Path
) -> Sequence[JobReturn]:
    """What `rga train -m` does after its sweeper has made the list of jobs (it cannot list rows of a table)."""
    with initialize_config_dir(str(conf), job_name="train", version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        try:
            config = hydra.compose_config(
                "train", [*overrides, "hydra.mode=MULTIRUN"], run_mode=RunMode.MULTIRUN, with_log_configuration=True
            )
        except HydraException as error:
            raise ConfigError(f"{' '.join(overrides)}: {error}") from error
        context = launcher_context(hydra, config)
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
        if hasattr(launcher, "labels"):  # ours; others have names of their own for jobs
            launcher.labels = [label for label, _ in jobs]
        return list(launcher.launch([own for _, own in jobs], initial_job_idx=0))


def _failure(ret: JobReturn) -> str | None:
    if ret.status == JobStatus.COMPLETED:
        return None
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # Hydra announces the failure there once more
            _ = ret.return_value
    except Exception as error:
        return str(error)
    return "it did not complete"
