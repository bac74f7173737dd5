"""A table on disk, CSV or Parquet, as texts: what its columns mean is the reader's matter."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rga.data.base import shorten
from rga.data.listing import read_lines
from rga.errors import DataError
from rga.printing import is_plain

PARQUET = (".parquet", ".pq")


class Row(NamedTuple):
    """A line of a table: where it stands, such as `line 7`, and its texts by column, without spaces around them."""

    place: str
    cells: dict[str, str]


def read(file: Path, needed: Sequence[str], wanted: Sequence[str] = ()) -> list[Row]:
    """The rows of a table, all of them with the same columns. Empty lines are none.

    Parquet's values become texts as Python writes them, and 7.0 is 7; what is null there, or NaN, is empty.

    Args:
        file: CSV (commas, a line with the columns' names, UTF-8 or UTF-16 with its mark) or, by its ending, Parquet.
        needed: columns without which the table is of no use.
        wanted: columns that are read where they are there.

    Raises:
        DataError: there is no such file, it is damaged or no such table, a column is missing or named twice, a line has
            more or fewer values than there are columns, or a text that is read has characters that are not seen; or it
            is Parquet, and pyarrow is not installed.
    """
    if not file.is_file():
        raise DataError(f"there is no table at {file.absolute()} (the file does not exist)")
    lines = _parquet(file) if file.suffix.lower() in PARQUET else _csv(file)
    columns = next(lines, ("", []))[1]
    if missing := [name for name in needed if name not in columns]:
        raise DataError(
            f"{file} has no column {' and none '.join(missing)}: it has {', '.join(columns) or 'none'}, and needs "
            f"{', '.join(needed)}, with commas between them"
        )
    if twice := [name for name in dict.fromkeys(columns) if columns.count(name) > 1]:
        raise DataError(f"{file} has several columns {shorten(twice)}: which one is meant?")
    rows = []
    for place, values in lines:
        if len(values) != len(columns):
            raise DataError(f"{file}, {place}: {len(values)} values, there are {len(columns)} columns")
        cells = dict(zip(columns, values, strict=True))
        if unseen := [cells[name] for name in (*needed, *wanted) if not is_plain(cells.get(name, ""))]:
            raise DataError(f"{file}, {place}: {unseen[0]!r} has characters that are not seen")
        rows.append(Row(place, cells))
    return rows


def _csv(file: Path) -> Iterator[tuple[str, list[str]]]:
    lines = csv.reader(read_lines(file), strict=True)
    try:
        for values in lines:
            if any(text.strip() for text in values):
                yield f"line {lines.line_num}", [text.strip() for text in values]
    except csv.Error as error:
        raise DataError(f"{file}, line {lines.line_num}: this is no CSV: {error}") from error


def _parquet(file: Path) -> Iterator[tuple[str, list[str]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(
            f"{file}: Parquet is read where pyarrow is installed (pip install 'rga[parquet]'), or save the table as CSV"
        ) from None
    try:
        table = pyarrow.parquet.ParquetFile(file).read()  # read_table would make columns of folders' names
        columns = [column.to_pylist() for column in table.columns]
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"cannot read {file}: {error}") from error
    yield "", list(table.column_names)
    for number, values in enumerate(zip(*columns, strict=True), 1):
        yield f"row {number}", [_text(value) for value in values]


def _text(value: Any) -> str:
    if value is None or value != value:  # NaN is unequal to itself
        return ""
    if isinstance(value, float) and value.is_integer():  # where a value is missing, pandas makes floats of all
        value = int(value)
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip()
