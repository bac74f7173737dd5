"""The FLOPs of a table's rows, for those tables that are about cost."""

from collections.abc import Sequence

from rga.bench.costs import network_of
from rga.inspection import forward_flop
from rga.tables.filled import FilledTable

_ABOUT_COST = ("zoo",)


def flops_of_rows(tables: Sequence[FilledTable]) -> dict[str, int]:
    """FLOPs of a forward (one image) by fingerprint, of what has runs in a table about cost."""
    configs = {
        entry.fingerprint: entry.results[0].get("config")
        for filled in tables
        if filled.table.name in _ABOUT_COST
        for entry in filled.entries
        if entry.results
    }
    return {
        name: forward_flop(network_of(config), config["data"]["size"]) for name, config in configs.items() if config
    }
