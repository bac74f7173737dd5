"""The data sets that have a name: conf/data/NAME.yaml, and nothing else, says which there are and what belongs to them.

What reads a set is `reader` there. What checks it lies beside the reader, under the name `check`
(`rga.data.reid.market1501.read` -> `rga.data.reid.market1501.check`, `CIFAR10.read` -> `CIFAR10.check`):
`check(root, name) -> Report`; and under the name `label_ids`, for sets of scenes, what gives the numbers that its files
have for the classes: `label_ids(root)`; and `meaning(root)`, where a file of the set says how they are read. What
writes demo data in its layout is `demo_writer`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from rga.errors import DataError
from rga.paths import CONF

_FOLDER = CONF / "data"


def reader(name: str) -> Callable[..., Any]:
    """What reads a data set from its root; DataError where there is no such set."""
    return _partial(_reader(name))


def checker(name: str) -> Callable[..., Any]:
    """The check of a data set; DataError where there is no such set, or no check beside its reader."""
    node = _reader(name)
    node._target_, _ = _beside(name, str(node._target_), "check")
    return _partial(node)


def label_ids(name: str, reader: str, root: str | Path) -> list[int]:
    """The numbers that the label files of a set of scenes have for its classes.

    Args:
        name: of the set, for a message.
        reader: `_target_` of what reads it.
        root: its folder.

    Raises:
        DataError: it is no such set, or its files have no numbers.
    """
    _, found = _beside(name, reader, "label_ids")
    return list(found(Path(root)))


def meaning(reader: str, root: str | Path) -> str:
    """What says how the labels of a set are read, where that may differ from set to set (see `SceneSplit`); or nothing.

    Args:
        reader: `_target_` of what reads the set.
        root: its folder.

    Raises:
        DataError: what says it cannot be read.
    """
    found = getattr(get_object(reader.rpartition(".")[0]), "meaning", None)
    return "" if found is None else str(found(Path(root)))


def _beside(name: str, target: str, what: str) -> tuple[str, Any]:
    """What lies beside the reader of a data set: its path and itself; DataError where there is nothing."""
    path = f"{target.rpartition('.')[0]}.{what}"
    try:
        return path, get_object(path)
    except Exception as error:  # whatever the import of the module raises
        raise DataError(f"the reader of {name} has no {what}: {path} ({error})") from error


def demo_writer(name: str) -> Callable[..., Any]:
    """What writes demo data in the layout of a data set; DataError where there is none."""
    config = _config(name)
    if config is None or config.get("demo_writer") is None:
        known = [known for known in _names() if _load(known).get("demo_writer") is not None]
        raise DataError(f"no demo data for {name!r}; there are: {', '.join(known)}")
    return _partial(config.demo_writer)


def _reader(name: str) -> DictConfig:
    config = _config(name)
    if config is None or not OmegaConf.select(config, "reader._target_"):
        known = [known for known in _names() if OmegaConf.select(_load(known), "reader._target_")]
        raise DataError(f"no reader {name!r}; there are: {', '.join(known)}")
    node: DictConfig = config.reader
    return node


def _names() -> list[str]:
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def _config(name: str) -> DictConfig | None:
    return _load(name) if name in _names() else None


def _load(name: str) -> DictConfig:
    """The file, merged into those of its group that its `defaults` name; not resolved: it stands outside a run."""
    config: Any = OmegaConf.load(_FOLDER / f"{name}.yaml")
    bases = [base for base in config.get("defaults", []) if base in _names()]
    merged = OmegaConf.merge(*map(_load, bases), config)
    assert isinstance(merged, DictConfig)
    return merged


def _partial(node: DictConfig) -> Callable[..., Any]:
    found: Callable[..., Any] = instantiate(node, _partial_=True)
    return found
