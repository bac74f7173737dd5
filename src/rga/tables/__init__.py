"""The paper's tables: read from `experiments/`, filled with the runs there are, printed. No torch.

`spec` reads a table, `filling` puts the runs there are into its cells, `render` prints it, `missing` makes the others.
"""

from rga.tables.filled import Cell, Entry, FilledTable, Line
from rga.tables.filling import fill
from rga.tables.spec import Column, Row, Table, available, load

__all__ = ["Cell", "Column", "Entry", "FilledTable", "Line", "Row", "Table", "available", "fill", "load"]
