"""What is used of Lightning beside its public interface, in one place. Read in lightning 2.6.6; capped below 2.7.

Lightning is imported for annotations alone: what needs no torch imports this module.
"""

from collections.abc import Sequence
from subprocess import Popen
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import lightning.pytorch as pl


def install_no_signal_handlers(trainer: "pl.Trainer") -> None:
    """Leave signals to `rga.training.signals`.

    Lightning's own handlers would have a signal wait for the other processes, be forgotten, or save half an epoch.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def started_processes(trainer: "pl.Trainer") -> Sequence["Popen[bytes]"]:
    """The processes that a strategy has started beside this one, on this machine; none where srun or torchrun has."""
    return getattr(trainer.strategy.launcher, "procs", [])


def batches_of_the_epoch(trainer: "pl.Trainer") -> int:
    """How many training batches of this epoch came before the present one."""
    return trainer.fit_loop.batch_idx
