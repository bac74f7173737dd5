"""Hydra's view of `rga.training.launcher`: Hydra finds launchers by itself, but only in modules of `hydra_plugins`."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from rga.errors import ConfigError, DataError
from rga.runs import Run
from rga.runs.inputs import InputsError, expect_one_place, places
from rga.runs.settings import with_home
from rga.training.checks import asked_for, expect_search, refuse_another_working_directory
from rga.training.launcher import Busy, Job, Outcome, run_jobs
from rga.training.reused import compare_reused
from rga.training.shares import alike, slots_for

# The sweep's own settings: a job has no use for them, and would sweep again.
_NOT_FOR_JOBS = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep", "hydra.mode")


class JobFailedError(CompactHydraException):
    """A job of the sweep failed; Hydra prints the message without a traceback."""


def _reused(job: Job) -> Outcome | None:
    """A finished run counts unless it was made of other data than are there now: then its failure."""
    try:
        compare_reused(job.run)
    except (InputsError, DataError) as error:
        return Outcome(job, 0.0, str(error))
    return None


class ProcessLauncher(Launcher):
    """Run every job of a sweep as `rga train OVERRIDES` in a process of its own, `jobs` at a time.

    Jobs whose result is there are not started (unless `rerun=true`), and jobs of the same fingerprint and seed run
    once. What another process is making, such as the same sweep in another terminal, comes last; `busy` says what
    becomes of it. A failed job does not end the sweep: the failures are listed at the end. The value of a job, for
    sweepers that search, is the metric that the config's `objective` names, or all metrics.
    """

    def __init__(self, jobs: int | Literal["auto"] = "auto", busy: str = "wait") -> None:
        if busy not in list(Busy):
            raise ConfigError(f"hydra.launcher.busy={busy}: expected {', '.join(Busy)}")
        self.jobs, self.busy = jobs, Busy(busy)
        self.labels: Sequence[str] | None = None  # what to call the jobs of a launch; None: by their overrides
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        assert self.config is not None
        if not job_overrides:
            raise ConfigError("the sweep has no runs: a glob in it matches none of a group's files")
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)  # sweepers that search write there
        returns = [
            self._compose(list(overrides), initial_job_idx + number) for number, overrides in enumerate(job_overrides)
        ]
        shared = set.intersection(*(set(overrides) for overrides in job_overrides)) if len(returns) > 1 else set()
        jobs = [self._job(ret, shared) for ret in returns]
        first: dict[Path, Job] = {}
        for job in jobs:
            other = first.setdefault(job.run.folder, job)
            both = places(other.run.config), places(job.run.config)
            expect_one_place(job.run.name, *both, f"{other.label} and {job.label}")
        if self.labels is not None:
            jobs = [replace(job, label=label) for job, label in zip(jobs, self.labels, strict=True)]
        pending = {job.run.folder: job for job in jobs if job.run.config.get("rerun") or not job.run.finished}
        finished = {job.run.folder: job for job in jobs if job.run.folder not in pending}
        outcomes = {folder: outcome for folder, job in finished.items() if (outcome := _reused(job))}
        if pending:
            todo = list(pending.values())
            groups = alike(todo)
            ended = [end for jobs in groups for end in run_jobs(jobs, slots_for(self.jobs, jobs), busy=self.busy)]
            outcomes |= {outcome.job.run.folder: outcome for outcome in ended}
        done = len(finished.keys() - outcomes.keys())
        if done:
            print(f"{done} {'run was' if done == 1 else 'runs were'} finished before", file=sys.stderr)
        for ret, job in zip(returns, jobs, strict=True):
            self._conclude(ret, job, outcomes.get(job.run.folder))
        self._report([outcome for outcome in outcomes.values() if outcome.error])
        return returns

    def _compose(self, overrides: list[str], number: int) -> JobReturn:
        assert self.context is not None
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
            hydra_config = config.copy()
            for key in [key for key in hydra_config if key != "hydra"]:
                del hydra_config[key]
            del config["hydra"]
        return JobReturn(overrides=overrides, cfg=config, hydra_cfg=hydra_config, task_name="train")

    def _job(self, ret: JobReturn, shared: set[str]) -> Job:
        assert ret.overrides is not None
        assert ret.cfg is not None
        assert ret.hydra_cfg is not None
        expect_search(ret.cfg.get("objective"), ret.hydra_cfg.hydra)
        refuse_another_working_directory(ret.hydra_cfg.hydra)
        before = HydraConfig.instance().cfg
        HydraConfig.instance().cfg = ret.hydra_cfg  # for ${hydra:...}
        try:
            config = OmegaConf.to_container(ret.cfg, resolve=True)
        finally:
            HydraConfig.instance().cfg = before
        assert isinstance(config, dict)
        plain = with_home({str(key): value for key, value in config.items()})
        run = Run(plain["paths"]["runs"], plain)
        own = [line for line in filter_overrides(ret.overrides) if line not in shared]  # tells it from the others
        label = " ".join(own or ret.overrides) or "the default"
        return Job((*self._inherited(), *ret.overrides, "hydra.mode=RUN"), run, label)

    def _inherited(self) -> list[str]:
        """What of the sweep's own command line its jobs need."""
        assert self.config is not None
        hydra = self.config.hydra
        given = [line for line in hydra.overrides.hydra if not line.lstrip("+~").startswith(_NOT_FOR_JOBS)]
        folders = [source for source in hydra.runtime.config_sources if source.provider == "command-line"]
        name = [] if hydra.job.config_name == "train" else [f"--config-name={hydra.job.config_name}"]
        return [*name, *(f"--config-dir={source.path}" for source in folders), *given]

    @staticmethod
    def _conclude(ret: JobReturn, job: Job, outcome: Outcome | None) -> None:
        result = job.run.result()
        ret.working_dir = str(job.run.folder)
        if outcome and outcome.skipped:
            ret.status = JobStatus.COMPLETED
            ret.return_value = None
            return
        if result is None or (outcome and outcome.error):
            error = outcome.error if outcome else "no result"
            ret.status = JobStatus.FAILED
            ret.return_value = JobFailedError(f"{job.label}: {error} (see {job.console})")
            return
        try:
            ret.return_value = asked_for(job.run.config.get("objective"), result["metrics"])
        except ConfigError as error:
            ret.status, ret.return_value = JobStatus.FAILED, JobFailedError(f"{job.label}: {error}")
            return
        ret.status = JobStatus.COMPLETED

    @staticmethod
    def _report(failures: Sequence[Outcome]) -> None:
        if failures:
            print(f"{len(failures)} failed; the same command tries them again:", file=sys.stderr)
        for failure in failures:
            print(f"  {failure.job.label}\n    {failure.error}\n    {failure.job.console}", file=sys.stderr)
