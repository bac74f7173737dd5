"""Commands of `rga`, by what they are about; `rga.cli.app` has the rest and puts them together."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Damaged results and the like are for the user: a line each, without the place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"rga: {message}", file=sys.stderr)
        yield
