"""Commands of `rga`, by what they are about; `rga.cli.app` has the rest and puts them together."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rga.printing import printable


def say(text: str, *, err: bool = False) -> None:
    """Print what may hold the words of others: names of files, of data sets and of runs."""
    print(printable(text), file=sys.stderr if err else sys.stdout)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Damaged results and the like are for the user: a line each, without the place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: say(f"rga: {message}", err=True)
        yield
