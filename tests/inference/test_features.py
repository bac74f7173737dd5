"""`rga extract` and `rga search`, with a tiny network that nobody has trained."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from typer.testing import CliRunner

from rga.cli.app import app
from rga.data import decoding
from rga.errors import ConfigError, DataError
from rga.inference import extraction as extraction
from rga.inference.extraction import extract, read
from rga.inference.features import Extractor, find
from rga.inference.searching import draw, search
from rga.inference.trained import load
from rga.runs import FolderBusyError, locked
from rga.tasks import ReID
from untrained import CIFAR, SMALL, write_run

SIZE = (64, 32)
NAMES = ["0001_c1s1_000001_00.jpg", "0001_c2s1_000001_00.png", "sub/0001_c1s1_000009_00.JPG", "sub/0002_c1s1_1_00.webp",
         "sub/-1_c3s1_000001_00.bmp", "z/0000_c3s1_000001_00.png", "z/holiday.jpeg"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        yield write_run(tmp_path_factory.mktemp("features"), *SMALL, "data.test_batch=2")


@pytest.fixture(scope="module")
def extractor(run: Path) -> Extractor:
    return Extractor(load(run, kind=ReID))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven images of different kinds and sizes, and what is none."""
    folder = tmp_path / "images"
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 4, 3), dtype=np.uint8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((30 + number, 60), Image.Resampling.BILINEAR).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / "._0001_c1s1_000001_00.jpg").write_bytes(b"what a file browser left")
    return folder


def plain(extractor: Extractor, folder: Path, names: list[str], mirrored: bool = False) -> torch.Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = torch.from_numpy(np.stack([decoding.load(folder / name, SIZE) for name in names]))
    images = ((pixels / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        after: torch.Tensor = extractor.network(images.flip(3) if mirrored else images)[1]
    return after


def test_images_are_normalised_as_in_the_run(tmp_path: Path, cache: Path) -> None:
    of = ["+recipe.augment.mean=[0.5,0.5,0.5]", "+recipe.augment.std=[0.25,0.5,1]"]
    extractor = Extractor(load(write_run(tmp_path, *SMALL, *of), kind=ReID))
    white = extractor.normalize(torch.full((1, 3, 1, 1), 255))
    torch.testing.assert_close(white.flatten(), torch.tensor([2.0, 1.0, 0.5]))
    assert extractor.identity["normalisation"] == "mean [0.5, 0.5, 0.5], std [0.25, 0.5, 1]"


def test_features_are_those_of_the_network(extractor: Extractor, folder: Path, tmp_path: Path) -> None:
    found = extract(extractor, folder, tmp_path / "out")
    assert found.names == sorted(NAMES)
    assert json.loads((tmp_path / "out/names.json").read_text()) == found.names
    assert found.features.dtype == torch.float32
    torch.testing.assert_close(found.features, plain(extractor, folder, found.names), rtol=0, atol=1e-5)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"features.safetensors", "names.json"}
    before = (tmp_path / "out/features.safetensors").stat().st_mtime_ns
    assert torch.equal(extract(extractor, folder, tmp_path / "out").features, found.features)
    assert (tmp_path / "out/features.safetensors").stat().st_mtime_ns == before


def test_the_feature_that_is_asked_for(run: Path, extractor: Extractor, folder: Path, tmp_path: Path) -> None:
    before = Extractor(load(run, ["++task.feature=before_bn"]))
    found = extract(before, folder, tmp_path / "before").features
    neck = before.network.neck
    with torch.no_grad():
        torch.testing.assert_close(neck(found), extract(extractor, folder, tmp_path / "after").features)
    names = find(folder)
    mean = (plain(extractor, folder, names) + plain(extractor, folder, names, mirrored=True)) / 2  # BN is affine
    both = Extractor(load(run, ["++task.flip=true"]))
    torch.testing.assert_close(extract(both, folder, tmp_path / "flip").features, mean, rtol=0, atol=1e-4)
    with pytest.raises(DataError, match=r"another run or setting \(feature: after_bn, now after_bn, flip\)"):
        extract(both, folder, tmp_path / "after")


def test_what_was_done_is_not_done_again(
    extractor: Extractor, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the third of four parts, it is resumed there, and the file is the same, byte for byte."""
    monkeypatch.setattr(extraction, "_PART", 2)
    whole, out = tmp_path / "whole", tmp_path / "out"
    extract(extractor, folder, whole)
    load_picture = decoding.load
    loaded: list[Path] = []

    def interrupted(path: Path, size: tuple[int, int]) -> object:
        if path.name == sorted(NAMES)[4].rpartition("/")[2] and not loaded:
            raise KeyboardInterrupt
        return load_picture(path, size)

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "load", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract(extractor, folder, out)
    assert sorted(path.stem for path in (out / "parts").glob("*.safetensors")) == ["000000", "000001"]
    assert not (out / "features.safetensors").exists()

    def counted(path: Path, size: tuple[int, int]) -> object:
        loaded.append(path)
        return load_picture(path, size)

    monkeypatch.setattr(decoding, "load", counted)
    extract(extractor, folder, out)
    assert sorted(loaded) == sorted(folder / name for name in sorted(NAMES)[4:])
    for name in ("features.safetensors", "names.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert not (out / "parts").exists()


def test_two_extractions_into_one_folder(extractor: Extractor, folder: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "out" / "parts"), pytest.raises(FolderBusyError, match="another process is working in"):
        extract(extractor, folder, tmp_path / "out")
    assert len(extract(extractor, folder, tmp_path / "out").names) == len(NAMES)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["features.safetensors", "names.json"]


def test_a_picture_that_does_not_decode(
    extractor: Extractor, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "_PART", 2)
    out, broken = tmp_path / "out", folder / sorted(NAMES)[3]
    content = broken.read_bytes()
    broken.write_bytes(content[:50])
    with pytest.raises(DataError, match=f"{broken.name}(.|\n)*kept in {out / 'parts'}(.|\n)*--skip-unreadable"):
        extract(extractor, folder, out)
    assert (out / "parts/000000.safetensors").exists()
    skipped = extract(extractor, folder, tmp_path / "skipped", skip_unreadable=True)
    assert skipped.names == [name for name in sorted(NAMES) if name != sorted(NAMES)[3]]
    torch.testing.assert_close(skipped.features, plain(extractor, folder, skipped.names), rtol=0, atol=1e-5)
    broken.write_bytes(content)  # mended, it is resumed
    assert extract(extractor, folder, out).names == sorted(NAMES)
    for name in NAMES:
        (folder / name).write_bytes(b"")
    assert extract(extractor, folder, tmp_path / "none", skip_unreadable=True).features.shape == (0, 128)


def test_other_pictures_and_other_weights(extractor: Extractor, run: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract(extractor, folder, out)
    shutil.move(folder, tmp_path / "moved")  # is no change
    extract(extractor, tmp_path / "moved", out)
    (tmp_path / "moved" / NAMES[0]).unlink()
    with pytest.raises(DataError, match="images that are not those in"):
        extract(extractor, tmp_path / "moved", out)
    state = torch.load(run / "last.ckpt", weights_only=True)
    state["state_dict"]["neck.running_mean"] += 1
    torch.save(state, tmp_path / "other.ckpt")
    other = Extractor(load(tmp_path / "other.ckpt", SMALL))
    for refused in (lambda: extract(other, tmp_path / "moved", out), lambda: read(out, other)):
        with pytest.raises(DataError, match=r"another run or setting \(weights"):
            refused()
    with safe_open(out / "features.safetensors", "pt") as file:
        assert file.metadata()["size"] == "64 x 32"


def test_folders_that_do_not_do(extractor: Extractor, folder: Path, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError, match=r"no images .* there is no such folder"):
        extract(extractor, tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        search(extractor, tmp_path / "empty", tmp_path / "empty")
    Image.new("RGB", (4, 4)).save(tmp_path / "empty/a.png")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write"):
        extract(extractor, tmp_path / "empty", tmp_path / "file")
    with pytest.raises(DataError, match="cannot write"):
        draw(search(extractor, folder, folder), SIZE, tmp_path / "file" / "ranks.png")
    cifar = write_run(tmp_path, *CIFAR, classes=10)
    with pytest.raises(ConfigError, match="a run of Classification, expected one of ReID"):
        load(cifar, kind=ReID)
    with pytest.raises(ConfigError, match=r"task Classification: .*flip"):
        load(cifar, ["++task.flip=true"])


def test_matches_are_ranked_as_the_protocol_has_it(extractor: Extractor, folder: Path, tmp_path: Path) -> None:
    names = sorted(NAMES)
    features = F.normalize(plain(extractor, folder, names))
    query = names.index("0001_c1s1_000001_00.jpg")
    scores = features @ features[query]
    # not itself, not the same person in the same camera, no junk
    allowed = [n for n in range(len(names)) if n != query and not names[n].startswith(("sub/0001_c1", "sub/-1"))]
    expected = [names[n] for n in sorted(allowed, key=lambda n: -float(scores[n]))]
    extract(extractor, folder, tmp_path / "out")
    for gallery in (folder, tmp_path / "out"):
        (ranking,) = search(extractor, gallery, folder / names[query])
        assert [match.name for match in ranking.matches] == expected
        best = scores[[names.index(name) for name in expected]].tolist()
        assert [match.score for match in ranking.matches] == pytest.approx(best, abs=1e-5)
        told = {match.name: match.right for match in ranking.matches}
        assert told["0001_c2s1_000001_00.png"] is True
        assert told["sub/0002_c1s1_1_00.webp"] is False
        assert told["z/0000_c3s1_000001_00.png"] is False
        assert told["z/holiday.jpeg"] is None
        assert [m.name for m in search(extractor, gallery, folder / names[query], top=2)[0].matches] == expected[:2]
        assert (ranking.same_camera, ranking.junk) == (1, 1)
        assert str(ranking).endswith("      left out: 1 of the same person by the same camera, 1 of junk")
    (unknown,) = search(extractor, folder, folder / "z/holiday.jpeg")
    assert len(unknown.matches) == len(names) - 1  # nothing is known, nothing is left out
    assert {match.right for match in unknown.matches} == {None}
    assert "left out" not in str(unknown)
    (tmp_path / "query").mkdir()
    shutil.copy(folder / names[query], tmp_path / "query" / names[query])  # another file: then itself is one more
    assert search(extractor, folder, tmp_path / "query")[0].same_camera == 2


def test_rank_lists_are_drawn(extractor: Extractor, folder: Path, tmp_path: Path) -> None:
    rankings = search(extractor, folder, folder, top=3)
    assert [ranking.name for ranking in rankings] == sorted(NAMES)
    draw(rankings, SIZE, tmp_path / "a.png")
    draw(rankings, SIZE, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as sheet:
        pixels = np.asarray(sheet).astype(int)
    height, width = pixels.shape[0] // len(rankings), (pixels.shape[1] - 18) // 4
    green, red, grey = ([0, 160, 0], [210, 0, 0], [150, 150, 150])
    for row, ranking in enumerate(rankings):
        line = pixels[6 + row * height + 1]  # through the upper frames
        colours = [line[6 + 12 * (column > 0) + column * width + 20].tolist() for column in range(4)]
        said = {True: green, False: red, None: grey}
        assert colours == [[0, 0, 0], *(said[match.right] for match in ranking.matches)]
    assert "the first 20 of 21 queries" in draw(rankings * 3, SIZE, tmp_path / "c.png")


def test_the_commands(run: Path, folder: Path, tmp_path: Path) -> None:
    def rga(*arguments: object) -> str:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert done.exit_code == 0, done.output
        return done.output

    assert "features of 7 images, 128 numbers each" in rga("extract", run, folder, tmp_path / "out", "--flip")
    printed = rga("search", run, tmp_path / "out", folder, "--flip", "--top", 1, "--out", tmp_path / "ranks.png")
    assert printed.count("   1  ") == len(NAMES)
    assert (tmp_path / "ranks.png").exists()
    failed = CliRunner().invoke(app, ["search", str(run), str(folder), str(folder), "--out", "ranks.txt"])
    assert "ranks.txt: images are written as" in str(failed.exception)


def test_a_result_is_no_image_of_the_next_search(extractor: Extractor, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "query").mkdir()
    shutil.copy(folder / NAMES[0], tmp_path / "query" / "a.jpg")
    extract(extractor, folder, tmp_path / "out")
    for gallery in (folder, tmp_path / "out"):
        with pytest.raises(DataError, match=r"ranks\.png lies in .*images: it would be taken for an image"):
            search(extractor, gallery, tmp_path / "query", out=folder / "sub" / "ranks.png")
        with pytest.raises(DataError, match=r"ranks\.png lies in .*query"):
            search(extractor, gallery, tmp_path / "query", out=tmp_path / "query" / "ranks.png")
        assert search(extractor, gallery, tmp_path / "query" / "a.jpg", out=tmp_path / "query" / "ranks.png")


def test_features_that_are_not_finite(run: Path, folder: Path, tmp_path: Path, extractor: Extractor) -> None:
    broken = Extractor(load(run, kind=ReID))
    with torch.no_grad():
        next(broken.network.parameters()).fill_(torch.nan)
    for used in (lambda: extract(broken, folder, tmp_path / "out"), lambda: search(broken, folder, folder)):
        with pytest.raises(ConfigError, match=rf"features of 2 of 2 images are not finite, the first is .*{NAMES[0]}"):
            used()
    found = extract(extractor, folder, tmp_path / "kept")
    content, start = (tmp_path / "kept/features.safetensors").read_bytes(), -4 * found.features.numel()
    content = content[:start] + np.array(np.nan, np.float32).tobytes() + content[start + 4 :]
    (tmp_path / "kept/features.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="holds features that are not finite"):
        read(tmp_path / "kept", extractor)


SENT: dict[str, tuple[Callable[[dict[str, str], Tensor, list[Any]], tuple[Any, Any, Any]], str]] = {
    "no metadata": (lambda _, features, names: (None, features, names), "of another run or setting"),
    "skipped is no JSON": (lambda of, features, names: (of | {"skipped": "["}, features, names), "damaged ones"),
    "skipped is no list": (
        lambda of, features, names: (of | {"skipped": "3"}, features, names),
        "no list of the images",
    ),
    "names are no texts": (lambda of, features, names: (of, features, [3, *names[1:]]), "no list of the images' names"),
    "one number": (
        lambda of, features, names: (of, features.sum(), names),
        "holds one number of float32, expected 7",
    ),
    "narrower": (lambda of, features, names: (of, features[:, 1:].contiguous(), names), "is damaged: it holds 7 x"),
    "halves": (lambda of, features, names: (of, features.half(), names), "of float16, expected 7 x .* of float32"),
    "a name too few": (lambda of, features, names: (of, features, names[1:]), "expected 6 x"),
    "NUL": (lambda of, features, names: (of, features, ["a\0.jpg", *names[1:]]), "leads out of the folder"),
}


@pytest.mark.parametrize("kind", SENT)
def test_features_that_somebody_has_sent(extractor: Extractor, folder: Path, tmp_path: Path, kind: str) -> None:
    found = extract(extractor, folder, tmp_path / "out")
    with safe_open(tmp_path / "out/features.safetensors", "pt") as file:
        metadata = file.metadata()
    change, message = SENT[kind]
    metadata, features, names = change(metadata, found.features, list(found.names))
    save_file({"features": features}, tmp_path / "out/features.safetensors", metadata)
    (tmp_path / "out/names.json").write_text(json.dumps(names))
    with pytest.raises(DataError, match=message):
        search(extractor, tmp_path / "out", folder)


def test_parts_that_somebody_has_sent(
    extractor: Extractor, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "_remove_parts", lambda folder: None)
    extract(extractor, folder, tmp_path / "out")
    (tmp_path / "out/features.safetensors").unlink()
    part = tmp_path / "out/parts/000000.safetensors"
    with safe_open(part, "pt") as file:
        metadata, features = file.metadata(), file.get_tensor("features")
    save_file({"features": features}, part, metadata | {"names": '["../other.jpg"]'})
    with pytest.raises(DataError, match=r"000000\.safetensors is damaged: it does not name its images; remove it"):
        extract(extractor, folder, tmp_path / "out")


def test_a_folder_whose_name_is_not_utf8(extractor: Extractor, folder: Path, tmp_path: Path) -> None:
    other = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    shutil.copytree(folder, other)
    with pytest.raises(DataError, match="this name is not UTF-8"):
        extract(extractor, other, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "link").symlink_to(other)
    assert len(extract(extractor, tmp_path / "link", tmp_path / "out").names) == 7


def test_skipped_pictures_are_counted_and_named(
    run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(extraction, "_PART", 2)
    logging.getLogger("rga").propagate = True
    broken = [sorted(NAMES)[0], sorted(NAMES)[4]]
    for name in broken:
        (folder / name).write_bytes(b"nothing")
    arguments = ["extract", str(run), str(folder), str(tmp_path / "out"), "--skip-unreadable"]
    for _ in range(2):  # the second time nothing is extracted
        printed = CliRunner().invoke(app, arguments)
        assert f"2 images that do not decode are left out: {', '.join(broken)}" in printed.output
        assert "features of 5 images" in printed.output
    reasons = [message for message in caplog.messages if message.startswith("left out: cannot read the image")]
    assert [any(name in reason for reason in reasons) for name in broken] == [True, True]
    assert any("1 is left out (no images by their names): notes.txt" in message for message in caplog.messages)


def test_only_what_was_written_is_removed(extractor: Extractor, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out/parts").mkdir(parents=True)
    (tmp_path / "out/parts/mine.txt").write_text("mine")
    extract(extractor, folder, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/parts").iterdir()] == ["mine.txt"]


def test_features_of_images_that_have_changed_are_not_searched(
    extractor: Extractor, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = folder / extract(extractor, folder, tmp_path / "out").names[0]
    search(extractor, tmp_path / "out", folder, top=1)
    before = image.read_bytes()
    for change in (lambda: image.write_bytes(before + b" "), image.unlink):
        change()
        with pytest.raises(DataError, match=r"not in .* any more, or that have changed since"):
            search(extractor, tmp_path / "out", folder)
    folder.rename(tmp_path / "moved")
    search(extractor, tmp_path / "out", tmp_path / "moved", top=1)
    assert "not compared with its images" in caplog.text
