"""What all sets of images with a label for each pixel share: finding, pairing, decoding and checking their files."""

import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from rga.data import audit, counts, decoding
from rga.data.base import IGNORED, UNKNOWN, Colour, Scene, SceneSplit, shorten
from rga.data.listing import left_out
from rga.errors import DataError

Pixels = NDArray[np.uint8]

_EXACT = ("BMP", "DIB", "PNG", "PPM", "TGA", "TIFF")  # what is written is what is read


def pair(folder: Path, images: Iterable[tuple[str, Path]], labels: Iterable[tuple[str, Path]]) -> list[Scene]:
    """The scenes of a split in the order of their names, which is the same on every file system.

    Args:
        folder: where the images lie, for messages.
        images: their names and files.
        labels: the same names with the files of the labels.

    Raises:
        DataError: there is none, a partner is missing, or two files have one name.
    """
    found, partners = _by_name(images), _by_name(labels)
    if not found and not partners:
        raise DataError(f"no images in {folder}: is the data set unpacked completely?")
    for here, there, what in ((found, partners, "no label"), (partners, found, "a label and no image")):
        if alone := sorted(here.keys() - there.keys()):
            raise DataError(
                f"{len(alone)} images in {folder} have {what}: {shorten([str(here[name]) for name in alone])}"
            )
    return [Scene(found[name], partners[name], name) for name in sorted(found)]


def _by_name(files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for written, path in files:
        name = unicodedata.normalize("NFC", written)  # macOS and some archives have é as two signs
        if name in found:
            raise DataError(f"{found[name]} and {path} have one name: keep one of them")
        found[name] = path
    return found


def load(scene: Scene, lookup: Pixels, painted: Mapping[Colour, int] | None = None) -> tuple[Pixels, Pixels]:
    """Decode a scene: the image, (H, W, 3) RGB, and its labels, (H, W), as `lookup` or `painted` translates them.

    Raises:
        DataError: a file cannot be decoded, the two have different sizes, or a label has a number or a colour that does
            not exist.
    """
    image, label = decoding.load(scene.image, labelled=True), labels(scene.label, lookup, painted)
    if image.shape[:2] != label.shape:
        raise DataError(
            f"{scene.image} is {image.shape[0]} x {image.shape[1]} (height x width), "
            f"its label {scene.label} {label.shape[0]} x {label.shape[1]}"
        )
    return image, label


def labels(path: Path, lookup: Pixels, painted: Mapping[Colour, int] | None = None) -> Pixels:
    """Decode a label, (H, W): the numbers of its pixels, in 8 or more bits (-1 is 255), or their colours.

    Args:
        path: the file.
        lookup, painted: see `SceneSplit`.

    Raises:
        DataError: it cannot be decoded, or has a number or a colour that does not exist.
    """
    by_colour = painted is not None and not (lookup < UNKNOWN).any()  # the classes have colours alone
    found, palette = _decode(path, by_colour)
    if by_colour and palette:
        if found.max() >= len(palette):
            raise DataError(f"the label {path} has pixels of the colour {found.max()} of a palette of {len(palette)}")
        found = np.array(palette, np.uint8)[found]
    if found.ndim == 3 and painted is not None:
        return _from_colours(path, found, painted)
    if found.ndim != 2 or not np.issubdtype(found.dtype, np.integer):
        raise DataError(
            f"the label {path} is an image in colours or without whole numbers: "
            "expected one number for each pixel, its label"
        )
    if found.dtype != np.uint8 and lookup[255] == IGNORED:
        found = np.where(np.isin(found, (-1, 2**16 - 1, 2**32 - 1)), 255, found)  # -1, also as numbers without a sign
    present = np.unique(found)
    wrong = [number for number in present.tolist() if not 0 <= number < 256 or lookup[number] == UNKNOWN]
    if wrong:
        raise DataError(
            f"{path} has labels that do not exist: {shorten([*map(str, wrong)])}; "
            f"there are {', '.join(map(_range, _runs(np.flatnonzero(lookup != UNKNOWN).tolist())))}"
        )
    colours = {number: palette[number] for number in present.tolist() if number < len(palette)}
    if painted and colours and all(colour in painted for colour in colours.values()):
        differ = [number for number, colour in colours.items() if painted[colour] != lookup[number]]
        if differ:
            raise DataError(
                f"the palette of {path} paints the number {differ[0]} in the colour of another class: the numbers are "
                "not those of the data set. Save it as RGB, and its colours are read"
            )
    translated: Pixels = lookup[found]
    return translated


def _decode(path: Path, by_colour: bool = False) -> tuple[NDArray[Any], list[Colour]]:
    """The numbers of a label's pixels, (H, W), or their colours, (H, W, 3); and the palette, if it has one.

    `by_colour`: what is grey, or black and white, is wanted as colours as well.
    """
    try:
        with Image.open(path, formats=decoding.formats()) as file:  # others start programs
            decoding.expect_one(file)
            scale = _scale(file)
            file.load()
            if decoding.orientation(file) != 1:
                raise ValueError("EXIF says that it is to be turned or mirrored: remove that")
            values = file.getpalette("RGB") or [] if file.mode == "P" else []
            if file.mode in ("RGB", "RGBA") or (by_colour and file.mode in ("1", "L", "LA")):
                found = np.asarray(file.convert("RGB"))
            else:
                found = np.asarray(file.getchannel(0) if file.mode == "LA" else file)
                found = found // scale if scale > 1 else found
                found = found.astype(np.uint8) if file.mode == "1" else found
            if found.ndim == 3 and len(file.getbands()) > 2 and file.mode not in ("RGB", "RGBA"):
                raise ValueError(f"its colours are stored as {file.mode}: save it as PNG")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # all that Pillow's readers raise
        raise DataError(f"cannot read the label {path}: {error}") from error
    flat = iter(values)
    return found, list(zip(flat, flat, flat, strict=False))


def _scale(file: ImageFile.ImageFile) -> int:
    """By what Pillow multiplies the numbers of an open label when it decodes it.

    Raises:
        ValueError: what it decodes are not the numbers that were written.
    """
    if file.format not in _EXACT or file.info.get("compression") in ("jpeg", "webp"):
        kind = file.format if file.format not in _EXACT else f"{file.format} compressed as {file.info['compression']}"
        raise ValueError(f"it is {kind}, whatever its name, which changes numbers and colours: labels are PNG")
    stored = decoding.stored_as(file)
    if isinstance(found := file.tile[0].args, tuple) and file.format == "PPM" and found[1] not in (255, 65535):
        raise ValueError(f"its largest value is said to be {found[1]}, not 255: save it as PNG")
    if stored.startswith(("L;", "1;")) and "I" in stored:
        raise ValueError("it is stored as a negative (white is zero): save it as PNG")
    bits = {"L;2": 2, "L;2R": 2, "L;4": 4, "L;4R": 4}.get(stored, 8)
    return 255 // (2**bits - 1)


def _from_colours(path: Path, found: Pixels, painted: Mapping[Colour, int]) -> Pixels:
    """(H, W, 3) -> (H, W)."""
    codes = found.astype(np.int64) @ (1 << 16, 1 << 8, 1)
    known = sorted((red << 16 | green << 8 | blue, label) for (red, green, blue), label in painted.items())
    keys, values = (np.array(column) for column in zip(*known, strict=True))
    places = np.searchsorted(keys, codes).clip(max=len(keys) - 1)
    if (unknown := np.unique(codes[keys[places] != codes])).size:
        colours = [str((code >> 16, code >> 8 & 255, code & 255)) for code in unknown.tolist()]
        raise DataError(
            f"the label {path} has colours that no class has: {shorten(colours)}; there are "
            f"{', '.join(map(str, painted))}"
        )
    return values[places].astype(np.uint8)


def verify(split: SceneSplit, parts: Iterable[str]) -> None:
    """Stop where labels are read without an error, but not as they are meant.

    Raises:
        DataError: no pixel of a split counts, or all that count are of one class; or the labels are in another code,
            see `SceneSplit`.
    """
    for part in parts:
        scenes = split.parts[part]
        present: set[int] = set()
        for scene in scenes:
            present |= {*np.unique(labels(scene.label, split.lookup, split.painted)).tolist()} - {IGNORED}
            if len(present) > 1:
                break
        if not present:
            raise DataError(
                f"no pixel of the split {part} counts: its {len(scenes)} labels, such as {scenes[0].label}, are void "
                "everywhere. Labels of a test split are often withheld (rga predict --ids writes what is handed in "
                "there); else these are not the labels"
            )
        if len(present) == 1 < len(split.classes):
            raise DataError(
                f"of the split {part} all pixels that count are of {split.classes[present.pop()]}: none of its "
                f"{len(scenes)} labels, such as {scenes[0].label}, has another class. Where masks have the numbers "
                "0 and 255, the second class has the id 255, and nothing is ignored"
            )
        if split.mistake is not None:
            code, what = split.mistake
            if all(set(np.unique(_decode(scene.label)[0]).tolist()) <= code for scene in scenes[:20]):
                raise DataError(f"the labels of the split {part}, such as {scenes[0].label}, {what}")


def _runs(numbers: list[int]) -> list[list[int]]:
    """Sorted numbers in runs of neighbours."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _range(run: list[int]) -> str:
    return f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}"


def _label(scene: Scene, split: SceneSplit) -> Pixels:
    return load(scene, split.lookup, split.painted)[1]


def check(
    split: SceneSplit, folder: Path, root: Path, name: str, published: dict[str, tuple[int, int]]
) -> audit.Report:
    """What `rga data check` says: every image and label is decoded, and the classes that occur are counted."""
    found, problems, details, notes = {}, [], [], []
    for part, scenes in split.parts.items():
        present, wrong = audit.attempt(scenes, lambda scene: np.bincount(_label(scene, split).ravel(), minlength=256))
        times = np.sum([np.zeros(256, np.int64), *present], axis=0)
        pixels = dict(zip(split.classes, times.tolist(), strict=False))
        found[part] = (len(scenes), sum(count > 0 for count in pixels.values()))
        details.append(f"{part}: {counts.shares(pixels, int(times[IGNORED]))}")
        if absent := [name for name, count in pixels.items() if not count]:
            notes.append(f"no pixel of {part} is of {len(absent)} of the classes: {shorten(absent)}")
        problems += wrong
        if not wrong:
            try:
                verify(split, [part])
            except DataError as error:
                problems.append(str(error))
    rows, source = audit.rows(folder, found, published)
    # Without a split that is needed the set cannot be read.
    notes += [f"the split {part} is not there, and nothing needs it" for part in published if part not in found]
    notes += left_out(folder, split.others)
    return audit.Report(name, root, ("images", "classes"), rows, source, problems, notes, details)
