"""The source of components that are nobody's package: a block of one's own, say, which is edited between two runs."""

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_INSTALLED = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib", "platstdlib")]
_PACKAGE = Path(__file__).resolve().parents[1]


def digests(config: Mapping[str, Any]) -> dict[str, str]:
    """The digests of the files that own components of a resolved config are in, by the names of their modules.

    Installed packages have versions, and this package is recorded by its commit: neither is among them. Comments,
    docstrings and layout do not count; nor does what such a file imports in its turn.
    """
    found = {}
    for target in sorted(set(_targets(config))):
        module, file = _source(target)
        if file is not None:
            found[module] = f"sha256:{hashlib.sha256(_acting(file).encode()).hexdigest()}"
    return found


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _source(target: str) -> tuple[str, Path | None]:
    """The module of a component and its file; None for installed ones, and where there is no such module."""
    names = target.split(".")[:-1]
    if names[:1] in (["rga"], ["torch"], ["torchvision"], ["lightning"], ["timm"], ["hydra_plugins"]):
        return target, None
    for end in range(len(names), 0, -1):  # a class within a class
        module = ".".join(names[:end])
        try:
            spec = sys.modules[module].__spec__ if module in sys.modules else importlib.util.find_spec(module)
        except (ImportError, ValueError):
            continue
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            file = Path(spec.origin).resolve()
            own = not any(file.is_relative_to(folder) for folder in (*_INSTALLED, _PACKAGE))
            return module, file if own else None
    return target, None


def _acting(file: Path) -> str:
    """A Python file without comments, docstrings and layout; as it is, where it cannot be parsed."""
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return text
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
