"""`rga.files`: in full or not at all."""

import stat
from pathlib import Path

import pytest

from rga.files import atomic_file, write_atomically


@pytest.mark.parametrize("shared", [False, True])
def test_an_error_leaves_what_was_there(tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "new" / "file"
    with atomic_file(path, shared=shared) as file:
        file.write(b"one")
    with pytest.raises(RuntimeError), atomic_file(path, shared=shared) as file:  # noqa: PT012
        file.write(b"two")
        raise RuntimeError
    assert path.read_bytes() == b"one"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".file.writing").write_bytes(b"half of a long one")
    with atomic_file(tmp_path / "file") as file:
        file.write(b"whole")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("file", b"whole")]


def test_two_at_once(tmp_path: Path) -> None:
    """The last to finish stays, in full."""
    path = tmp_path / "file"
    with atomic_file(path, shared=True) as one, atomic_file(path, shared=True) as other:
        one.write(b"one")
        other.write(b"the other")
    assert path.read_bytes() == b"one"
    write_atomically(path, "é")
    assert path.read_text(encoding="utf-8") == "é"
    assert len(list(tmp_path.iterdir())) == 1
