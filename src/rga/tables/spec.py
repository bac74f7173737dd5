"""A table as data, read and checked: the paper's are `experiments/tableN.yaml`, our own `experiments/NAME.yaml`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from rga.errors import ConfigError
from rga.paths import EXPERIMENTS
from rga.printing import is_plain


@dataclass(frozen=True)
class Column:
    """A data set and what is measured on it. `data` is a choice of `conf/data`, None while there is no reader."""

    name: str
    data: str | None
    metrics: Mapping[str, str]  # name in the table -> key among the metrics of a result
    overrides: tuple[str, ...] = ()
    of_the_paper: bool = True  # False: a table of our own, or the user's own choice of data


@dataclass(frozen=True)
class Row:
    """A method. `overrides` is None for literature: numbers that the paper takes from other papers."""

    name: str
    overrides: tuple[str, ...] | None
    paper: tuple[float | None, ...]  # in the order of the columns and their metrics; None: it prints a dash
    about: tuple[str, ...] = ()  # in the order of the table's `about`
    note: str | None = None
    main: bool = False  # one of the rows that a short summary shows
    group: str | None = None  # the heading under which the paper prints it

    @property
    def literature(self) -> bool:
        return self.overrides is None


@dataclass(frozen=True)
class Table:
    """A table: its columns, its rows, and the Hydra overrides that all its runs share.

    `about` are headings of what is told of a row besides its results, such as a network's depth; `protocol` says how
    the numbers are taken. `main_seeds` are the seeds of the main rows by the scale's name, where a scale is so quick
    that the rows to compare shall not hang on one seed. `baseline` is the row with which the report compares the
    others. The runs that are recorded lie in `results/` beside the table.
    """

    name: str
    title: str
    source: str
    overrides: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    about: tuple[str, ...] = ()
    protocol: str | None = None
    folder: Path = EXPERIMENTS
    kind: str = "table"  # or "figure", whose rows are images
    network: str | None = None  # of which the rows' names speak: with another one, that is told
    main_seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    baseline: str | None = None

    @property
    def label(self) -> str:
        """Such as `table 1`."""
        return f"{self.kind} {self.name}"

    @property
    def stem(self) -> str:
        """What its files are called, such as `table1` or `zoo`."""
        return stem_of(self.name, self.kind)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def grouped(self) -> bool:
        return any(row.group is not None for row in self.rows)

    @property
    def digits(self) -> int:
        """How many decimals are printed: as many as the paper prints, at least one."""
        numbers = [str(number) for row in self.rows for number in row.paper if number is not None]
        return max([1, *(len(number.partition(".")[2]) for number in numbers)])

    def runnable(self, row: Row, column: Column) -> tuple[str, ...] | None:
        """The overrides of a row in a column; None where nothing can be run: literature, or no reader yet."""
        if row.overrides is None or column.data is None:
            return None
        return (*self.overrides, f"data={column.data}", *column.overrides, *row.overrides)


def available(folder: Path = EXPERIMENTS, kind: str = "table") -> list[str]:
    """The names of the tables (or figures) there are: the paper's such as `1`, then those of our own."""
    found = {name for path in folder.glob("*.yaml") if (name := name_of(path.stem, kind)) is not None}
    return sorted(found, key=lambda name: (not name.isdigit(), name.zfill(8) if name.isdigit() else name))


def stem_of(name: str, kind: str = "table") -> str:
    """The stem of a table's files: `table1` for the paper's Table 1, its name for a table of our own."""
    return f"{kind}{name}" if name.isdigit() else name


def name_of(stem: str, kind: str = "table") -> str | None:
    """The name of the table with such files, None where they are of something else: the inverse of `stem_of`."""
    if numbered := re.fullmatch(r"(table|figure)(\d+)", stem):
        return numbered[2] if numbered[1] == kind else None
    return stem if kind == "table" else None


def load(name: str, folder: Path = EXPERIMENTS, kind: str = "table") -> Table:
    """Read a table; ConfigError, with the place, for one that is not there or not well formed."""
    path = folder / f"{stem_of(name, kind)}.yaml"
    if name not in available(folder, kind):
        raise ConfigError(f"there is no {kind} {name}; there are: {', '.join(available(folder, kind)) or 'none'}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    try:
        return replace(_table(name, content, folder), kind=kind)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _table(name: str, content: Any, folder: Path) -> Table:
    optional = {"overrides", "about", "protocol", "ours", "network", "main_seeds", "baseline"}
    found = _fields(content, "the table", {"title", "source", "columns", "rows"}, optional)
    ours = found.get("ours") is True
    columns = tuple(_column(item, f"column {number}", ours) for number, item in enumerate(_list(found, "columns"), 1))
    width = None if ours else sum(len(column.metrics) for column in columns)
    about = _texts(found.get("about", []), "about")
    if len({*about}) < len(about):
        raise ConfigError(f"about has a heading twice: {', '.join(about)}")
    rows = tuple(_row(item, f"row {number}", width, about) for number, item in enumerate(_list(found, "rows"), 1))
    for kind, names in (("columns", [column.name for column in columns]), ("rows", [row.name for row in rows])):
        if len(set(names)) < len(names):
            raise ConfigError(f"two {kind} have the same name")
    overrides = _strings(found.get("overrides", []), "overrides")
    protocol = str(found["protocol"]) if "protocol" in found else None
    network = str(found["network"]) if "network" in found else None
    baseline = str(found["baseline"]) if "baseline" in found else None
    if baseline is not None and baseline not in {row.name for row in rows if not row.literature}:
        raise ConfigError(f"baseline is {baseline!r}, but no row with overrides is called so")
    texts, seeds = (str(found["title"]), str(found["source"])), _seeds(found.get("main_seeds", {}))
    return Table(
        name, *texts, overrides, columns, rows, about, protocol, folder,
        network=network, main_seeds=seeds, baseline=baseline,
    )  # fmt: skip


def _column(content: Any, where: str, ours: bool) -> Column:
    found = _fields(content, where, {"name", "data", "metrics"}, {"overrides"})
    metrics = found["metrics"]
    if not isinstance(metrics, dict) or not metrics or not all(isinstance(key, str) for key in metrics.values()):
        raise ConfigError(f"{where}: metrics is a mapping of names to keys of a result's metrics, not {metrics!r}")
    data = found["data"]
    if data is not None and not isinstance(data, str):
        raise ConfigError(f"{where}: data is a choice of conf/data or null, not {data!r}")
    overrides = _strings(found.get("overrides", []), f"{where}: overrides")
    return Column(str(found["name"]), data, {str(name): key for name, key in metrics.items()}, overrides, not ours)


def _row(content: Any, where: str, width: int | None, headings: tuple[str, ...]) -> Row:
    """`width` is the number of the paper's numbers; None in a table of our own, which has none."""
    needed = {"name"} | ({"paper"} if width is not None else set()) | ({"about"} if headings else set())
    found = _fields(content, where, needed, {"overrides", "note", "main", "group"})
    where = f"{where} ({found['name']})"
    paper = _numbers(found["paper"], where, width) if width is not None else ()
    overrides = _strings(found["overrides"], f"{where}: overrides") if "overrides" in found else None
    about = _texts(found.get("about", []), f"{where}: about")
    if len(about) != len(headings):
        raise ConfigError(
            f"{where}: about is a list of {len(headings)} texts, one for each heading of the table's about"
        )
    note = str(found["note"]) if "note" in found else None
    group = str(found["group"]) if "group" in found else None
    return Row(str(found["name"]), overrides, paper, about, note, found.get("main") is True, group)


def _seeds(content: Any) -> dict[str, tuple[int, ...]]:
    if not isinstance(content, dict) or not all(
        isinstance(seeds, list) and seeds and all(type(seed) is int for seed in seeds) for seeds in content.values()
    ):
        raise ConfigError(f"main_seeds is a mapping of scales to seeds, such as {{demo: [0, 1]}}, not {content!r}")
    return {str(scale): tuple(seeds) for scale, seeds in content.items()}


def _numbers(content: Any, where: str, width: int) -> tuple[float | None, ...]:
    if not isinstance(content, list) or len(content) != width:
        raise ConfigError(f"{where}: paper is a list of {width} numbers or nulls, one for each metric of each column")
    for number in content:
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise ConfigError(f"{where}: {number!r} is neither a number nor null")
    return tuple(None if number is None else float(number) for number in content)


def _fields(content: Any, where: str, needed: set[str], optional: set[str]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ConfigError(f"{where} is a mapping, not {content!r}")
    if missing := needed - content.keys():
        raise ConfigError(f"{where} has no {', '.join(sorted(missing))}")
    if unknown := content.keys() - needed - optional:
        raise ConfigError(f"{where} has {', '.join(sorted(map(str, unknown)))}, which means nothing here")
    return content


def _list(found: dict[str, Any], key: str) -> list[Any]:
    if not isinstance(found[key], list) or not found[key]:
        raise ConfigError(f"{key} is a list with at least one entry")
    return list(found[key])


def _texts(content: Any, where: str) -> tuple[str, ...]:
    if not isinstance(content, list) or not all(isinstance(item, str | int) for item in content):
        raise ConfigError(f"{where}: a list of texts, not {content!r}")
    return tuple(map(str, content))


_ASKED = ("seed", "rerun", "objective", "paths", "logger")  # of a command, not of what it makes


def is_plain_override(override: Any) -> bool:
    """Whether an override only chooses and sets values, as those of tables do.

    A table, or a record of one, may be anybody's: it names no components, nothing of Hydra's own (which reads configs
    from where `hydra.searchpath` says), and nothing that would read the environment.
    """
    if not isinstance(override, str) or not is_plain(override) or re.search(r"\b_[a-z]+_\b|\$\{|[`<]", override):
        return False
    key, _, value = override.partition("=")
    chooses = "." not in key  # a file of a group, which lies in the group's folder
    return (
        re.fullmatch(r"[+~]{0,2}[A-Za-z][\w./@-]*", key) is not None
        and not key.lstrip("+~").startswith("hydra")
        and not (chooses and (".." in value or value.startswith("/")))
    )


def _strings(content: Any, where: str) -> tuple[str, ...]:
    if not isinstance(content, list) or not all(isinstance(item, str) and "=" in item for item in content):
        raise ConfigError(f"{where}: a list of Hydra overrides such as [attention=rga_sc], not {content!r}")
    if refused := [item for item in content if not is_plain_override(item)]:
        raise ConfigError(f"{where}: {refused[0]!r} is not taken from a table, which chooses and sets values only")
    if asked := [item for item in content if item.partition("=")[0].lstrip("+~").partition(".")[0] in _ASKED]:
        raise ConfigError(f"{where}: {asked[0]!r} is for the command line; a table's runs are of all seeds, wherever")
    return tuple(content)


def tables_and_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell the names of tables from the overrides of `rga table`, in words of the command line; each once."""
    overrides = [word for word in words if "=" in word or word.startswith("~")]
    return list(dict.fromkeys(word for word in words if word not in overrides)), overrides
