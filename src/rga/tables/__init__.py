"""The paper's tables: read from `experiments/`, filled with the runs there are, printed. No torch.

`spec` reads a table, `filled` puts the runs into its cells, `render` prints it, `run` makes the runs that are missing.
"""

from rga.tables.filled import Cell, Entry, FilledTable, Line, fill
from rga.tables.spec import Column, Row, Table, available, load

__all__ = ["Cell", "Column", "Entry", "FilledTable", "Line", "Row", "Table", "available", "fill", "load"]
