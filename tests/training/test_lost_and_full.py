"""A disk that is full, and a checkpoint that is cut off: what was saved is kept, and the run resumes from it."""

import errno
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from rga.cli.problems import message_of
from rga.errors import ConfigError
from rga.inference.trained import load
from rga.runs.state import read_state
from training.command import what_counts
from training.inside import At, make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture
def whole(folder: Path, cache: Path) -> tuple[Any, Any]:
    return what_counts(make(folder / "whole"))


def test_a_full_disk_keeps_the_checkpoint_before(
    folder: Path, whole: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second checkpoint is written half; PyTorch hides the system's error behind one of its own."""

    def half(content: Any, file: Any) -> None:
        file.write(b"half")
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            raise RuntimeError("unexpected pos 3202240 vs 3202134")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="unexpected pos") as raised:
        make(folder / "full", at=At(1, 0, lambda: patched.setattr(torch, "save", half)))
    (last,) = (folder / "full").glob("*/*/last.ckpt")
    line = message_of(raised.value)
    assert line is not None
    assert str(last) in line
    assert "the same command resumes" in line
    assert "\n" not in line
    assert torch.load(last, weights_only=True)["epoch"] == 0
    assert [path.name for path in last.parent.glob(".*.writing*")] == []
    state = read_state(last.parent)
    assert state is not None
    assert (state.saved, state.error) == (1, "no space is left on the disk")
    assert what_counts(make(folder / "full")) == whole


def test_a_truncated_checkpoint_is_named(folder: Path, whole: tuple[Any, Any]) -> None:
    make(folder / "cut")
    (last,) = (folder / "cut").glob("*/*/last.ckpt")
    (last.parent / "result.json").unlink()
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2])
    with pytest.raises(ConfigError, match=r"last\.ckpt is .*, or remove it, and the run begins anew"):
        make(folder / "cut")
    last.unlink()
    assert what_counts(make(folder / "cut")) == whole


def test_a_checkpoint_with_a_flipped_bit_is_named(folder: Path, whole: tuple[Any, Any]) -> None:
    """PyTorch reads the tensors of a zip file without a look at their checksums."""
    make(folder / "flipped")
    (last,) = (folder / "flipped").glob("*/*/last.ckpt")
    (last.parent / "result.json").unlink()
    content = bytearray(last.read_bytes())
    with zipfile.ZipFile(last) as file:
        largest = max(file.infolist(), key=lambda part: part.file_size)
    content[largest.header_offset + largest.file_size // 2] ^= 1
    last.write_bytes(content)
    torch.load(last, weights_only=True)  # without a word
    with pytest.raises(ConfigError, match=rf"last\.ckpt is damaged.*{largest.filename} in it has another checksum"):
        make(folder / "flipped")


def test_another_runs_checkpoint_is_not_resumed(folder: Path, whole: tuple[Any, Any]) -> None:
    make(folder / "two")
    (last,) = (folder / "two").glob("*/0/last.ckpt")
    other = last.parent.parent / "1" / "last.ckpt"
    other.parent.mkdir()
    other.write_bytes(last.read_bytes())
    with pytest.raises(ConfigError, match=r"/1/last\.ckpt is of run \w{12}/0, not of \w{12}/1\. Nothing is resumed"):
        make(folder / "two", "seed=1")
    result = json.loads((last.parent / "result.json").read_text())
    result["seed"] = result["config"]["seed"] = 1
    (other.parent / "result.json").write_text(json.dumps(result))
    with pytest.raises(ConfigError, match=r"is of run \w{12}/0, the result beside it of \w{12}/1"):
        load(other.parent)
