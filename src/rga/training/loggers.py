"""Weights & Biases under the run's own identity."""

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from omegaconf import OmegaConf

from rga.runs import RERUN
from rga.tables.against import lower_is_better
from rga.tables.label import Label
from rga.wandb_account import mode

_STEP, _EPOCH = "trainer/global_step", "epoch"


class WandbRun(WandbLogger):
    """Lightning's logger whose run one can read: named by its `Label`, each metric over the steps or the epochs.

    Args:
        images: whether test images are logged, see `rga.training.images`.
        options: of Lightning's logger.
    """

    def __init__(self, images: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.images = images
        self._defined: set[str] = set()

    def introduce(self, label: Label) -> None:
        """Name the run, before anything is logged, by what nothing else was chosen for."""
        own = {"name": label.name, "group": label.group, "job_type": label.task, "tags": list(label.tags)}
        for option, value in own.items():
            if self._wandb_init.get(option) is None:
                self._wandb_init[option] = value

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        for name in metrics.keys() - self._defined - {_STEP}:
            self._define(name)
        super().log_metrics(metrics, step)

    @rank_zero_only
    def log_histograms(self, histograms: Mapping[str, Sequence[int]], epoch: int, step: int) -> None:
        """Log counts in equal parts of 0..1."""
        import wandb

        named = {
            f"{name}/histogram": wandb.Histogram(np_histogram=(counts, np.linspace(0, 1, len(counts) + 1)))
            for name, counts in histograms.items()
        }
        self.log_metrics({**named, _EPOCH: epoch}, step)

    def _define(self, name: str) -> None:
        """Say which axis a metric has, and which of its values is its summary; of test metrics the last one is."""
        self._defined.add(name)
        if name == _EPOCH:
            self.experiment.define_metric(name, hidden=True)
        elif name.startswith("train/"):
            self.experiment.define_metric(name, step_metric=_STEP)
        elif name.startswith("val/"):
            summary = "min,last" if lower_is_better(name) else "max,last"
            self.experiment.define_metric(name, step_metric=_EPOCH, summary=summary)
        else:
            self.experiment.define_metric(name, step_metric=_EPOCH)


def wandb_logger(
    save_dir: Path, project: str, offline: bool | str = "auto", images: bool = True, **options: Any
) -> WandbRun:
    """Log to the wandb run `<fingerprint>-<seed>`, so that a resumed run continues in the same place.

    Args:
        save_dir: the run's folder, `<fingerprint>/<seed>`, or that of its repetition below it.
        project: of wandb.
        offline: "auto" is offline where neither WANDB_API_KEY nor a login of `wandb login` is found; `wandb sync` sends
            an offline run later. WANDB_MODE, or else `wandb offline`, has the last word.
        images: whether test images are sent as well: rank lists, scenes, a confusion matrix.
        options: of `wandb.init`; without them, name, group, job type and tags say what the run is.

    Raises:
        TypeError: an option that `wandb.init` does not have, or one that says where a run lies.
    """
    import wandb

    if unknown := options.keys() - (inspect.signature(wandb.init).parameters.keys() - {"dir", "id", "resume", "mode"}):
        raise TypeError(f"logger.wandb.{min(unknown)}: wandb.init has no such option, or the run itself decides it")
    run = save_dir.parent if save_dir.name == RERUN else save_dir
    if offline == "auto":
        offline = mode() == "offline"
    return WandbRun(
        save_dir=save_dir,
        project=project,
        id=f"{run.parent.name}-{run.name}",
        offline=bool(offline),
        images=images,
        resume="allow",
        **{
            option: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for option, value in options.items()
        },
    )


def introduce(logger: Logger, label: Label, config: Mapping[str, Any]) -> None:
    """Tell a logger what the run is: its choices flat, and below them `config` with all of it."""
    if isinstance(logger, WandbRun):
        logger.introduce(label)
    logger.log_hyperparams({**label.choices, **config})


def log_histograms(logger: Logger, histograms: Mapping[str, Sequence[int]], epoch: int, step: int) -> None:
    """Log counts in equal parts of 0..1, where a logger has histograms."""
    if isinstance(logger, WandbRun):
        logger.log_histograms(histograms, epoch, step)
    elif isinstance(logger, TensorBoardLogger):
        for name, counts in histograms.items():
            limits, total = np.linspace(0, 1, len(counts) + 1), np.asarray(counts)
            centres = (limits[1:] + limits[:-1]) / 2
            logger.experiment.add_histogram_raw(
                f"{name}/histogram", min=0.0, max=1.0, num=total.sum(), sum=(total * centres).sum(),
                sum_squares=(total * centres**2).sum(), bucket_limits=limits[1:].tolist(),
                bucket_counts=total.tolist(), global_step=epoch,
            )  # fmt: skip


def shows_images(logger: Logger) -> bool:
    """Whether a logger takes images, and is to."""
    return isinstance(logger, TensorBoardLogger) or (isinstance(logger, WandbRun) and logger.images)


def log_image(logger: Logger, name: str, image: NDArray[np.uint8], step: int) -> None:
    """Log an image (H, W, 3), where a logger has images."""
    if isinstance(logger, WandbRun):
        logger.log_image(name, [image], step=step)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, image, step, dataformats="HWC")


def conclude(logger: Logger, facts: Mapping[str, Any], step: int) -> None:
    """Tell a logger what a finished run has cost and was made of: numbers, and in wandb's summary texts as well."""
    logger.log_metrics({name: value for name, value in facts.items() if not isinstance(value, str)}, step=step)
    if isinstance(logger, WandbRun):
        logger.experiment.summary.update(dict(facts))
    logger.save()


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
