"""The copy of the defaults that fingerprints go by is that of the signatures, and no two components share a name."""

import inspect
import re
from typing import Any

import pytest
from hydra.utils import get_object

from rga.data.module import DataModule
from rga.paths import CONF
from rga.runs.defaults import DEFAULTS
from rga.runs.identity import _BLIND_DATA, public_name
from rga.tasks.task import Task

TARGETS = sorted(
    {
        target
        for path in CONF.rglob("*.yaml")
        for target in re.findall(r"_target_:\s*([\w.]+)", path.read_text(encoding="utf-8"))
        if target.startswith("rga.") and path.parts[-2] not in ("logger", "launcher")
    }
)
# A reader is named by its data set; what writes or downloads one does not act on a result.
COMPONENTS = [target for target in TARGETS if not re.search(r"\.(read|download|write\w*)$", target)]
OTHERS = [name for name in DEFAULTS if "." in name]


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def defaults(target: str) -> dict[str, Any]:
    """Of the keyword arguments that a config can give, those of a task's or a data module's base class among them."""
    component = get_object(target)
    bases = [base for base in (Task, DataModule) if base in getattr(component, "__mro__", ())]
    functions = [component, *(base.__init__ for base in bases)]
    return {
        name: plain(parameter.default)
        for function in functions
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty and parameter.kind != parameter.VAR_KEYWORD
    }


@pytest.mark.parametrize("target", COMPONENTS)
def test_the_copy_is_the_signature(target: str) -> None:
    blind = _BLIND_DATA if target.startswith("rga.data.") and target.endswith("Data") else set()
    acting = {name: value for name, value in defaults(target).items() if name not in blind | {"name"}}
    copied = {name: value for name, value in DEFAULTS.get(public_name(target), {}).items() if name != "reader"}
    assert copied == acting


@pytest.mark.parametrize("name", OTHERS)
def test_the_defaults_of_others_are_theirs(name: str) -> None:
    theirs = defaults(name)
    assert {key: theirs[key] for key in DEFAULTS[name]} == DEFAULTS[name]


def test_public_names_are_given_once() -> None:
    assert len(COMPONENTS) > 30
    assert len({public_name(target) for target in COMPONENTS}) == len(COMPONENTS)
    assert {public_name(target) for target in COMPONENTS} >= {name for name in DEFAULTS if "." not in name}
