"""All the runs behind some tables, each once, as a frozen list: `rga plan`. No torch.

Tables share runs: a baseline stands in several, and two columns may differ in nothing that is trained. A plan is a file
of JSON lines. The first says of what it is the plan; each of the others is a run: its number, which stays; its name
(fingerprint and seed); the overrides that make it; the cells that it fills; and the hours that it took where it has
been run already, with another seed perhaps.

A plan is read as data: what its overrides compose to has to have the name that stands beside them, and may name
nothing but what the installed configs name.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rga.errors import ConfigError
from rga.files import write_atomically
from rga.paths import CONF, EXPERIMENTS
from rga.printing import duration
from rga.runs import Run
from rga.runs.compose import compose, prepare
from rga.runs.identity import is_name
from rga.tables.filled import Entry, FilledTable
from rga.tables.filling import Counted, fill, is_hydra, is_override
from rga.tables.spec import load

VERSION = 1  # of the file


@dataclass(frozen=True)
class Planned:
    """A run of a plan. `hours` is None where no run of its config is known, else their mean; `on` names the device."""

    number: int
    name: str  # FINGERPRINT/SEED
    overrides: tuple[str, ...]  # for `rga train`, the seed among them
    cells: tuple[str, ...]
    baseline: bool
    hours: float | None
    on: str | None = None


@dataclass(frozen=True)
class Plan:
    """The runs behind tables, baselines first, then in the tables' order."""

    tables: tuple[str, ...]
    overrides: tuple[str, ...]  # of `rga table`
    runs: tuple[Planned, ...]
    recorded: int = 0  # runs of the same cells that are recorded already, and so are none of the plan's

    def summary(self, finished: Iterable[str] = ()) -> list[str]:
        """What is to be done, and how long it takes as far as that is known."""
        done = set(finished) & {run.name for run in self.runs}
        left = [run for run in self.runs if run.name not in done]
        known = [run.hours for run in left if run.hours is not None]
        cells = sum(len(run.cells) for run in self.runs)
        lines = [f"{len(self.runs)} runs behind {cells} cells of table {', '.join(self.tables)}; {len(done)} finished"]
        if self.recorded:
            lines.append(f"{self.recorded} more are recorded, and not in the plan")
        if known:
            devices = ", ".join(sorted({run.on for run in left if run.hours is not None and run.on}))
            lines.append(
                f"{len(known)} of the {len(left)} to do: {duration(3600 * sum(known))}, as on {devices or 'record'}"
            )
        if len(known) < len(left):
            lines.append(f"{len(left) - len(known)} to do that nobody has run: time unknown")
        return lines


def make_plan(
    tables: Sequence[str],
    overrides: Sequence[str] = (),
    conf: Path = CONF,
    experiments: Path = EXPERIMENTS,
    *,
    counted: Counted = "all",
) -> Plan:
    """Collect the runs of tables, with the overrides of `rga table` for every one of them.

    What is recorded is none of the plan's, unless only runs made here are `counted`.

    Raises:
        ConfigError: a table or an override that does not exist, or one for Hydra, which is the worker's business.
    """
    if launching := [override for override in overrides if is_hydra(override)]:
        raise ConfigError(f"{launching[0]}: a plan says what is to be run; how it is run, rga work says")
    if any(override.lstrip("+").startswith("rerun=") for override in overrides):
        raise ConfigError("rerun: a plan makes the runs that are not finished; rga train repeats one that is")
    found: dict[str, Planned] = {}
    recorded: set[str] = set()
    for name in dict.fromkeys(tables):
        filled = fill(load(name, experiments), overrides, conf, counted=counted)
        for cell, entry in runnable_cells(filled):
            recorded |= {f"{entry.fingerprint}/{seed}" for seed in entry.recorded}
            for seed in _seeds(entry):
                run = f"{entry.fingerprint}/{seed}"
                if run in found:
                    cells = tuple(dict.fromkeys((*found[run].cells, cell)))
                    found[run] = Planned(**{**vars(found[run]), "cells": cells})
                    continue
                own = (*entry.overrides, f"seed={seed}")
                baseline = compose(own, conf=conf)["attention"].get("block") is None
                found[run] = Planned(0, run, own, (cell,), baseline, *_cost(entry))
    ordered = sorted(found.values(), key=lambda run: not run.baseline)
    runs = tuple(Planned(**{**vars(run), "number": number}) for number, run in enumerate(ordered, 1))
    return Plan(tuple(dict.fromkeys(tables)), tuple(overrides), runs, len(recorded))


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan; one that is there, and is another, is not overwritten: its numbers may be in use.

    One of the same runs stays as it is: the hours may be known better by now, the numbers are the same.

    Raises:
        ConfigError: another plan, or something else, lies there.
    """
    head = {"rga plan": VERSION, "tables": plan.tables, "overrides": plan.overrides, "runs": len(plan.runs)}
    head["recorded"] = plan.recorded
    lines = [head, *(vars(run) for run in plan.runs)]
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    if path.exists():
        with suppress(ConfigError):
            if _without_hours(read_plan(path)) == _without_hours(plan):
                return
        raise ConfigError(f"{path} is there already and is another plan: give --out another name, or remove it")
    write_atomically(path, text)


def _without_hours(plan: Plan) -> Plan:
    return replace(plan, recorded=0, runs=tuple(replace(run, hours=None, on=None) for run in plan.runs))


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        ConfigError: there is none, or a line is none of a plan; with the place.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a plan: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
            if not isinstance(found[-1], dict):
                raise ValueError("no object")
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}:{number} is no line of a plan: {error}") from error
    if not found or found[0].get("rga plan") != VERSION:
        raise ConfigError(f"{path} is no plan of rga's version {VERSION}: rga plan makes one")
    head = found[0]
    if head.get("runs") != len(found) - 1:
        raise ConfigError(f"{path} holds {len(found) - 1} runs, its first line says {head.get('runs')}: is it whole?")
    if not isinstance(head.get("recorded", 0), int):
        raise ConfigError(f"{path}:1 is no first line of a plan: its recorded is {head['recorded']!r:.80}")
    for key in ("tables", "overrides"):
        if not isinstance(head.get(key), list) or not all(isinstance(text, str) for text in head[key]):
            raise ConfigError(f"{path}:1 is no first line of a plan: its {key} are {head.get(key)!r:.80}")
    runs = tuple(_planned(line, f"{path}:{number}") for number, line in enumerate(found[1:], 2))
    for what in ("name", "number"):
        counts = Counter(getattr(run, what) for run in runs)
        if twice := [value for value, count in counts.items() if count > 1]:
            raise ConfigError(f"{path} has run {twice[0]} twice: a plan has each once")
    return Plan(tuple(head["tables"]), tuple(head["overrides"]), runs, head.get("recorded", 0))


def composed(planned: Planned, conf: Path = CONF) -> Run:
    """The run that a plan means.

    Raises:
        ConfigError: its overrides compose to another run than when the plan was made.
    """
    config = compose(planned.overrides, conf=conf)
    run = Run(config["paths"]["runs"], config)
    if run.name != planned.name:
        raise ConfigError(
            f"run {planned.number} of the plan is {planned.name}, but its overrides now make "
            f"{run.name}: the configs have changed since the plan was made, so make it anew"
        )
    return run


def composed_all(plan: Plan, conf: Path = CONF) -> dict[str, Run]:
    """The runs of a plan by name; errors as `composed`."""
    prepare([run.overrides for run in plan.runs], conf=conf)
    return {planned.name: composed(planned, conf) for planned in plan.runs}


def runnable_cells(filled: FilledTable) -> list[tuple[str, Entry]]:
    """The cells of a table that can be run, once for each row and column."""
    found: dict[str, Entry] = {}
    for line in filled.lines:
        for cell in line.cells:
            if cell.entry is not None:
                found.setdefault(f"{filled.table.label}: {line.row.name}, {cell.column.name}", cell.entry)
    return list(found.items())


def _seeds(entry: Entry) -> list[int]:
    return sorted({*entry.missing, *(int(result["seed"]) for result in entry.results)} - entry.recorded)


def _cost(entry: Entry) -> tuple[float | None, str | None]:
    if entry.hours is None:
        return None, None
    device = next(result.get("device") for result in entry.all_seeds if result.get("duration_s") is not None)
    return round(entry.hours, 3), device or None


def _planned(line: Mapping[str, Any], place: str) -> Planned:
    kinds: dict[str, Any] = {"number": int, "name": str, "overrides": list, "cells": list, "baseline": bool}
    bad = [key for key, kind in kinds.items() if not isinstance(line.get(key), kind)]
    hours, on = line.get("hours"), line.get("on")
    timed = hours is None or (isinstance(hours, int | float) and 0 <= hours < math.inf)
    if bad or not timed or not (on is None or isinstance(on, str)):
        raise ConfigError(f"{place} is no run of a plan: {', '.join(bad) or 'hours, on'} missing or of another kind")
    overrides, cells = (tuple(line[key]) for key in ("overrides", "cells"))
    if not is_name(line["name"]) or not cells or not all(isinstance(text, str) for text in (*overrides, *cells)):
        raise ConfigError(f"{place} is no run of a plan: {line['name']!r}")
    if foreign := [override for override in overrides if is_hydra(override) or not is_override(override)]:
        raise ConfigError(f"{place}: {foreign[0]} is no override of a run")
    return Planned(line["number"], line["name"], overrides, cells, line["baseline"], hours, on)
