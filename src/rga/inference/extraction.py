"""`rga extract`: the features of a folder's images in one file, in steps that a kill does not undo.

OUT/features.safetensors    `features` (N, D) float32; the metadata say of which weights and of which folder
OUT/names.json              the N images, relative to the folder, sorted
OUT/parts/                  while it is not complete: the same for a part of the images each
"""

import hashlib
import json
import logging
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import IO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from rga.data.progress import watched
from rga.errors import DataError
from rga.files import atomic_file
from rga.inference.features import Extractor, find
from rga.runs import locked

log = logging.getLogger("rga")

FEATURES, NAMES = "features.safetensors", "names.json"
_PART = 1024  # images in a part


@dataclass(frozen=True)
class Features:
    """Features (N, D) float32 of the images `names`, relative to `folder`; `skipped` did not decode."""

    features: Tensor
    names: list[str]
    folder: Path
    skipped: list[str] = field(default_factory=list)


def extract(extractor: Extractor, folder: Path, out: Path, skip_unreadable: bool = False) -> Features:
    """Write the features of all images in a folder, or resume where an earlier start was stopped.

    Args:
        extractor: with the trained network.
        folder: images, also in folders below it.
        out: where the features go.
        skip_unreadable: leave out images that do not decode; else the first one stops the extraction.

    Raises:
        DataError: no images, one that does not decode, a full disk; or `out` holds features of other weights or of
            other images. What was there stays.
        FolderBusyError: another process is extracting into `out`.
    """
    _expect_utf8(folder.absolute())
    names = find(folder)
    whole = {**extractor.identity, "listing": _listing(folder, names), "folder": str(folder.absolute())}
    if not _holds(out / FEATURES, whole, folder):
        with writing(out / "parts" / "started"):  # before the work: whether anything can be written there
            pass
        with locked(out / "parts"):
            parts = {
                out / "parts" / f"{start // _PART:06d}.safetensors": names[start : start + _PART]
                for start in range(0, len(names), _PART)
            }
            missing = {
                file: part
                for file, part in parts.items()
                if not _holds(file, {**extractor.identity, "listing": _listing(folder, part)}, folder)
            }
            work = _parts(extractor, folder, missing, skip_unreadable)
            for _ in watched(work, "extracting", sum(map(len, missing.values()))):
                pass
            _merge(parts, out, whole, extractor.channels)
    _remove_parts(out / "parts")
    return read(out, extractor)


def read(out: Path, extractor: Extractor) -> Features:
    """What `extract` wrote. Where the folder of its images is at hand, they are as they were then; else that is logged.

    Raises:
        DataError: there is nothing, it is damaged or not finite, it is of other weights than the extractor's, or its
            images have changed since.
    """
    try:
        with safe_open(out / FEATURES, "pt") as file:
            metadata, features = file.metadata() or {}, file.get_tensor("features")
        names = json.loads((out / NAMES).read_text(encoding="utf-8"))
        skipped = json.loads(metadata.get("skipped", "[]"))
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise DataError(f"no features in {out.absolute()}, or damaged ones: {error}") from error
    _compare(out / FEATURES, metadata, extractor.identity)
    if not _are_names(names) or not _are_names(skipped) or "folder" not in metadata:
        raise DataError(f"no features in {out.absolute()}, or damaged ones: {NAMES} is no list of the images' names")
    _expect_shape(out / FEATURES, features, (len(names), extractor.channels))
    for name in (*names, *skipped):
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts or "\0" in name:
            raise DataError(f"{out / NAMES}: {name!r} leads out of the folder of the images")
    if not all(bool(part.isfinite().all()) for part in features.split(_PART)):
        raise DataError(f"{out / FEATURES} holds features that are not finite: remove it, and extract them again")
    _expect_same_images(out / FEATURES, Path(metadata["folder"]), [*names, *skipped], metadata.get("listing"))
    return Features(features, names, Path(metadata["folder"]), skipped)


def _expect_same_images(file: Path, folder: Path, names: list[str], listing: str | None) -> None:
    if not folder.is_dir():
        log.warning("%s: not compared with its images, as there is no folder %s", file, folder)
        return
    try:
        same = _listing(folder, sorted(names)) == listing
    except OSError:
        same = False
    if not same:
        raise DataError(
            f"{file} holds features of images that are not in {folder} any more, or that have changed since: extract "
            "them again into another folder, or remove this one"
        )


def _are_names(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _expect_shape(file: Path, features: Tensor, shape: tuple[int, int]) -> None:
    if features.shape != shape or features.dtype != torch.float32:
        kind = f"{' x '.join(map(str, features.shape)) or 'one number'} of {str(features.dtype).removeprefix('torch.')}"
        raise DataError(f"{file} is damaged: it holds {kind}, expected {shape[0]} x {shape[1]} of float32; remove it")


def _expect_utf8(folder: Path) -> None:
    """Before the work: the file of the features says of which folder they are, in UTF-8."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{folder}: this name is not UTF-8, so the features could not say where their images are: rename the "
            "folder, or name a link to it"
        ) from None


def _parts(
    extractor: Extractor, folder: Path, missing: Mapping[Path, Sequence[str]], skip_unreadable: bool
) -> Iterator[Path]:
    """Write parts; gives each image when it is done."""
    for file, names in missing.items():
        done: list[str] = []
        features = [torch.empty(0, extractor.channels)]
        try:
            for paths, batch in extractor([folder / name for name in names], skip_unreadable):
                done += [path.relative_to(folder).as_posix() for path in paths]
                features.append(batch)
                yield from paths
        except DataError as error:
            raise DataError(
                f"{error}\nWhat was done is kept in {file.parent}. Mend or remove the image, or add "
                "--skip-unreadable, and start again"
            ) from error
        metadata = {**extractor.identity, "listing": _listing(folder, names), "names": json.dumps(done)}
        with writing(file) as target:
            target.write(save({"features": torch.cat(features)}, metadata))


def _merge(parts: Mapping[Path, Sequence[str]], out: Path, metadata: dict[str, str], channels: int) -> None:
    """Put the parts together, one at a time: together they may be larger than the memory."""
    names: list[str] = []
    for part, wanted in parts.items():
        names += _names_of(part, wanted, channels)
    done = set(names)
    skipped = [name for part in parts.values() for name in part if name not in done]
    metadata = metadata | ({"skipped": json.dumps(skipped)} if skipped else {})
    with writing(out / NAMES) as target:
        target.write(json.dumps(names, indent=0).encode())
    tensor = {"dtype": "F32", "shape": [len(names), channels], "data_offsets": [0, 4 * len(names) * channels]}
    header = json.dumps({"__metadata__": metadata, "features": tensor}).encode()
    header += b" " * (-len(header) % 8)
    with writing(out / FEATURES) as target:
        target.write(struct.pack("<Q", len(header)) + header)
        for part in parts:
            target.write(load_file(part)["features"].numpy().tobytes())


def _names_of(part: Path, wanted: Sequence[str], channels: int) -> list[str]:
    """The images of a part that were read; it may be of a folder that somebody has sent."""
    with safe_open(part, "pt") as file:
        metadata, features = file.metadata(), file.get_tensor("features")
    try:
        names = json.loads(metadata["names"])
    except (KeyError, ValueError, RecursionError):
        names = None
    if not _are_names(names) or not set(names) <= set(wanted):
        raise DataError(f"{part} is damaged: it does not name its images; remove it")
    _expect_shape(part, features, (len(names), channels))
    return list(names)


def _remove_parts(folder: Path) -> None:
    """Remove what was written there, and nothing else."""
    with suppress(OSError):
        for path in [*folder.glob("[0-9]" * 6 + ".safetensors"), folder / "started", folder / ".lock"]:
            path.unlink(missing_ok=True)
        folder.rmdir()


def _holds(file: Path, expected: Mapping[str, str], folder: Path) -> bool:
    """Whether a file of features is there and whole; DataError where it holds others than expected."""
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
    except (FileNotFoundError, SafetensorError):
        return False
    except OSError as error:  # as from disks whose files cannot be mapped into memory
        raise DataError(f"cannot read {file}: {error}") from error
    _compare(file, metadata, {name: value for name, value in expected.items() if name not in ("listing", "folder")})
    if metadata.get("listing") != expected["listing"]:
        raise DataError(
            f"{file} holds features of images that are not those in {folder.absolute()}, or that have changed since: "
            "choose another folder for these features, or remove that one"
        )
    return True


def _compare(file: Path, metadata: Mapping[str, str], expected: Mapping[str, str]) -> None:
    for what, value in expected.items():
        if metadata.get(what) != value:
            raise DataError(
                f"{file} holds features of another run or setting ({what}: {metadata.get(what)}, now {value}): choose "
                "another folder for these features, or remove that one"
            )


def _listing(folder: Path, names: Iterable[str]) -> str:
    """A name for images: of what they are called, their sizes and times."""
    stats = ((name, (folder / name).stat()) for name in names)
    listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:20]


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """`atomic_file`, whose errors are the user's."""
    try:
        with atomic_file(path) as file:
            yield file
    except OSError as error:
        raise DataError(f"cannot write {path}: {error}") from error
