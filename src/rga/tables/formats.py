"""A filled table for other programs: CSV and JSON. Numbers are in percent."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rga.printing import spreadsheet
from rga.tables.against import place_of
from rga.tables.conditions import Setting
from rga.tables.filled import Cell, FilledTable, Line, fewer_queries


def as_csv(filled: FilledTable) -> str:
    """One line for each cell; the columns from data on say where `ours` comes from."""
    out = io.StringIO()
    own = "table", "group", "row"
    after = (
        "literature",
        "column",
        "metric",
        "paper",
        "ours",
        "std",
        "n",
        "recorded",
        "delta",
        *(_AGAINST if filled.against else ()),
    )
    last = (*Setting.__annotations__, "overrides")
    taken = {*own, *after, *last}
    about_names = [f"about {name}" if name in taken else name for name in filled.table.about]
    writer = csv.DictWriter(out, [*own, *about_names, *after, *last], lineterminator="\n")
    writer.writeheader()
    for line in filled.lines:
        for cell in line.cells:
            # Without a run there is nothing to say where it came from.
            setting = vars(cell.entry.setting) if cell.entry and cell.n else {}
            about = dict(zip(about_names, line.row.about, strict=True))
            literature = str(line.row.literature).lower()
            place = {"table": filled.table.name, "group": line.row.group, "row": line.row.name, **about}
            place |= {"literature": literature, "column": cell.column.name, "metric": cell.metric}
            numbers = {"paper": cell.paper, "ours": cell.ours, "std": cell.std, "delta": cell.delta}
            rounded = {name: _round(number) for name, number in numbers.items()}
            counts = {"n": cell.n, "recorded": cell.recorded}
            against = {name: x for name, x in _against(filled, line, cell).items() if name in _AGAINST}
            row = {**place, **rounded, **counts, **against, **setting, "overrides": " ".join(filled.overrides)}
            writer.writerow({key: spreadsheet(x) if isinstance(x, str) else x for key, x in row.items()})
    return out.getvalue()


def as_json(filled: FilledTable) -> str:
    """The form that other people's scripts read; each of `runs` says where its number comes from."""
    name = filled.table.name
    rows = [
        {
            "name": line.row.name,
            "group": line.row.group,
            "literature": line.row.literature,
            **({"about": dict(zip(filled.table.about, line.row.about, strict=True))} if filled.table.about else {}),
            "cells": [{**_cell(cell, filled.overrides), **_nested(filled, line, cell)} for cell in line.cells],
        }
        for line in filled.lines
    ]
    return json.dumps({"table": int(name) if name.isdigit() else name, "rows": rows}, indent=2, ensure_ascii=False)


_AGAINST = ("against", "difference", "low", "high", "seeds", "queries")


def _against(filled: FilledTable, line: Line, cell: Cell) -> dict[str, Any]:
    """The difference of a cell to the row that the table is compared with; empty where there is none."""
    found = filled.against.differences.get(place_of(line, cell)) if filled.against else None
    if filled.against is None or found is None:
        return {}
    numbers = {"difference": found.value, "low": found.low, "high": found.high}
    rounded = {name: _round(x) for name, x in numbers.items()}
    return {"against": filled.against.row, **rounded, "seeds": len(found.seeds), "queries": found.queries}


def _nested(filled: FilledTable, line: Line, cell: Cell) -> dict[str, Any]:
    found = _against(filled, line, cell)
    return {"against": {"row": found.pop("against"), **found}} if found else {}


def _cell(cell: Cell, overrides: Sequence[str]) -> Mapping[str, Any]:
    queries = {result["seed"]: fewer_queries(result) for result in cell.entry.results} if cell.entry else {}
    return {
        "column": cell.column.name,
        "metric": cell.metric,
        "paper": cell.paper,
        "ours": _round(cell.ours),
        "std": _round(cell.std),
        "n": cell.n,
        "delta": _round(cell.delta),
        "runs": [
            {
                "fingerprint": cell.entry.fingerprint,
                "seed": seed,
                "value": _round(value),
                "recorded": seed in cell.entry.recorded,
                **vars(cell.entry.setting),
                "overrides": list(overrides),  # the table's own, as `with:` has them
                **({"queries_counted": queries[seed]} if queries[seed] else {}),  # [counted, all]
            }
            for seed, value in cell.values
            if cell.entry
        ],
    }


def _round(number: float | None) -> float | None:
    return None if number is None else round(number, 6)
