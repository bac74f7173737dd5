"""Where a run belongs: the cells of the paper's tables that it fills, for whoever watches or records it."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from omegaconf import OmegaConf

from rga.errors import ConfigError
from rga.runs import fingerprint
from rga.runs.compose import compose
from rga.runs.identity import public_name
from rga.runs.settings import resolved
from rga.tables.spec import Table, available, load


def cells_of(config: Mapping[str, Any]) -> list[str]:
    """Name the cells that a run fills, such as `table 1: RGA-SC, Market1501`; `config` is resolved.

    At another scale than the paper's these are the cells of `rga table N scale=...`. Which weights the backbone starts
    from makes no difference here.
    """
    scale = (config.get("scale") or {}).get("name", "paper")
    wanted, data = _place(config), (config.get("data") or {}).get("name")
    found = []
    for table in _tables():
        columns = [column for column in table.columns if column.data == data]  # composing every cell takes seconds
        for row in table.rows:
            for column in columns:
                own = table.runnable(row, column)
                if own is not None and _composes_to(config, wanted, (*own, f"scale={scale}")):
                    found.append(f"{table.label}: {row.name}, {column.name}")
    return found


def _tables() -> Iterator[Table]:
    """All that can be read: of the others `rga table` tells, and a training does without them."""
    for name in available():
        with suppress(ConfigError):
            yield load(name)


def _composes_to(config: Mapping[str, Any], wanted: str, overrides: tuple[str, ...]) -> bool:
    try:
        theirs = compose(overrides, resolve=False)
        if len({_block(config), _block(theirs)} - {None}) == 2:
            return False  # most rows: what follows takes ten times as long
        return _place(resolved(OmegaConf.create(theirs))) == wanted
    except ConfigError:
        return False  # `rga table` tells of it


def _block(config: Mapping[str, Any]) -> str | None:
    block = (config.get("attention") or {}).get("block")
    return public_name(str(block["_target_"])) if block else None


def _place(config: Mapping[str, Any]) -> str:
    return fingerprint({**config, "backbone": _without_weights(config.get("backbone"))})


def _without_weights(node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    return {key: _without_weights(value) for key, value in node.items() if key != "weights"}
