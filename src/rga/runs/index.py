"""What a data set holds, by content: a line for each image, by which another set under the same name is told apart."""

import gzip
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

_UNCOMPRESSED = (".bmp", ".dib", ".pbm", ".pgm", ".pnm", ".ppm", ".tga", ".tif", ".tiff")


@dataclass(frozen=True)
class Index:
    """A data set's images: for each a line `split, name, bytes, label`, between tabs, sorted.

    Names are relative to the folder that holds all images of the split: a set that was moved or copied has the same
    index, and a split the same lines where another one is absent.
    """

    lines: tuple[str, ...]
    images: Mapping[str, int] | None = None  # by split; None: one for each line

    @classmethod
    def of_files(cls, files: Iterable[tuple[str, Path, str]]) -> "Index":
        """From (split, path, label) of each file; its size is looked up; it is opened where that says nothing."""
        splits: dict[str, list[tuple[str, str]]] = {}
        for split, path, label in files:
            splits.setdefault(split, []).append((os.path.abspath(path), label))  # noqa: PTH100 - links stay as they are
        paths = dict.fromkeys(path for listed in splits.values() for path, _ in listed)  # folder by folder: faster
        size = {path: _content(path) for path in paths}
        lines = []
        for split, listed in splits.items():
            start = len(_top([path for path, _ in listed]).rstrip(os.sep)) + 1
            lines += [f"{split}\t{path[start:]}\t{size[path]}\t{label}" for path, label in listed]
        return cls(tuple(sorted(lines)))

    @classmethod
    def unpacked(cls, content: bytes) -> "Index":
        """From what `packed` gives; OSError, EOFError or ValueError where it is damaged."""
        text = gzip.decompress(content).decode(errors="surrogateescape")
        return cls(tuple(text.split("\n") if text else ()))  # names may have other ends of lines in them

    def packed(self) -> bytes:
        """As a file."""
        return gzip.compress(_bytes(self.lines), mtime=0)

    def only(self, *splits: str) -> "Index":
        """That of some splits."""
        images = {name: count for name, count in (self.images or {}).items() if name in splits}
        return Index(tuple(line for line in self.lines if line.partition("\t")[0] in splits), images or None)

    def without(self, split: str) -> "Index":
        """That of the other splits."""
        return self.only(*(self.splits.keys() - {split}))

    @cached_property
    def splits(self) -> dict[str, dict[str, Any]]:
        """How many images each split has, and the digest of its lines."""
        lines: dict[str, list[str]] = {}
        for line in self.lines:
            lines.setdefault(line.partition("\t")[0], []).append(line)
        return {
            split: {"images": (self.images or {}).get(split, len(own)), "digest": _sha256(_bytes(own))}
            for split, own in lines.items()
        }


def digest_of(path: Path) -> str:
    """What is in a file: 16 hexadecimal digits of its SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _bytes(lines: Sequence[str]) -> bytes:
    """As a file; a name that is not UTF-8 with the bytes that it has."""
    return "\n".join(lines).encode(errors="surrogateescape")


def _content(path: str) -> str:
    """The size of an image; where all images of one size in pixels have one size in bytes, also what is in it."""
    size = os.stat(path).st_size  # noqa: PTH116 - a hundred thousand times
    if not path.lower().endswith(_UNCOMPRESSED):
        return str(size)
    return f"{size} {digest_of(Path(path))}"


def _top(paths: Sequence[str]) -> str:
    """The folder that holds all of them."""
    top = os.path.commonpath([min(paths), max(paths)])
    return os.path.dirname(top) if top in paths else top  # noqa: PTH120


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
