"""`rga test`: the test of a task with trained weights, on its own data or on others."""

import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import LambdaCallback
from omegaconf import DictConfig

from rga.data import marker
from rga.data.base import in_words
from rga.errors import ConfigError
from rga.inference.trained import Trained
from rga.network import component
from rga.runs import RESULT, read_result
from rga.runs.compose import compose
from rga.runs.inputs import Inputs
from rga.runs.published import unpublished
from rga.tasks import Segmentation
from rga.training.checks import accelerator, refuse_defaults_of_environment, refuse_test_of_a_part
from rga.training.monitor import quiet
from rga.training.speed import expect_precision, prepare_inference

_OPTIONS = ("feature", "flip", "rerank")  # of a test of re-ID, which the command line has as options


def evaluate(trained: Trained) -> dict[str, Any]:
    """Test on the data of the config, on one device, in the run's precision. Nothing is written.

    Returns:
        `metrics`; and what they are of: `weights`, their `epoch`, whether they are of the `authors`' code, `network`,
        `precision`, `options` of the test (`feature`, `flip`, `rerank`), the other `overrides` of its values and of the
        data's, `data` (the name, and counts of each part), `root`, `demo`, whether the data are synthetic, and in what
        they are not those that are published under their name (`unpublished`).

    Raises:
        DataError: see the reader.
        ConfigError: data with other classes than the network's, an option that the task does not have, or a number
            format that the device does not have.
        InputsError: data of the run's own name that are not those it was made of.
    """
    config = trained.config
    quiet()
    refuse_defaults_of_environment()
    refuse_test_of_a_part(config.trainer)
    trainer = pl.Trainer(
        accelerator=accelerator(config.trainer.accelerator),
        devices=1,
        precision=config.trainer.precision,
        benchmark=config.trainer.benchmark,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        callbacks=[LambdaCallback(on_test_start=lambda trainer, _: _expect_classes(trained, trainer.datamodule))],
    )
    expect_precision(trainer.strategy.root_device, str(config.trainer.precision))
    if trained.recorded_root:
        write_nothing_elsewhere(config)
    prepare_inference(trained.task, trainer.strategy.root_device, config.trainer)
    data = component(config.data)
    if trained.own_data:
        data.write_demo()
        index = data.index()
        tested = index if "train" in getattr(data, "test", ()) else index.without("train")
        Inputs(tested, None).check(trained.weights.parent, whole=False)
    trainer.test(trained.task, datamodule=data, verbose=False)
    options = tuple(f"task.{name}=" for name in _OPTIONS)
    return {
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "weights": str(trained.weights),
        "epoch": trained.epoch,
        "authors": trained.authors,
        "network": trained.network,
        "precision": config.trainer.precision,
        "options": {name: config.task[name] for name in _OPTIONS if config.task.get(name)},
        "overrides": [word for word in trained.asked if not word.lstrip("+").startswith(options)],
        "data": data.summary,
        "unpublished": unpublished(config, data.summary),
        "root": str(data.root),
        "demo": data.synthetic,
    }


def _expect_classes(trained: Trained, data: Any) -> None:
    """See that the data's classes are those that the network was trained for, in their order; identities are not.

    Raises:
        ConfigError: they are others.
    """
    result = read_result((trained.weights.parent / RESULT).absolute()) or {}
    theirs, mine = result.get("classes"), list(getattr(data, "classes", None) or ())
    if theirs is None and isinstance(trained.task, Segmentation):  # of a checkpoint alone all that is known
        theirs, mine = trained.task.colours.tolist(), torch.as_tensor(data.colours).tolist()
    if theirs is not None and mine and len(theirs) == len(mine) and theirs != mine:
        place = next(number for number, pair in enumerate(zip(theirs, mine, strict=True)) if pair[0] != pair[1])
        raise ConfigError(
            f"the network was trained for other classes than the data have, or for another order: number {place} is "
            f"{theirs[place]} there and {mine[place]} here"
        )


def write_nothing_elsewhere(config: DictConfig) -> None:
    """A run may be anybody's: data are read where it says, and written only where this installation keeps its own.

    Raises:
        ConfigError: synthetic data would have to be written somewhere else.
    """
    root, own = Path(config.data.root), Path(compose()["paths"]["data"])
    if root.expanduser().resolve().is_relative_to(own.expanduser().resolve()):
        return
    if config.data.get("download") is not None:
        config.data.download = None
    if config.data.demo is not None and marker.recorded(root) is None:
        raise ConfigError(
            f"the synthetic data of this run would be written to {root}, as its config says, which is not in {own}: "
            "say where they may lie, data.root=FOLDER"
        )


def text(report: dict[str, Any]) -> str:
    """A report for people."""
    data, options = dict(report["data"]), report["options"]
    name = f"demo data in the layout of {data.pop('name')}" if report["demo"] else data.pop("name")
    origin = ", the authors' names" * report["authors"] + f", epoch {report['epoch']}" * bool(report["epoch"])
    lines = [
        f"weights    {report['weights']}{origin}",
        f"network    {report['network']}, {report['precision']}",
        *([f"options    {', '.join(f'{key}={value}' for key, value in options.items())}"] if options else []),
        *([f"with       {' '.join(report['overrides'])}"] if report["overrides"] else []),
        f"data       {name} in {report['root']}",
        *([f"           {report['unpublished']}"] if report["unpublished"] else []),
    ]
    for part, counts in data.items():
        lines.append(f"           {part}: {in_words(counts) if isinstance(counts, dict) else counts}")
    width = max(map(len, report["metrics"]))
    return "\n".join([*lines, "", *(f"{key:{width}}  {100 * x:6.2f} %" for key, x in report["metrics"].items())])
