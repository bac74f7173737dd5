"""What a run is called where many of them lie side by side, as in wandb: readable, and found by what is asked for."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rga.errors import ConfigError
from rga.runs import fingerprint
from rga.runs.identity import public_name
from rga.tables.spec import available, load

_TAG = 64  # characters that wandb takes


@dataclass(frozen=True)
class Label:
    """A run's names.

    Args:
        name: `RGA-SC · market1501 · resnet50 · seed 0`.
        group: the same for all seeds of a config, and for them alone.
        task: the task's class, such as `ReID`.
        tags: the tables and rows that it fills, scale, data and network.
        choices: the file of each config group, such as `attention: rga_sc`.
    """

    name: str
    group: str
    task: str
    tags: tuple[str, ...]
    choices: Mapping[str, str | None]


def label(config: Mapping[str, Any], cells: Sequence[str], files: Mapping[str, str | None]) -> Label:
    """Label a run.

    Args:
        config: resolved.
        cells: that it fills, see `cells_of_run`.
        files: what Hydra's groups were answered with; empty where Hydra has not started the run.
    """
    data, network, scale = (str((config.get(group) or {}).get("name")) for group in ("data", "backbone", "scale"))
    block = (config.get("attention") or {}).get("block")
    attention = files.get("attention") or (public_name(str(block["_target_"])) if block else "none")
    what = f"{row_of(attention)} · {data} · {network}"
    places = [cell.partition(": ") for cell in cells]
    rows = [rest.rpartition(", ")[0] for _, _, rest in places]
    tags = [*(table for table, _, _ in places), *rows, scale, data, network]
    return Label(
        name=f"{what} · seed {config['seed']}",
        group=f"{what} · {fingerprint(config)}",
        task=public_name(str(config["task"]["_target_"])),
        tags=tuple(dict.fromkeys(tag[:_TAG] for tag in tags)),
        choices={
            "attention": attention,
            "backbone": network,
            "data": data,
            "scale": scale,
            "experiment": files.get("experiment"),
            "head": files.get("head"),
        },
    )


def row_of(attention: str) -> str:
    """What the tables call a choice of conf/attention, where a row is just that choice; else the choice itself.

    >>> row_of("rga_sc"), row_of("mine")
    ('RGA-SC', 'mine')
    """
    for name in available():
        with suppress(ConfigError):  # `rga table` tells of a table that cannot be read
            for row in load(name).rows:
                if row.overrides == (f"attention={attention}",):
                    return row.name
    return attention
