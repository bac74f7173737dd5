"""`rga.files`: in full or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from rga.errors import OutsideError
from rga.files import atomic_file, expect_no_links_out, instead, write_atomically


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


@pytest.mark.parametrize("shared", [False, True])
def test_whom_files_are_for_is_the_users_choice(tmp_path: Path, shared: bool) -> None:
    before = os.umask(0o002)
    try:
        with atomic_file(tmp_path / "file", shared=shared):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o664


def test_a_disk_that_syncs_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as those that virtual machines share with their host."""
    sync = os.fsync

    def refuse(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    write_atomically(tmp_path / "file", "whole")
    assert (tmp_path / "file").read_text() == "whole"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty, as after"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"\x89PNG\r\n", None),
    ],
)
def test_what_a_download_leaves(tmp_path: Path, content: bytes, what: str | None) -> None:
    (tmp_path / "file").write_bytes(content)
    found = instead(tmp_path / "file")
    assert found is what is None or (found or "").startswith(str(what))


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


@pytest.mark.parametrize("shared", [False, True])
def test_nothing_is_written_through_a_link(tmp_path: Path, shared: bool) -> None:
    """Not through one with the temporary name, nor through one with the file's own."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = tmp_path / "sent"
    folder.mkdir()
    for name in (".file.writing", "file"):
        (folder / name).symlink_to(precious)
    with atomic_file(folder / "file", shared=shared) as file:
        file.write(b"theirs")
    assert precious.read_text() == "mine"
    assert (folder / "file").read_text() == "theirs"


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_atomically(tmp_path / "there", "text")
    assert caught.value.filename == str(tmp_path / "there")
    assert list(tmp_path.iterdir()) == [tmp_path / "there"]


def test_links_out_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "sent"
    (folder / "inside").mkdir(parents=True)
    (folder / "link").symlink_to(folder / "inside")
    expect_no_links_out(folder)
    expect_no_links_out(tmp_path / "nothing")
    (folder / "out").symlink_to("../elsewhere")  # which need not be there
    with pytest.raises(OutsideError, match=r"out is a link to .*elsewhere"):
        expect_no_links_out(folder)
