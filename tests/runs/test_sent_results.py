"""Results that somebody sends are read as they are written here, and left out otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest

from rga.errors import OutsideError
from rga.runs import find_results, locked, read_result
from rga.runs.index import Index
from rga.runs.inputs import Inputs, InputsError

GOOD = {"fingerprint": "0123456789ab", "seed": 0, "metrics": {"map": 0.5}, "config": {}, "curve": [{"epoch": 1.0}]}


def write(root: Path, content: Any, seed: str = "0") -> Path:
    path = root / "0123456789ab" / seed / "result.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_what_is_written_here_is_read(tmp_path: Path) -> None:
    assert read_result(write(tmp_path, {**GOOD, "commit": None, "inputs": None})) is not None


@pytest.mark.parametrize(
    "changed",
    [
        [],
        "text",
        7,
        {"seed": "0"},
        {"seed": "../../x"},
        {"seed": True},
        {"seed": None},
        {"metrics": [0.5]},
        {"metrics": {"map": "0.5"}},
        {"metrics": {"map": float("nan")}},
        {"metrics": {"map": True}},
        {"metrics": {"\x1b[2J": 0.5}},
        {"config": "x"},
        {"config": {"data": {"name": "\x1b]0;owned\x07"}}},
        {"curve": {}},
        {"curve": [1]},
        {"curve": [{"loss": 1.0}]},
        {"curve": [{"epoch": 1, "loss": "1"}]},
        {"data": []},
        {"inputs": {"data": [1]}},
        {"inputs": {"weights": "x"}},
        {"device": "1 x CPU\n<script>"},
        {"device": "name\u202ereversed"},
        {"duration_s": "long"},
        {"versions": ["torch"]},
    ],
)
def test_what_is_not_is_left_out(tmp_path: Path, changed: Any) -> None:
    content = {**GOOD, **changed} if isinstance(changed, dict) else changed
    write(tmp_path, content)
    with pytest.warns(UserWarning, match=r"result\.json is left out"):
        assert find_results(tmp_path) == {}


def test_nested_too_deep(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="is left out"):
        assert read_result(write(tmp_path, "[" * 100_000 + "]" * 100_000)) is None


@pytest.mark.parametrize("name", [".lock", "train.log", "index.txt.gz", "csv"])
def test_nothing_is_written_out_of_a_runs_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "run" / name).symlink_to(precious)
    with pytest.raises(OutsideError, match="is a link to"), locked(tmp_path / "run"):
        pass
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"data": 1}', '{"data": {"train": 3}}', "{}", '{"data": {}, "weights": 1}']
)
def test_damaged_inputs(tmp_path: Path, content: str) -> None:
    """They say nothing, which is not the same as agreeing."""
    (tmp_path / "inputs.json").write_text(content)
    with pytest.raises(InputsError, match=r"inputs\.json is damaged"):
        Inputs(Index(()), None).check(tmp_path)
