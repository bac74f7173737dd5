"""`rga cost`: what every block of conf/attention costs, beside the accuracy of the runs there are."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rga.bench.costs import Cost, costs, dtype_of
from rga.bench.options import about
from rga.errors import ConfigError
from rga.paths import CONF
from rga.runs.compose import compose
from rga.tables.filled import FilledTable
from rga.tables.render import Format, render
from rga.tables.zoo import BARE

_SHOWN = {  # heading: which number, its unit, its digits
    "params (M)": ("parameters", 1e6, 3),
    "added (M)": ("parameters_added", 1e6, 3),
    "GFLOP": ("flop", 1e9, 2),
    "MB kept": ("saved_bytes", 1e6, 1),
    "forward": ("forward", 1, 2),
    "step": ("step", 1, 2),
}
_Costs = Mapping[str, Mapping[str, Any]]  # of each row


def cost_table(
    filled: FilledTable,
    format: Format = "text",
    *,
    device: str = "cpu",
    batch: int | None = None,
    rounds: int = 5,
    conf: Path = CONF,
) -> str:
    """Measure the rows of the table that `rga.tables.zoo` makes, and print it, without a newline at the end.

    Times are given relative to the bare network's, never in seconds: those belong to one machine and one minute. CSV
    has a line for each row and metric. JSON is that of the paper's tables, `{"table", "rows": [{"name", "literature",
    "cells"}]}`, and two additions:

    * `"setting"`: where it was measured, `data`, `network` and `scale`, `size` (H, W), `device`, `threads`, `torch`,
      `batch`, `rounds`, `dtype`, `channels_last` and `compile` (bool; only compile=true compiles here, auto does not);
    * in each row `"cost"`: `after` (the stages), `parameters`, `parameters_added`, `flop` (of a forward, per image),
      `saved_bytes` (for the backward, per image), `forward` and `step` (ratios) and `problem`: null, or why the numbers
      that are null could not be measured.

    Args:
        filled: the table with its runs.
        format: text, md, latex, csv or json.
        device, rounds: see `rga.bench.costs.costs`.
        batch: images that are timed at once; None: 2 on a CPU, 64 elsewhere.
        conf: the folder of `train.yaml`.

    Raises:
        ConfigError: there is no such device, or the bare network cannot be measured.
    """
    gpu = _device(device).type != "cpu"
    entries = {line.row.name: entry for line in filled.lines if (entry := line.cells[0].entry)}
    configs = {name: compose(entry.overrides, conf=conf) for name, entry in entries.items()}
    batch = batch or (64 if gpu else 2)
    found = costs(configs, device=device, batch=batch, rounds=rounds)
    costs_of = {
        name: {"after": configs[name]["attention"]["after"], **_figures(cost, found[BARE])}
        for name, cost in found.items()
    }
    bare = configs[BARE]
    trainer = bare["trainer"]
    setting = {
        **{name: vars(entries[BARE].setting)[name] for name in ("data", "network", "scale")},
        "size": bare["data"]["size"],
        **about(device),
        "batch": batch,
        "rounds": rounds,
        "dtype": dtype_of(bare),
        "channels_last": gpu if trainer["channels_last"] == "auto" else trainer["channels_last"],
        "compile": trainer["compile"] is True,
    }
    if format == "json":
        return _json(filled, setting, costs_of)
    return render(_with_costs(filled, setting, costs_of), format)


def _device(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # of a PyTorch without CUDA
        raise ConfigError(f"--device {name} cannot be used: {str(error).partition(chr(10))[0]}") from error


def _figures(cost: Cost, bare: Cost) -> dict[str, Any]:
    return {
        "parameters": cost.parameters,
        "parameters_added": None if cost.parameters is None else cost.parameters - (bare.parameters or 0),
        "flop": cost.flop,
        "saved_bytes": cost.saved_bytes,
        "forward": cost.forward,
        "step": cost.step,
        "problem": cost.problem,
    }


def _with_costs(filled: FilledTable, setting: Mapping[str, Any], costs_of: _Costs) -> FilledTable:
    """The costs are what the table tells of a row besides its results; a problem is the row's note."""

    def texts(cost: Mapping[str, Any]) -> tuple[str, ...]:
        shown = ((cost[key], unit, digits) for key, unit, digits in _SHOWN.values())
        return tuple("" if value is None else f"{value / unit:.{digits}f}" for value, unit, digits in shown)

    def note(cost: Mapping[str, Any]) -> str | None:
        return None if cost["problem"] is None else f"cannot be used here: {cost['problem']}"

    costs = [costs_of[line.row.name] for line in filled.lines]
    lines = tuple(
        replace(line, row=replace(line.row, about=texts(cost), note=note(cost)))
        for line, cost in zip(filled.lines, costs, strict=True)
    )
    title, source = _title(setting, costs_of), _source(setting)
    return replace(filled, table=replace(filled.table, title=title, source=source, about=tuple(_SHOWN)), lines=lines)


def _title(setting: Mapping[str, Any], costs_of: _Costs) -> str:
    stages = {tuple(cost["after"]) for name, cost in costs_of.items() if name != BARE}
    places = ", ".join(map(str, stages.pop())) if len(stages) == 1 else "that each block's config names"
    cpu = f"cpu, {setting['threads']} thread{'' if setting['threads'] == 1 else 's'}"
    where = cpu if setting["device"] == "cpu" else setting["device"]
    batch = f"batch {setting['batch']}"
    fast = [name for name in ("channels_last", "compile") if setting[name]]
    return (
        f"Attention blocks: {setting['network']} at {' x '.join(map(str, setting['size']))}, "
        f"{f'behind stages {places}' if places else 'beside the features'}; "
        f"{', '.join([where, batch, setting['dtype'], *fast])}"
    )


def _source(setting: Mapping[str, Any]) -> str:
    return (
        "per image: GFLOP of a forward (2 per multiply-add), activation memory in MB (1e6 bytes); relative to none: "
        "forward (evaluation) and step (forward, backward, SGD), each timed beside none, "
        f"medians of {setting['rounds']} rounds"
    )


def _json(filled: FilledTable, setting: Mapping[str, Any], costs_of: _Costs) -> str:
    table = json.loads(render(filled, "json"))
    rows = [{**row, "cost": costs_of[row["name"]]} for row in table["rows"]]
    return json.dumps({"table": table["table"], "setting": setting, "rows": rows}, indent=2, ensure_ascii=False)
