"""What names a run: the fingerprint of its resolved config. No torch, so that tables print at once."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from rga.errors import ConfigError
from rga.files import names_a_file
from rga.runs.defaults import DEFAULTS

VERSION = 2  # of the rules below; another one migrates the records (rga.tables.migrate)

# Where things lie, how fast they are read and what draws synthetic data: none of it acts on the result. Of the images
# that are tested together no statistics are taken. `data.seed` repeats the run's seed; one of its own counts (`_data`).
_BLIND_DATA = {
    "root", "table", "workers", "cache", "memory", "seed", "download", "test_batch", "demo_writer",
}  # fmt: skip
# On which devices (the batch is the global one), how fast, how often something is written or validated, and when to
# stop: a run that was stopped is not finished. All other options of the Trainer count, those of a quick try among them.
_BLIND_TRAINER = {
    "accelerator", "devices", "num_nodes", "strategy", "sync_batchnorm", "benchmark", "channels_last", "compile",
    "profiler", "check_val_every_n_epoch", "checkpoint_minutes", "log_every_n_steps", "enable_progress_bar",
    "enable_model_summary", "max_time", "max_steps", "max_epochs",
}  # fmt: skip
# Of these Lightning takes 1 as one batch and 1.0 as all of them.
_SHARES = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches")
_NOT_RESULT = {"seed", "paths", "logger", "hydra", "rerun", "objective"}  # of an override's first word
_HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_"}


def fingerprint(config: Mapping[str, Any]) -> str:
    """Name what determines a run's result: 12 hexadecimal digits of the SHA-256 of what acts in its config.

    `config` is the resolved config as plain containers. What acts: the task, the data, the trunk, the block and the
    stages that it follows, the recipe's epochs, optimiser and schedule, the trainer's precision and the like, and over
    how many images BatchNorm takes its statistics. A component of this package counts by its own name, not by the
    module in which it lies, and an option at its default counts as one that is absent; components of others count by
    their full names. A data set counts by its name (`rga.runs.inputs` compares what is in it), a file of weights by the
    file's name (likewise).

    Raises:
        ConfigError: BatchNorm's statistics are of each process, and the config does not say of how many.
    """
    text = json.dumps(canonical(_acting(config)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def determines_result(key: str) -> bool:
    """Whether an override's key, such as `data.size`, can change a run's result; a file of weights may lie anywhere."""
    top, _, rest = key.partition(".")
    first = rest.partition(".")[0]
    if top == "data" and rest:
        return first == "seed" or first not in _BLIND_DATA
    if top == "trainer":
        return first == "sync_batchnorm" or (bool(rest) and first not in _BLIND_TRAINER)
    return top not in _NOT_RESULT


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved config without what tells where things lie on this machine; its fingerprint is the same."""
    kept = {key: value for key, value in config.items() if key not in ("paths", "logger", "hydra")}
    if isinstance(kept.get("data"), Mapping):
        kept["data"] = {key: value for key, value in kept["data"].items() if key not in ("root", "table", "cache")}
    if isinstance(kept.get("backbone"), Mapping):
        kept["backbone"] = _without_folders(kept["backbone"])
    return kept


def public_name(target: str) -> str:
    """What a `_target_` is called in a fingerprint.

    Of this package the class's or the function's own name, so that its module may move; each is given once (a test
    looks at all of `conf`). Of others the full name, which is theirs to keep.

    >>> public_name("rga.attention.RGASC"), public_name("torch.optim.Adam")
    ('RGASC', 'torch.optim.Adam')
    """
    return target.rpartition(".")[2] if target.startswith("rga.") else target


def weights_file(weights: Any) -> str | None:
    """The name of the file that `weights` is; None for published weights such as IMAGENET1K_V1, and for none.

    The folder of a run is named FINGERPRINT/SEED, wherever it lies.

    >>> weights_file("/data/resnet50.pth"), weights_file("runs/0123456789ab/0"), weights_file("IMAGENET1K_V1")
    ('resnet50.pth', '0123456789ab/0', None)
    """
    if not names_a_file(weights):
        return None
    path = PurePath(weights)
    last_two = "/".join(path.parts[-2:])
    return last_two if is_name(last_two) else path.name


def is_name(text: str) -> bool:
    """Whether a text is a run's name, FINGERPRINT/SEED."""
    return re.fullmatch(r"[0-9a-f]{12}/\d+", text) is not None


def starting_weights(config: Mapping[str, Any]) -> Any:
    """What the backbone starts from: a file, a name of published weights, or None. What acts is the trunk's."""
    backbone = _node(config, "backbone")
    trunk = backbone.get("trunk")
    return trunk["weights"] if isinstance(trunk, Mapping) and "weights" in trunk else backbone.get("weights")


def processes(trainer: Mapping[str, Any]) -> int | None:
    """How many processes a config asks for; None where that depends on the machine."""
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    if isinstance(devices, list | tuple):
        devices = len(devices)
    if isinstance(devices, str) and devices.isdigit():
        devices = int(devices)
    if not isinstance(devices, int) or not isinstance(nodes, int) or min(devices, nodes) < 1:
        return None
    return devices * nodes


def _acting(config: Mapping[str, Any]) -> dict[str, Any]:
    backbone, recipe = _node(config, "backbone"), _node(config, "recipe")
    attention = _node(config, "attention")
    after = [_stage(stage, backbone) for stage in attention.get("after") or []] if attention.get("block") else []
    return {
        "version": VERSION,
        "task": config.get("task"),
        "data": _data(_node(config, "data"), config.get("seed")),
        "trunk": _without_folders(backbone.get("trunk")),
        "attention": {"block": attention.get("block"), "after": sorted(map(str, after))} if after else None,
        "recipe": {key: recipe.get(key) for key in ("epochs", "optimizer", "schedule")},
        "trainer": _trainer(_node(config, "trainer")),
    }


def _node(config: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    node = config.get(group)
    return node if isinstance(node, Mapping) else {}


def _stage(stage: Any, backbone: Mapping[str, Any]) -> Any:
    """The module's name: a stage may be given by its number."""
    stages = backbone.get("stages") or []
    return stages[stage - 1] if isinstance(stage, int) and 1 <= stage <= len(stages) else stage


def _data(data: Mapping[str, Any], seed: Any) -> dict[str, Any]:
    kept = {key: value for key, value in data.items() if key not in _BLIND_DATA}
    if data.get("seed", seed) != seed:
        kept["own_seed"] = data["seed"]
    reader = kept.get("reader")
    if isinstance(reader, Mapping) and str(reader.get("_target_", "")).startswith("rga."):
        # Which of our readers it is, the name of the data set tells.
        kept["reader"] = {key: value for key, value in reader.items() if key not in _HYDRA_KEYS} or None
    return kept


def _trainer(trainer: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in trainer.items() if key not in _BLIND_TRAINER}
    kept |= {key: f"{kept[key]} of all" for key in _SHARES if isinstance(kept.get(key), float) and kept[key]}
    if kept.get("tf32", True):
        kept.pop("tf32", None)  # as always, before there was a choice
    if not trainer.get("sync_batchnorm", True):
        count = processes(trainer)
        if count is None:
            raise ConfigError(
                f"trainer.sync_batchnorm=false with trainer.devices={trainer.get('devices')} and "
                f"trainer.num_nodes={trainer.get('num_nodes', 1)}: each process then has BatchNorm statistics of its "
                "own, so the number of processes is part of what the run is. Give it, such as trainer.devices=4 "
                "trainer.num_nodes=1, or leave sync_batchnorm=true, with statistics of the whole batch"
            )
        if count > 1:
            kept["batchnorm"] = f"1/{count} of the batch"
    return kept


def _without_folders(node: Any) -> Any:
    """Reduce every `weights` that names a file to the file's name (`trunk.weights` repeats `backbone.weights`)."""
    if not isinstance(node, Mapping):
        return node
    return {
        key: (weights_file(value) or value) if key == "weights" else _without_folders(value)
        for key, value in node.items()
    }


def canonical(value: Any) -> Any:
    """Make what is equal equal text: 1.0 is 1, a tuple is a list, a default is absent, and so is what is not there."""
    if isinstance(value, Mapping):
        target = value.get("_target_")
        kept = {str(key): canonical(item) for key, item in value.items() if key not in _HYDRA_KEYS}
        if not isinstance(target, str):
            return {key: item for key, item in kept.items() if item is not None}
        name = public_name(target)
        defaults = DEFAULTS.get(name, {})
        own = {key: item for key, item in kept.items() if key not in defaults or canonical(defaults[key]) != item}
        return {"": name, **own}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
