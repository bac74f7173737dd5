"""One image from disk, decoded as a viewer displays it."""

import io
import struct
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageFile

from rga.errors import DataError
from rga.files import instead

# What a file may be. Pillow looks at its content, not at its name, and for some other formats (EPS) it starts programs.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")
SUFFIXES = (
    ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip

_UPRIGHT = {  # from what the EXIF tag Orientation says
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # TIFF's tags
_GAMMA = 1 / 2.2  # what a PNG says that is meant for a screen, and what is taken where nothing is said
_DAMAGED = (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError)  # Pillow's readers raise them


def load(path: Path, size: tuple[int, int] | None = None, *, labelled: bool = False) -> NDArray[np.uint8]:
    """Decode an image to RGB as it is displayed, (H, W, 3), resized to `size` = (H, W) where it has another.

    Pillow's bilinear filter, as in the authors' code: it averages over what it shrinks. Displayed means: upright as
    EXIF says, transparent parts on white, colours of an embedded profile (or a PNG's gamma) as sRGB, 16 bits as 8.

    Args:
        path: the file.
        size: (H, W).
        labelled: whether another file has a label for each pixel: then an image that is to be turned is an error, as
            nobody knows whether its label is.

    Raises:
        DataError: the file is missing, damaged, cut off or no image; or what it displays is not known: numbers without
            a range (32-bit integers, floats), or several images in one file.
    """
    try:
        with Image.open(path, formats=formats()) as file:
            expect_one(file)
            _mend_transparency(file)
            if file.format != "TIFF":  # which Pillow turns when it decodes it
                file.load()
            turn = _UPRIGHT.get(orientation(file))
            if turn is not None and labelled:
                raise ValueError(
                    "EXIF says that it is to be turned or mirrored, but not whether its label is: remove that"
                )
            image = _colours(file, path)
            if turn is not None and file.format != "TIFF":
                image = image.transpose(turn)
            if size is not None and image.size != (size[1], size[0]):
                image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return np.asarray(image)
    except _DAMAGED as error:
        raise DataError(f"cannot read the image {path}: {_why(path, error)}") from error


def _why(path: Path, error: BaseException) -> str:
    with suppress(OSError):
        if (other := instead(path)) is not None:
            return f"it is {other}"
    return str(error)


def shape(path: Path) -> tuple[int, int]:
    """(H, W) of an image as `load` gives it, from the head of its file."""
    try:
        with Image.open(path, formats=formats()) as file:
            # A TIFF's size is that of the upright image.
            lying = file.format != "TIFF" and orientation(file) in _LYING
            return (file.width, file.height) if lying else (file.height, file.width)
    except _DAMAGED as error:
        raise DataError(f"cannot read the image {path}: {_why(path, error)}") from error


def expect_one(file: Image.Image) -> None:
    """Stop at an open file of several images or frames; the first one of a phone's MPO is the image."""
    if file.format != "MPO" and (count := getattr(file, "n_frames", 1)) > 1:
        raise ValueError(f"it holds {count} images or frames: which one is meant? Save that one alone")


def stored_as(file: ImageFile.ImageFile) -> str:
    """Pillow's raw mode of an open file that is not yet decoded: `L;4` is grey of 4 bits, which it scales to 8."""
    arguments = file.tile[0].args if file.tile else ""
    return str(arguments[0]) if isinstance(arguments, tuple) else str(arguments)


def orientation(file: Image.Image) -> int:
    """What EXIF says of an open file, 1 to 8; 1 where it says nothing, or is damaged."""
    try:
        found = file.getexif().get(ExifTags.Base.Orientation, 1)
    except (*_DAMAGED, KeyError, TypeError):
        return 1
    return found if isinstance(found, int) else 1


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """The formats that are opened, as Pillow names them: for some others, such as EPS, it starts programs."""
    Image.init()
    return tuple(format for format in FORMATS if format in Image.OPEN)  # an older Pillow knows no AVIF


def _colours(file: Image.Image, path: Path) -> Image.Image:
    """RGB of a decoded file of any mode.

    Raises:
        ValueError: the mode's numbers have no known range, or Pillow does not convert it.
    """
    image, profile = file, file.info.get("icc_profile")
    if file.mode.startswith("I;16") or (file.mode == "I" and file.format == "PPM"):
        image = _eight_bits(file)
    elif file.mode in ("I", "F"):
        kind = "32-bit integers" if file.mode == "I" else "floats"
        raise ValueError(f"its pixels are {kind}, whose black and white are not known: save it in 8 or 16 bits")
    alpha = None
    if image.has_transparency_data and not _without_alpha(file, path):
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    if profile:
        image = _as_srgb(image, profile)
    elif (gamma := _gamma(file)) is not None:
        table = [round(255 * (value / 255) ** (_GAMMA / gamma)) for value in range(256)]
        image = image.convert("RGB").point(3 * table)
    image = image.convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
    return image


def _gamma(file: Image.Image) -> float | None:
    """What a PNG says of its gamma, where that is another than a screen's and none that nobody can mean."""
    gamma: float | None = file.info.get("gamma")
    if gamma is None or "srgb" in file.info or not 0.1 < gamma < 10:
        return None
    return gamma if abs(gamma / _GAMMA - 1) > 0.05 else None


def _mend_transparency(file: ImageFile.ImageFile) -> None:
    """The colour that a PNG declares transparent, in the numbers that its pixels will have."""
    if (colour := file.info.get("transparency")) is None:
        return
    stored = stored_as(file)
    if "16" in stored:
        raise ValueError("it has 16 bits and a transparent colour: save it in 8 bits")
    if stored in ("L;2", "L;4"):
        file.info["transparency"] = colour * 255 // (2 ** int(stored[2:]) - 1)


def _without_alpha(file: Image.Image, path: Path) -> bool:
    """Whether the fourth byte of a TGA's pixels means nothing, as its head says; Pillow takes it for alpha."""
    if file.format != "TGA":
        return False
    with path.open("rb") as head:
        return head.read(18)[17] & 15 == 0


def _eight_bits(file: Image.Image) -> Image.Image:
    """A grey image of 16 bits (or TIFF's 12), which Pillow would clip at 255."""
    tags = getattr(file, "tag_v2", {})
    top = 4095 if tags.get(_BITS) == (12,) else 65535
    values = np.asarray(file).astype(np.int64).clip(0, top)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = top - values
    return Image.fromarray(((values * 255 + top // 2) // top).astype(np.uint8))


def _as_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The colours that a profile means; one that is damaged, or of other channels, counts as none."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        flat = image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")
        to_srgb = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), flat.mode, "RGB")
        if flat.mode == "RGB" and _changes_nothing(to_srgb):
            return image
        found = ImageCms.applyTransform(flat, to_srgb)
    except (ImageCms.PyCMSError, *_DAMAGED):
        return image
    return found or image


def _changes_nothing(to_srgb: ImageCms.ImageCmsTransform) -> bool:
    """Whether a profile is sRGB, whatever it calls itself: all colours stay within rounding."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    found = ImageCms.applyTransform(Image.fromarray(colours), to_srgb)
    return found is not None and bool((np.abs(np.asarray(found).astype(int) - colours) <= 2).all())
