"""Give runs that were named by older rules the names of the present ones: `rga record --migrate`.

Version 1 named modules and counted options at their defaults; a small budget was chosen by data set and network, and is
now `scale=small`. What was run is the same, so are the numbers.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from rga.errors import ConfigError
from rga.files import write_atomically
from rga.paths import CONF
from rga.runs import RESULT, fingerprint
from rga.runs.compose import compose
from rga.runs.folder import check_result
from rga.runs.identity import VERSION
from rga.tables.filling import fill
from rga.tables.recorded import RESULTS
from rga.tables.spec import load

# What shows a run in its table, tried in this order where its own overrides no longer do. In version 1 the gates began
# as the authors' do.
_SHOWN_BY = (("scale=small", "scale.zero_init_last=false"), ("scale=small",))


def migrate(folder: Path = RESULTS, runs: Path | None = None, conf: Path = CONF) -> list[str]:
    """Rename what is recorded in `folder`, and the runs under `runs` (`paths.runs`); gives a line for each file.

    A file is written whole or not at all, and a run's folder is moved; what has a present name is not touched.
    """
    lines = []
    for path in sorted(folder.glob("*.jsonl")):
        records = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
        renamed = [_renamed(record) for record in records]
        changed = [new for old, new in zip(records, renamed, strict=True) if old != new]
        shown = _shown(path.parent.parent, changed, conf)
        for record in renamed:
            key = (record["table"], tuple(record["overrides"]))
            record["overrides"] = list(shown.get(key, record["overrides"]))
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in renamed)
        if renamed != records:
            write_atomically(path, text)
        lines.append(f"{path}: {len(records)} runs, {len(changed)} renamed")
    root = runs if runs is not None else Path(compose([], conf=conf)["paths"]["runs"])
    return lines + _move(root)


def _renamed(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result under its present name."""
    if result.get("version") == VERSION:
        return dict(result)
    config = dict(result["config"])
    trainer = dict(config.get("trainer") or {})
    if trainer.get("devices") == "auto":  # which version 1 did not count: how many there were, the result says
        trainer["devices"] = int(str(result.get("device") or "1").split(" ")[0])
    config["trainer"] = trainer
    name = fingerprint(config)
    rest = {key: value for key, value in result.items() if key not in ("version", "fingerprint", "config", "inputs")}
    first: dict[str, Any] = {key: rest.pop(key) for key in ("table", "overrides") if key in rest}
    return {**first, "version": VERSION, "fingerprint": name, "config": config, "inputs": result.get("inputs"), **rest}


def _shown(
    experiments: Path, records: Sequence[Mapping[str, Any]], conf: Path
) -> dict[tuple[str, tuple[str, ...]], tuple[str, ...]]:
    """By table and overrides the ones that now show the same runs."""

    @cache
    def names(table: str, overrides: tuple[str, ...]) -> frozenset[str]:
        try:
            filled = fill(load(table, experiments), overrides, conf, counted="here")
        except ConfigError:
            return frozenset()
        return frozenset(entry.fingerprint for entry in filled.entries)

    groups: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for record in records:
        groups.setdefault((record["table"], tuple(record["overrides"])), set()).add(record["fingerprint"])
    found = {}
    for (table, overrides), wanted in groups.items():
        tried = (overrides, *_SHOWN_BY)
        found[table, overrides] = max(tried, key=lambda these: len(wanted & names(table, these)))
    return found


def _move(runs: Path) -> list[str]:
    lines = []
    for path in sorted(runs.glob(f"*/*/{RESULT}")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            check_result(result)  # its seed becomes part of a path
            renamed = _renamed(result)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            lines.append(f"{path} is left as it is: {error}")
            continue
        if renamed["fingerprint"] == result["fingerprint"] and result.get("version") == VERSION:
            continue
        target = runs / renamed["fingerprint"] / str(result["seed"])
        if target != path.parent and target.exists():
            lines.append(f"{path.parent} is left as it is: there is a run in {target} already")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if target != path.parent:
            path.parent.rename(target)
        write_atomically(target / RESULT, json.dumps(renamed, indent=1) + "\n")
        if not any(path.parent.parent.iterdir()):
            path.parent.parent.rmdir()
        lines.append(f"{path.parent} is now {target}")
    return lines
