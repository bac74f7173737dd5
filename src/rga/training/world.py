"""The processes of one run: that there are as many as were started, that they see one disk, and what ends them all.

Where srun or torchrun has started them they meet before anything is read, and the first one decides for all. Processes
that Lightning starts on one machine come when that is done.
"""

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch.distributed as dist
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.utilities import rank_zero_only

from rga.errors import ConfigError
from rga.lightning_internals import started_processes
from rga.runs.inputs import differences
from rga.torch_internals import meeting_place
from rga.training.engine import Engine, engine

T = TypeVar("T")
_PATIENCE = 5.0  # seconds that processes have to answer, and a file to be seen on another machine


class LostProcessError(RuntimeError):
    """Another process of the run has ended, or is out of reach."""


class Srun(ClusterEnvironment):
    """The processes of a step that srun has started.

    Not Lightning's SLURMEnvironment: that takes a shell within an allocation for one of several processes, asks for
    options of sbatch that are not needed, and has Lightning save and requeue by itself.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        hosts = os.environ.get("SLURM_STEP_NODELIST", "127.0.0.1")
        return os.environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(hosts)

    @property
    def main_port(self) -> int:
        """The same in all processes of the step, and another one for its neighbours."""
        if given := os.environ.get("MASTER_PORT"):
            return int(given)
        job, step = int(os.environ["SLURM_JOB_ID"]), int(os.environ.get("SLURM_STEP_ID", 0))
        return 15000 + (10 * job + step % 10) % 15000

    @staticmethod
    def detect() -> bool:
        found = engine()
        return found is not None and found.name == "srun"

    def world_size(self) -> int:
        return self._engine.processes

    def set_world_size(self, size: int) -> None: ...

    def global_rank(self) -> int:
        return self._engine.rank

    def set_global_rank(self, rank: int) -> None: ...

    def local_rank(self) -> int:
        return self._engine.local_rank

    def node_rank(self) -> int:
        return self._engine.node


def environment() -> list[ClusterEnvironment]:
    """What tells Lightning who the others are; nothing where it finds that out by itself."""
    found = engine()
    if found is None:
        return [LightningEnvironment()] if "SLURM_JOB_ID" in os.environ else []
    return [TorchElasticEnvironment() if found.name == "torchrun" else Srun(found)]


def shared_out(settings: dict[str, Any]) -> dict[str, Any]:
    """The Trainer's settings with `auto` replaced by what has been started."""
    found, fitting = engine(), dict(settings)
    if fitting.get("num_nodes") == "auto":
        fitting["num_nodes"] = found.nodes if found else 1
    if found and fitting.get("devices") == "auto":
        fitting["devices"] = found.processes // found.nodes
    return fitting


def expect_one_world(trainer: pl.Trainer, settings: Mapping[str, Any]) -> None:
    """See that the run is of the processes that were started.

    Raises:
        ConfigError: it is not; with the settings that fit.
    """
    found = engine()
    given = f"trainer.devices={settings['devices']}, trainer.num_nodes={settings['num_nodes']}"
    if found is None:
        stated = os.environ.get("WORLD_SIZE", str(trainer.world_size))
        if stated != str(trainer.world_size):
            raise ConfigError(
                f"WORLD_SIZE={stated} is set, and by its settings the run is of {trainer.world_size} ({given}): start "
                "the processes by torchrun or srun, or unset WORLD_SIZE"
            )
        if trainer.num_nodes > 1 and isinstance(trainer.strategy.cluster_environment, LightningEnvironment):  # type: ignore[attr-defined]
            raise ConfigError(
                f"{given}: nothing has started the processes of the other machines. Start the command by srun or by "
                "torchrun, on each of them, with trainer=ddp"
            )
        return
    each, rest = divmod(found.processes, found.nodes)
    if rest:
        raise ConfigError(
            f"{found.name} has started {found.processes} processes on {found.nodes} machines: a run needs as many on "
            f"each (srun --ntasks-per-node, torchrun --nproc-per-node)"
        )
    if (trainer.num_devices, trainer.num_nodes) == (each, found.nodes):
        return
    own = trainer.num_devices * trainer.num_nodes
    one = "srun --ntasks=1" if found.name == "srun" else "the command without torchrun"
    raise ConfigError(
        f"{found.name} has started {found.processes} processes ({each} on each of {found.nodes} machines), and by its "
        f"settings the run is of {own} ({given}): it would be trained several times in one folder. For one run of "
        f"all of them: trainer=ddp, or on CPUs trainer=ddp_cpu trainer.devices={each} "
        f"trainer.num_nodes={found.nodes}. For a run of one process: {one}"
    )


def meet(trainer: pl.Trainer) -> None:
    """Connect the processes that were started together, before anything is read: otherwise `trainer.fit` would."""
    # Of a single process this is 0 whatever the environment says, which is what Lightning has gone by.
    rank_zero_only.rank = trainer.global_rank  # type: ignore[attr-defined]
    if engine() is not None:
        trainer.strategy.setup_environment()


def together(trainer: pl.Trainer, act: Callable[[], T]) -> T | None:
    """Have the first process do something; all get what it gives, or its error.

    In a process that Lightning has started, which comes later, the answer is None.
    """
    answer: tuple[T | None, Exception | None] = (None, None)
    if trainer.is_global_zero:
        try:
            answer = (act(), None)
        except Exception as error:
            answer = (None, error)
    value, failure = trainer.strategy.broadcast(answer)
    if failure is not None:
        raise failure
    return value


def expect_one_disk(trainer: pl.Trainer, folder: Path, summary: Callable[[], Mapping[str, Any]]) -> list[str]:
    """See that all machines have the same runs folder and the same data.

    Args:
        trainer: of processes that have met.
        folder: of the run.
        summary: what the data are made of, as this process reads them; asked once on each machine.

    Returns:
        The host of each process.

    Raises:
        ConfigError: which machine has something else.
    """
    if not dist.is_initialized():
        return [socket.gethostname()] * trainer.world_size
    token = folder / trainer.strategy.broadcast(f".seen-{uuid.uuid4().hex}")  # a name that nobody has looked for
    if trainer.is_global_zero:
        token.touch()
    trainer.strategy.barrier()
    mine: dict[str, Any] = {"host": socket.gethostname(), "seen": _seen(token)}
    if trainer.local_rank == 0:
        mine["data"] = summary()
    all_of_them: list[dict[str, Any]] = [{} for _ in range(trainer.world_size)]
    dist.all_gather_object(all_of_them, mine)
    if trainer.is_global_zero:
        token.unlink()
    first = all_of_them[0]
    for rank, other in enumerate(all_of_them):
        name = f"process {rank} on {other['host']}"
        if not other["seen"]:
            raise ConfigError(
                f"{name} does not see what process 0 on {first['host']} writes in {folder.absolute()}: the machines of "
                "a run share its folder, so give paths.runs=FOLDER on a disk that all of them have"
            )
        if "data" in other and (found := differences(first["data"], other["data"])):
            raise ConfigError(
                f"{name} has other data than process 0 on {first['host']}: {'; '.join(found)}. All machines of a run "
                "need the same"
            )
    return [other["host"] for other in all_of_them]


def _seen(file: Path) -> bool:
    """Whether a file is there, or comes: a network file system takes its time."""
    end = time.monotonic() + _PATIENCE
    while not file.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@contextmanager
def ending_together(trainer: pl.Trainer, hosts: list[str]) -> Iterator[None]:
    """Where the block fails because another process is lost, name that one; and leave none behind that was started.

    Raises:
        LostProcessError: a process has ended or cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        if not dist.is_initialized() or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        lost = [f"process {rank} on {hosts[rank]}" for rank in _silent(trainer)]
        names = ", ".join(lost) or "another process"
        raise LostProcessError(
            f"{names} of this run has ended or cannot be reached, so process {trainer.global_rank} on "
            f"{hosts[trainer.global_rank]} ends as well; what is saved is kept, and the same command resumes it "
            f"({str(error).splitlines()[0]})"
        ) from error


def _silent(trainer: pl.Trainer) -> list[int]:
    """Which processes do not answer: those that are left have failed as this one has, and say so."""
    others = [rank for rank in range(trainer.world_size) if rank != trainer.global_rank]
    try:
        store = meeting_place()
        store.set(f"here/{trainer.global_rank}", "")
        end = time.monotonic() + _PATIENCE
        while (silent := [rank for rank in others if not store.check([f"here/{rank}"])]) and time.monotonic() < end:
            time.sleep(0.1)
        return silent
    except (RuntimeError, OSError):  # the store is the first process's
        return [0]


def end_started(trainer: pl.Trainer) -> None:
    """End the processes that Lightning has started for a run that this process leaves."""
    processes = started_processes(trainer)
    for process in processes:
        with suppress(ProcessLookupError):
            process.terminate()
    end = time.monotonic() + _PATIENCE
    for process in processes:
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        process.kill()
