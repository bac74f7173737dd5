"""Files that are damaged or cannot be written: one line that names the file and what to do; what was saved is kept."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from rga.errors import DiskFullError
from rga.runs import Run
from rga.training.checkpoints import CheckpointError
from training.command import what_counts
from training.inside import At, make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture
def whole(folder: Path, cache: Path) -> tuple[Any, Any]:
    return what_counts(make(folder / "whole"))


def message(error: pytest.ExceptionInfo[BaseException]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_full_disk_keeps_the_checkpoint_before(folder: Path, whole: tuple[Any, Any]) -> None:
    """The file that is written beside the checkpoint is one that has no room, as the system itself has it."""

    def fill() -> None:
        (last,) = (folder / "full").glob("*/*/last.ckpt")
        last.with_name(".last.ckpt.writing").symlink_to("/dev/full")

    with pytest.raises(CheckpointError) as raised:
        make(folder / "full", at=At(1, 0, fill))
    (last,) = (folder / "full").glob("*/*/last.ckpt")
    assert message(raised).startswith(f"the checkpoint {last} could not be written: the disk is full")
    assert "the one before it is kept" in message(raised)
    assert torch.load(last, weights_only=True)["epoch"] == 0
    assert what_counts(make(folder / "full")) == whole


def test_a_full_disk_at_the_end(folder: Path, whole: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "result.json")

    with monkeypatch.context() as patched:
        patched.setattr(Run, "write_result", full)
        with pytest.raises(DiskFullError, match=r"the disk is full .*: result\.json"):
            make(folder / "end")
    assert what_counts(make(folder / "end")) == whole


def test_a_truncated_checkpoint_is_named(folder: Path, whole: tuple[Any, Any]) -> None:
    make(folder / "cut")
    (last,) = (folder / "cut").glob("*/*/last.ckpt")
    (last.parent / "result.json").unlink()
    content = last.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"\0" * 1000):
        last.write_bytes(damaged)
        with pytest.raises(CheckpointError) as raised:
            make(folder / "cut")
        assert message(raised).startswith(f"the checkpoint {last} is damaged (")
        assert "remove it, and the same command begins the run anew" in message(raised)
    last.unlink()
    assert what_counts(make(folder / "cut")) == whole
