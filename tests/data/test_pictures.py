"""Every mode and what else changes how an image is displayed: the right pixels, or an error that names the file."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image, ImageCms

from data.pngs import chunk, png
from rga.data import decoding
from rga.data.base import Scene
from rga.data.scenes import annotated
from rga.errors import DataError

Pixels = NDArray[Any]
several = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


def grey(dtype: type, most: int) -> st.SearchStrategy[Pixels]:
    return sizes.flatmap(lambda size: arrays.arrays(dtype, size, elements=st.integers(0, most)))


colour = sizes.flatmap(lambda size: arrays.arrays(np.uint8, (*size, 3)))


def rgb(image: Pixels) -> Pixels:
    return np.repeat(image[..., None], 3, axis=2)


@several
@given(values=grey(np.uint16, 65535), suffix=st.sampled_from([".png", ".tif"]))
def test_16_bits_are_scaled(tmp_path: Path, values: Pixels, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(decoding.load(path), rgb(np.floor(values / 257 + 0.5).astype(np.uint8)))


def test_16_bits_of_pgm_jpeg_2000_and_a_negative(tmp_path: Path) -> None:
    values = np.array([[0, 257, 65535, 1000]], np.uint16)
    expected = rgb(np.array([[0, 1, 255, 4]], np.uint8))
    (tmp_path / "a.pgm").write_bytes(b"P5 4 1 65535\n" + values.astype(">u2").tobytes())
    (tmp_path / "b.pgm").write_bytes(b"P5 4 1 1000\n" + np.array([[0, 4, 1000, 15]], ">u2").tobytes())
    Image.fromarray(values).save(tmp_path / "a.jp2")
    Image.fromarray(values).save(tmp_path / "a.tif")
    for name in ("a.pgm", "b.pgm", "a.jp2", "a.tif"):
        np.testing.assert_array_equal(decoding.load(tmp_path / name), expected)
    Image.fromarray(values).save(tmp_path / "n.tif", tiffinfo={262: 0})  # white is zero
    np.testing.assert_array_equal(decoding.load(tmp_path / "n.tif"), 255 - expected)


def test_12_bits_of_a_tiff(tmp_path: Path) -> None:
    """Two numbers in three bytes, as Pillow reads them and nobody here writes them."""
    tags = [(256, 3, 2), (257, 3, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 200), (277, 3, 1), (278, 3, 1),
            (279, 4, 3)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(head.ljust(200, b"\0") + bytes([0xFF, 0xF8, 0x00]))  # 4095 and 2048
    assert decoding.load(tmp_path / "a.tif")[0, :, 0].tolist() == [255, 128]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_numbers_without_a_range_are_refused(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "depth.tif"
    Image.fromarray(np.array([[0, 1000]], dtype)).save(path)
    with pytest.raises(
        DataError, match=r"cannot read the image .*depth\.tif: its pixels are .*black and white are not"
    ):
        decoding.load(path)


@several
@given(image=colour, mode=st.sampled_from(["RGB", "RGBX", "RGBA", "P", "L", "LA", "1", "CMYK"]))
def test_modes_of_8_bits_are_as_pillow_has_them(tmp_path: Path, image: Pixels, mode: str) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(image).convert("RGB").convert(mode).save(path)
    with Image.open(path) as file:
        expected = np.asarray(file.convert("RGB"))
    np.testing.assert_array_equal(decoding.load(path), expected)


@several
@given(image=sizes.flatmap(lambda size: arrays.arrays(np.uint8, (*size, 4))), mode=st.sampled_from(["RGBA", "LA"]))
def test_what_is_transparent_is_white(tmp_path: Path, image: Pixels, mode: str) -> None:
    path = tmp_path / "a.png"
    made = Image.fromarray(image) if mode == "RGBA" else Image.merge("LA", Image.fromarray(image).split()[2:])
    made.save(path)
    values, alpha = image[..., :3].astype(float), image[..., 3:] / 255
    values = values if mode == "RGBA" else rgb(image[..., 2]).astype(float)
    np.testing.assert_allclose(decoding.load(path), values * alpha + 255 * (1 - alpha), atol=1.001)


def test_a_transparent_colour_of_a_palette_or_a_png(tmp_path: Path) -> None:
    made = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    made.putpalette([10, 20, 30, 40, 50, 60])
    made.save(tmp_path / "p.png", transparency=1)
    assert decoding.load(tmp_path / "p.png").tolist() == [[[10, 20, 30], [255, 255, 255]]]
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).save(tmp_path / "c.png", transparency=(1, 2, 3))
    assert decoding.load(tmp_path / "c.png").tolist() == [[[255, 255, 255], [4, 5, 6]]]
    Image.fromarray(np.array([[7, 9]], np.uint16)).save(tmp_path / "g.png", transparency=7)
    with pytest.raises(DataError, match=r"g\.png: it has 16 bits and a transparent colour"):
        decoding.load(tmp_path / "g.png")


@pytest.mark.parametrize(
    ("bits", "kind", "row", "transparent", "expected"),
    [
        (1, 0, b"\x40", [0], [255, 255]),
        (2, 0, b"\x60", [2], [85, 255]),
        (4, 0, b"\x2b", [2], [255, 187]),
        (8, 0, b"\x02\x2b", [2], [255, 43]),
        (16, 0, b"\x02\x00\x2b\x00", [512], None),
        (16, 2, b"\x02\x00\x02\x00\x02\x00\x2b\x00\x2b\x00\x2b\x00", [512, 512, 512], None),
    ],
)
def test_a_transparent_colour_in_every_depth(
    tmp_path: Path, bits: int, kind: int, row: bytes, transparent: list[int], expected: list[int] | None
) -> None:
    """A PNG declares it in numbers of its own depth, which Pillow does not scale as it does the pixels."""
    declared = b"".join(struct.pack(">H", value) for value in transparent)
    (tmp_path / "a.png").write_bytes(png(2, bits, kind, row, chunk(b"tRNS", declared)))
    if expected is None:
        with pytest.raises(DataError, match=r"a\.png: it has 16 bits and a transparent colour"):
            decoding.load(tmp_path / "a.png")
    else:
        assert decoding.load(tmp_path / "a.png")[0, :, 1].tolist() == expected


@pytest.mark.parametrize(("alpha_bits", "expected"), [(0, 9), (8, 255)])
def test_the_fourth_byte_of_a_tga_that_declares_no_alpha(tmp_path: Path, alpha_bits: int, expected: int) -> None:
    pixels = np.array([[[9, 9, 9, 0]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.tga")
    content = bytearray((tmp_path / "a.tga").read_bytes())
    content[17] = content[17] & 0xF0 | alpha_bits
    (tmp_path / "a.tga").write_bytes(content)
    assert decoding.load(tmp_path / "a.tga").tolist() == [[[expected] * 3]]


# What EXIF's Orientation means: where row 0 and column 0 of what is stored are displayed.
TURNED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],  # top, right
    3: lambda x: x[::-1, ::-1],  # bottom, right
    4: lambda x: x[::-1],  # bottom, left
    5: lambda x: x.transpose(1, 0, 2),  # left, top
    6: lambda x: x.transpose(1, 0, 2)[:, ::-1],  # right, top
    7: lambda x: x.transpose(1, 0, 2)[::-1, ::-1],  # right, bottom
    8: lambda x: x.transpose(1, 0, 2)[::-1],  # left, bottom
}


@several
@given(image=colour, tag=st.sampled_from(sorted(TURNED)), suffix=st.sampled_from([".png", ".tif", ".webp", ".jpg"]))
def test_images_stand_upright(tmp_path: Path, image: Pixels, tag: int, suffix: str) -> None:
    path, exif = tmp_path / f"a{suffix}", Image.Exif()
    exif[0x0112] = tag
    lossless: dict[str, dict[str, Any]] = {".webp": {"lossless": True}, ".jpg": {"quality": 100, "subsampling": 0}}
    options = lossless.get(suffix, {})
    Image.fromarray(image).save(path, exif=exif, **options)
    found = decoding.load(path)
    assert decoding.shape(path) == found.shape[:2]
    expected = TURNED[tag](image)
    if suffix == ".jpg":
        with Image.open(path) as file:
            expected = TURNED[tag](np.asarray(file))
    np.testing.assert_array_equal(found, expected)
    assert decoding.load(path, (5, 3)).shape == (5, 3, 3)


def test_exif_behind_the_pixels_of_a_png(tmp_path: Path) -> None:
    exif, path = Image.Exif(), tmp_path / "a.png"
    exif[0x0112] = 6
    Image.new("RGB", (4, 2)).save(path)
    behind = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    content = path.read_bytes()
    path.write_bytes(content[:-12] + behind + content[-12:])
    assert decoding.shape(path) == decoding.load(path).shape[:2] == (4, 2)


def test_damaged_exif_says_nothing(tmp_path: Path) -> None:
    Image.new("RGB", (4, 2)).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decoding.shape(tmp_path / "a.jpg") == decoding.load(tmp_path / "a.jpg").shape[:2] == (2, 4)


def test_an_image_with_labels_has_to_be_stored_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: the sizes do not tell
    Image.new("RGB", (4, 2)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (4, 2)).save(tmp_path / "b.jpg")
    Image.new("L", (4, 2)).save(tmp_path / "a.png", exif=exif)
    Image.new("L", (4, 2)).save(tmp_path / "b.png")
    lookup = np.zeros(256, np.uint8)
    annotated.load(Scene(tmp_path / "b.jpg", tmp_path / "b.png", "b"), lookup)
    with pytest.raises(DataError, match=r"a\.jpg: EXIF says that it is to be turned"):
        annotated.load(Scene(tmp_path / "a.jpg", tmp_path / "b.png", "a"), lookup)
    with pytest.raises(DataError, match=r"a\.png: EXIF says that it is to be turned"):
        annotated.load(Scene(tmp_path / "b.jpg", tmp_path / "a.png", "a"), lookup)


def matrix_profile(gamma: float) -> bytes:
    """An ICC profile of sRGB's primaries whose curve is a power."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count = struct.unpack(">I", srgb[128:132])[0]
    curve, out = b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * gamma)), bytearray(srgb)
    place = len(out)
    for entry in range(132, 132 + 12 * count, 12):
        if bytes(out[entry : entry + 4]) in (b"rTRC", b"gTRC", b"bTRC"):
            out[entry + 4 : entry + 12] = struct.pack(">II", place, len(curve))
    out += curve + bytes(2)
    out[:4] = struct.pack(">I", len(out))
    return bytes(out).replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))


def encoded(linear: Pixels) -> Pixels:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_the_colours_of_a_profile_are_made_srgb(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(0, 256, 15, dtype=np.uint8)[None, :, None], 3, axis=2)
    image = Image.fromarray(ramp)
    image.save(tmp_path / "linear.png", icc_profile=matrix_profile(1.0))
    np.testing.assert_allclose(decoding.load(tmp_path / "linear.png"), 255 * encoded(ramp / 255), atol=1.5)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, profile in (("srgb", srgb), ("damaged", b"nothing"), ("cut", srgb[:200])):
        image.save(tmp_path / f"{name}.png", icc_profile=profile)
        np.testing.assert_array_equal(decoding.load(tmp_path / f"{name}.png"), ramp)
    named = matrix_profile(1.0).replace("test".encode("utf-16-be"), "sRGB".encode("utf-16-be"))
    image.save(tmp_path / "named.png", icc_profile=named)  # what it calls itself is not looked at
    np.testing.assert_array_equal(decoding.load(tmp_path / "named.png"), decoding.load(tmp_path / "linear.png"))
    image.convert("L").save(tmp_path / "grey.png", icc_profile=srgb.replace(b"sRGB", b"mine"))  # of other channels
    np.testing.assert_array_equal(decoding.load(tmp_path / "grey.png"), ramp)


def test_the_gamma_of_a_png(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(0, 256, 15, dtype=np.uint8)[None, :, None], 3, axis=2)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    for gamma, expected in ((1.0, 255 * (ramp / 255) ** (1 / 2.2)), (0.45455, ramp), (0, ramp), (42_000, ramp)):
        declared = chunk(b"gAMA", struct.pack(">I", round(100_000 * gamma)))
        (tmp_path / "b.png").write_bytes(content[:33] + declared + content[33:])  # behind the head
        np.testing.assert_allclose(decoding.load(tmp_path / "b.png"), expected, atol=0.501)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_several_images_in_a_file_are_refused(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=rf"a\{suffix}: it holds 2 images or frames"):
        decoding.load(tmp_path / f"a{suffix}")


def test_the_first_of_a_phones_images_is_the_image(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black")]
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert decoding.load(tmp_path / "a.jpg").min() > 250


def test_no_file_starts_a_program(tmp_path: Path) -> None:
    """PostScript is an image for Pillow, by its content: Ghostscript would run it."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, format="EPS")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    for read in (decoding.load, decoding.shape):
        with pytest.raises(DataError, match=r"cannot read the image .*a\.jpg"):
            read(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", decoding.SUFFIXES)
def test_every_suffix_is_of_a_kind_that_is_read(suffix: str) -> None:
    assert Image.registered_extensions()[suffix] in decoding.FORMATS
