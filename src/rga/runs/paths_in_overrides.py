"""Overrides whose value is a path, for Hydra's grammar: `data.root=/data/my set (1)` as somebody types it.

Hydra reads a value as an expression, in which `(`, `=`, `'`, `#`, `,`, `[`, `~` and letters beyond ASCII mean
something, or nothing. A path has no such meaning: it is put into Hydra's quotes, unless it is in some already.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

_KEYS = re.compile(
    r"[+]{0,2}(?:paths\.\w+|data\.(?:root|table|cache)|backbone\.(?:trunk\.)?weights|hydra\.(?:run|sweep)\.dir)"
)
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%-]*")  # as it is, for Hydra too


def quoted(overrides: Iterable[str], *, sweep: bool = False) -> list[str]:
    """The overrides with their paths in quotes where they need any.

    Args:
        overrides: words of a command line; others than `KEY=PATH` stay as they are.
        sweep: whether a comma separates values, unless there is a file of the whole name.

    >>> quoted(["data.root=/data/my set (1)", "seed=0"])
    ["data.root='/data/my set (1)'", 'seed=0']
    """
    return [_quoted(word, sweep) for word in overrides]


def _quoted(word: str, sweep: bool) -> str:
    key, equals, value = word.partition("=")
    if not equals or not _KEYS.fullmatch(key) or value[:1] in ("'", '"') or "${" in value:
        return word
    values = value.split(",") if sweep and not Path(value).expanduser().exists() else [value]
    words = "" if key.endswith(("weights", "cache")) else "true|false|null|"  # which mean something there
    other = re.compile(rf"(?i:{words}[+-]?(?:inf|nan|[\d._]+(?:e[+-]?\d+)?))")
    # A shell expands ~ at the start of a word alone: not everybody who opens such a path would.
    return f"{key}={','.join(_quote(os.path.expanduser(value), other) for value in values)}"  # noqa: PTH111 - or as it is


def _quote(value: str, other: re.Pattern[str]) -> str:
    if _PLAIN.fullmatch(value) and not other.fullmatch(value):
        return value
    # A backslash is one, but for those before a quote: there each is two.
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"
