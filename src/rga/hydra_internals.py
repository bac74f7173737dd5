"""What is used of Hydra and OmegaConf beside their public interface, in one place.

Read in hydra-core 1.3.8, capped below 1.4, and omegaconf 2.3.1, capped below 2.4.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig


def launcher_context(hydra: Any, config: DictConfig) -> Any:
    """The `HydraContext` that a launcher is made with: `rga train -m` has it of its sweeper, a table has no sweeper.

    `hydra` is what `GlobalHydra.instance().hydra` gives, and `config` is composed with hydra's own node in it.
    """
    from hydra._internal.callbacks import Callbacks
    from hydra.types import HydraContext

    return HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config))


@contextmanager
def config_files(parsed: dict[str, Any]) -> Iterator[None]:
    """Let Hydra parse a config file once for all compositions in the block; `parsed` keeps them by their paths.

    Hydra parses every file anew in each composition, which takes a third of its time.
    """
    from hydra._internal.config_repository import ConfigRepository

    load = ConfigRepository.load_config

    def load_once(self: Any, config_path: str) -> Any:
        if config_path not in parsed:
            parsed[config_path] = load(self, config_path)
        return copy.deepcopy(parsed[config_path])

    ConfigRepository.load_config = load_once
    try:
        yield
    finally:
        ConfigRepository.load_config = load


def unresolved_item(node: DictConfig, key: Any) -> str:
    """The text of a value whose interpolation fails."""
    return str(node._get_node(key))
