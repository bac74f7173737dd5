"""Put the runs there are into the cells of a table.

Which seeds count: those that `seed=0,1,2` asks for; when none is asked for, all that there are. Then the seeds that the
table names for its main rows are missing until they are there; elsewhere the config's own seed is, if there are none.
Recorded runs (`recorded`) count like those made here. A difference to the paper is computed only where data set,
network, scale and all settings are those that the table itself names: changing one of them makes other numbers, not
better or worse ones.
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from rga.errors import ConfigError
from rga.paths import CONF
from rga.runs import determines_result, fingerprint
from rga.runs.compose import compose, composition, prepare
from rga.runs.inputs import InputsError, disagreement, expect_one_place, places, unlike
from rga.runs.kinds import expect_known
from rga.runs.repeated import expect_set_at_source
from rga.tables.conditions import Setting, compared
from rga.tables.filled import Cell, Entry, FilledTable, Line
from rga.tables.recorded import Record, read_records, results
from rga.tables.spec import Column, Row, Table, stem_of

Counted = Literal["all", "here", "recorded"]


@dataclass(frozen=True)
class _Request:
    """The user's overrides, sorted by what they are for, where the configs are, and which runs count."""

    data: str | None
    seeds: tuple[int, ...] | None
    config: tuple[str, ...]
    conf: Path
    counted: Counted


def fill(table: Table, overrides: Sequence[str] = (), conf: Path = CONF, *, counted: Counted = "all") -> FilledTable:
    """Compose every cell's config with the user's overrides and look up its runs.

    `data=NAME` shows that data set: in its own column if the table has one, else in a new column without numbers of the
    paper; the other columns stay with the paper's numbers alone. `counted` are the runs made here
    and those recorded, or one of the two.

    Raises:
        ConfigError: an override that names nothing, or one of what the rows themselves vary.
    """
    request = _sort(overrides, conf, counted)
    _refuse_tables_own(table, request)
    if request.data is None:
        request = replace(request, data=_data_of_scale(table, request))
    columns = _columns(table, request.data)
    runnable = [table.runnable(row, column) for row in table.rows for column in columns]
    prepare([(*own, *request.config) for own in runnable if own is not None], conf=conf)
    for own in runnable:
        expect_set_at_source((*(own or ()), *request.config), conf=conf)
    lines = tuple(Line(row, tuple(_cells(table, row, columns, request))) for row in table.rows)
    _expect_one_set(table, lines)
    _expect_one_place(table, lines)
    filled = FilledTable(table, tuple(line for line in overrides if not is_hydra(line)), columns, lines)
    return filled if counted == "here" else replace(filled, stale=_stale(filled))


def fill_recorded(
    table: Table, settings: Iterable[Sequence[str]], conf: Path = CONF, *, counted: Counted = "all"
) -> Iterator[FilledTable]:
    """`fill` in each setting in which runs are recorded; one that the table does not take any more is left out, with a
    warning."""
    for overrides in settings:
        try:
            yield fill(table, overrides, conf, counted=counted)
        except InputsError:
            raise
        except ConfigError as error:
            if not overrides:
                raise
            where = f"{table.results.name}/{stem_of(table.name)}.jsonl"
            warnings.warn(f"{where}: what is recorded with {' '.join(overrides)} is left out: {error}", stacklevel=2)


def canonical(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that say which runs a table shows, the data set first, then by name."""
    kept = [line for line in overrides if not is_hydra(line) and determines_result(override_key(line))]
    return tuple(sorted(kept, key=lambda line: (override_key(line) != "data", override_key(line))))


def is_hydra(override: str) -> bool:
    """Whether an override is for Hydra (a launcher, its options) and not for the config."""
    return override_key(override).startswith(("hydra.", "hydra/"))


def is_override(line: str) -> bool:
    """Whether a word of a command line sets something, or deletes it."""
    return "=" in line or line.startswith("~")


def override_key(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~")


def _stale(filled: FilledTable) -> tuple[Record, ...]:
    table, names = filled.table, {entry.fingerprint for entry in filled.entries}
    overrides = canonical(filled.overrides)
    here = (record for record in read_records(table.results) if record.table == table.name)
    return tuple(record for record in here if record.overrides == overrides and record.run[0] not in names)


def _sort(overrides: Sequence[str], conf: Path, counted: Counted) -> _Request:
    data, seeds, config = None, None, []
    for line in overrides:
        if not is_override(line):
            raise ConfigError(f"{line!r} is no override: expected NAME=VALUE, such as scale=demo")
        plain = line.lstrip("+")
        if line.startswith("data="):
            data = line.removeprefix("data=")
        elif plain.startswith("seed="):
            seeds = _seeds(plain)
        elif not is_hydra(line):
            config.append(line)
    return _Request(data, seeds, tuple(config), conf, counted)


def _seeds(line: str) -> tuple[int, ...]:
    value = line.removeprefix("seed=")
    if re.fullmatch(r"\d+(,\d+)*", value):
        return tuple(dict.fromkeys(map(int, value.split(","))))
    from hydra.core.override_parser.overrides_parser import OverridesParser  # for seed=range(0,3)
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(line)
        return tuple(int(seed) for seed in parsed.sweep_string_iterator())
    except (HydraException, ValueError) as error:
        raise ConfigError(f"{line}: expected numbers, such as seed=0,1,2 or seed=range(0,3)") from error


def _refuse_tables_own(table: Table, request: _Request) -> None:
    """Refuse overrides of what the table is about: its names of rows and columns, or its title, would be wrong."""

    def keys(overrides: Iterable[str]) -> set[str]:
        return {override_key(override) for override in overrides}

    rows = keys(override for row in table.rows for override in row.overrides or ())
    columns = keys(override for column in table.columns for override in column.overrides)
    whole = {
        key for key in keys(table.overrides) if "." in key
    }  # a group, such as the scale, has a name in the heading
    for override in request.config:
        key = override_key(override)
        for what, own in (("rows", rows), ("columns", columns), ("", whole)):
            # A mapping sets all that is in it; within a block that rows choose by name, values may be set.
            set_too = [
                other
                for other in own
                if other == key or other.startswith(f"{key}.") or ("." in other and key.startswith(f"{other}."))
            ]
            if set_too and what:
                raise ConfigError(f"{override}: the {what} of {table.label} differ by {min(set_too)}")
            if set_too:
                line = next(found for found in table.overrides if override_key(found) in set_too)
                raise ConfigError(f"{override}: {table.label} is one with {line}; for another one, copy its file")


def _data_of_scale(table: Table, request: _Request) -> str | None:
    """The data set that a scale has in place of the paper's, such as small; None where it has the table's own."""
    scale = [override for override in request.config if override_key(override) == "scale"]
    rows = [row for row in table.rows if row.overrides is not None]
    if not scale or not rows:
        return None
    own = (*table.overrides, *(rows[0].overrides or ()))
    paper, here = (compose((*own, *which), conf=request.conf)["data"]["name"] for which in ((), scale))
    return None if paper == here else str(here)


def _columns(table: Table, data: str | None) -> tuple[Column, ...]:
    if data is None:
        return table.columns
    columns = tuple(column if column.data == data else replace(column, data=None) for column in table.columns)
    if any(column.data for column in columns):
        return columns
    models: dict[tuple[str, ...], Column] = {}  # what the columns differ by, besides their data
    for column in [column for column in table.columns if column.data] or table.columns[:1]:
        models.setdefault(column.overrides, column)
    papers = [column for column in columns if column.of_the_paper]  # a column of our own has nothing without its data
    new = [
        replace(model, name=f"{model.name}, {data}" if own else data, data=data, of_the_paper=False)
        for own, model in models.items()
    ]
    return (*papers, *new)


def _cells(table: Table, row: Row, columns: Sequence[Column], request: _Request) -> list[Cell]:
    cells: list[Cell] = []
    for column in columns:
        entry = _entry(table, row, column, request)
        for metric in column.metrics:
            paper = row.paper[len(cells)] if column.of_the_paper else None
            cells.append(Cell(column, metric, paper, entry))
    return cells


def _expect_one_set(table: Table, lines: Iterable[Line]) -> None:
    """See that rows which are compared with each other were made of the same data, and of the same weights by name."""
    first: dict[tuple[int, str], tuple[str, Mapping[str, Any]]] = {}
    for line in lines:
        for place, cell in enumerate(line.cells):
            entry = cell.entry
            for result in entry.results if entry else ():
                assert entry is not None
                for kind, found in _inputs_of(result, entry.setting):
                    name, other = first.setdefault((place, kind), (line.row.name, found))
                    if trouble := unlike(other, found):
                        raise InputsError(
                            f"{table.label}, {cell.column.name}: {name} and {line.row.name} were made of different "
                            f"inputs: {'; '.join(trouble)}. They are not compared: make one of them anew (rga train "
                            "... rerun=true), or give the other data a data.name, or the other weights a file name, of "
                            "their own"
                        )


def _expect_one_place(table: Table, lines: Iterable[Line]) -> None:
    """See that cells of one fingerprint read the same data and weights: their run would stand in both."""
    first: dict[str, tuple[str, Entry]] = {}
    for line in lines:
        for cell in line.cells:
            if cell.entry:
                name, other = first.setdefault(cell.entry.fingerprint, (line.row.name, cell.entry))
                who = f"{table.label}: {name} and {line.row.name}"
                expect_one_place(other.fingerprint, other.places, cell.entry.places, who)


def _inputs_of(result: Mapping[str, Any], setting: Setting) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A result's data, and its file of weights, each by name; a set may be there without its training split."""
    inputs = result.get("inputs") or {}
    if inputs.get("data"):
        part = ((result.get("config") or {}).get("data") or {}).get("train_identities")
        yield f"data {setting.data} {setting.size} {part}", {"inputs": {"data": inputs["data"]}}
    if inputs.get("weights"):
        yield f"weights {inputs['weights'].get('file')}", {"inputs": {"weights": inputs["weights"]}}


def _entry(table: Table, row: Row, column: Column, request: _Request) -> Entry | None:
    own = table.runnable(row, column)
    if own is None:
        return None
    if any(override_key(override) == "data.seed" for override in (*own, *request.config)):
        raise ConfigError(
            "data.seed: the seeds of a table are those of its runs, of their data and of all else; rga train -m "
            "seed=0,1,2 data.seed=0 makes runs that differ in the rest alone"
        )
    try:
        config = compose((*own, *request.config), conf=request.conf)
        if any(override.startswith("+") for override in request.config):  # Hydra refuses others that are misspelt
            expect_known(OmegaConf.create(composition((*own, *request.config), conf=request.conf).unresolved))
        setting = Setting.of(config)
        comparable = column.of_the_paper and setting.scale == "paper"
        if comparable and request.config:
            comparable = compared(config) == compared(compose(own, conf=request.conf))
    except ConfigError as error:
        raise ConfigError(f"{table.label}, {row.name}, {column.name}: {error}") from error
    name = fingerprint(config)
    here = None if request.counted == "recorded" else config["paths"]["runs"]
    if here is not None and Path(here).is_file():
        raise ConfigError(f"paths.runs={here} is a file: it takes the folder of runs")
    found = results(here, name, None if request.counted == "here" else table.results)
    every = tuple(found)
    if request.seeds is not None:
        found = [result for result in found if result["seed"] in request.seeds]
    if trouble := disagreement(found, here):
        raise InputsError(f"{table.label}, {row.name}, {column.name}: {trouble}")
    wanted = request.seeds
    if wanted is None:
        own_seeds = table.main_seeds.get(setting.scale) if row.main else None
        wanted = own_seeds or (() if found else (int(config["seed"]),))
    done = () if config.get("rerun") else {result["seed"] for result in found}
    missing = tuple(seed for seed in wanted if seed not in done)
    return Entry((*own, *request.config), name, setting, comparable, tuple(found), missing, every, places(config))
