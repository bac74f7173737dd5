"""The file that says what the masks of a set of one's own mean.

    classes:  # in the order of the labels
      - {name: ground, id: 0}
      - {name: disc, id: 1, colour: [220, 20, 60]}
    ignored: [255]

All classes have an `id`, the number that masks have for them, or all a `colour`, in which masks are painted, or both.
Where all have ids, a colour is only what they are shown in, and may be left out. `ignored` has the numbers and colours
of pixels that do not count; nothing else may be in a mask.
"""

import colorsys
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from rga.data.base import IGNORED, UNKNOWN, Colour
from rga.errors import DataError
from rga.printing import is_plain

_KEYS = {"name", "id", "colour"}
_MOST = UNKNOWN  # classes: their labels are bytes, of which two mean something else


@dataclass(frozen=True)
class ClassList:
    """See `SceneSplit`; `meaning` is short and the same for files that mean the same. `ids`: None without numbers."""

    names: list[str]
    ids: list[int] | None
    colours: NDArray[np.uint8]
    lookup: NDArray[np.uint8]
    painted: dict[Colour, int] | None
    meaning: str


class _Loader(yaml.SafeLoader):
    """PyYAML, which of a key that stands there twice would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} stands there twice", node.start_mark)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def read(file: Path) -> ClassList:
    """Read the file.

    Raises:
        DataError: there is no such file, or something in it has no meaning, or two; the message says what and where.
    """
    try:
        found = _Loader(file.read_text(encoding="utf-8")).get_single_data()
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"cannot read {file}: {' '.join(str(error).split())}") from error
    if (
        not isinstance(found, dict)
        or not isinstance(found.get("classes"), list)
        or found.keys() - {"classes", "ignored"}
    ):
        raise DataError(f"{file} is not what was expected: a list `classes`, maybe a list `ignored`, and nothing else")
    nodes, ignored = found["classes"], found.get("ignored") or []
    if not 2 <= len(nodes) <= _MOST:
        raise DataError(f"{file} has {len(nodes)} classes: 2 to {_MOST} can be told apart")
    names = [_name(file, node) for node in nodes]
    ids = [_number(file, node["id"], node["name"]) if "id" in node else None for node in nodes]
    colours = [_colour(file, node["colour"], node["name"]) if "colour" in node else None for node in nodes]
    if None in ids and None in colours:
        raise DataError(f"{file}: all classes have an id, or all have a colour; {names[ids.index(None)]} has no id")
    if not isinstance(ignored, list):
        raise DataError(f"{file}: ignored is a list of numbers or of colours, not {ignored!r}")
    numbers = [_number(file, value, "ignored") for value in ignored if not isinstance(value, list)]
    painted_over = [_colour(file, value, "ignored") for value in ignored if isinstance(value, list)]
    if (numbers and None in ids) or (painted_over and None in colours):
        what = "numbers, but not all classes have an id" if None in ids else "colours, but not all classes have one"
        raise DataError(f"{file}: ignored has {what}")
    _expect_once(file, "names", names)
    _expect_once(file, "ids", [*(number for number in ids if number is not None), *numbers])
    _expect_once(file, "colours", [*(colour for colour in colours if colour is not None), *painted_over])
    lookup = np.full(256, UNKNOWN, np.uint8)
    if None not in ids:
        for number, label in [*zip(ids, range(len(ids)), strict=True), *((number, IGNORED) for number in numbers)]:
            lookup[number] = label
    painted = (
        {colour: label for label, colour in enumerate(colours) if colour is not None} if None not in colours else None
    )
    if painted is not None:
        painted |= dict.fromkeys(painted_over, IGNORED)
    shown = [colour or _own_colour(label) for label, colour in enumerate(colours)]
    means = json.dumps([names, lookup.tolist(), sorted(painted.items()) if painted else None])
    digest = hashlib.sha256(means.encode()).hexdigest()[:16]
    known = [number for number in ids if number is not None]
    return ClassList(names, known if None not in ids else None, np.array(shown, np.uint8), lookup, painted, digest)


def _name(file: Path, node: Any) -> str:
    if not isinstance(node, dict) or not {"name"} <= node.keys() <= _KEYS:
        raise DataError(
            f"{file}: a class has a name and an id or a colour, such as {{name: road, id: 7}}, not {node!r}"
        )
    name = node["name"]
    if not isinstance(name, str) or not name or not is_plain(name):
        raise DataError(
            f"{file}: the name of a class is a text, in quotes where YAML takes it for something else, not {name!r}"
        )
    return name


def _number(file: Path, value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 255:
        raise DataError(f"{file}, {where}: a number in a mask is 0 to 255, not {value!r}")
    return value


def _colour(file: Path, value: Any, where: str) -> Colour:
    if not isinstance(value, list) or len(value) != 3:
        raise DataError(f"{file}, {where}: a colour is red, green and blue, such as [220, 20, 60], not {value!r}")
    red, green, blue = (_number(file, part, where) for part in value)
    return red, green, blue


def _expect_once(file: Path, what: str, values: Sequence[Any]) -> None:
    if twice := [value for value in dict.fromkeys(values) if values.count(value) > 1]:
        raise DataError(f"{file} has {what} that mean several things: {', '.join(map(str, twice))}")


def _own_colour(label: int) -> Colour:
    """One that neighbours do not have: hues a golden section apart."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.75, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
