"""The data sets that have a name: conf/data/NAME.yaml, and nothing else, says which there are and what belongs to them.

What reads a set is `reader` there. What checks it lies beside the reader, under the name `check`
(`rga.data.market1501.read` -> `rga.data.market1501.check`, `rga.data.cifar.CIFAR10.read` -> `CIFAR10.check`):
`check(root, name) -> Report`. What draws demo data in its layout is `demo_writer`.
"""

from collections.abc import Callable
from typing import Any

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from rga.data.base import DataError
from rga.paths import CONF

_FOLDER = CONF / "data"


def reader(name: str) -> Callable[..., Any]:
    """What reads a data set from its root; DataError where there is no such set."""
    return _partial(_reader(name))


def checker(name: str) -> Callable[..., Any]:
    """The check of a data set; DataError where there is no such set, or no check beside its reader."""
    node = _reader(name)
    beside = f"{node._target_.rpartition('.')[0]}.check"
    try:
        get_object(beside)
    except Exception as error:  # whatever the import of the module raises
        raise DataError(f"the reader of {name} has no check: {beside} ({error})") from error
    node._target_ = beside
    return _partial(node)


def demo_writer(name: str) -> Callable[..., Any]:
    """What draws demo data in the layout of a data set; DataError where there is none."""
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
