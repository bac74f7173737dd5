"""Decoded scenes on disk: the same pixels, decoded once, and anew where a file has changed."""

import logging
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from rga.data import SceneData
from rga.data.base import Scene
from rga.data.scenes import annotated, camvid
from rga.data.scenes.decoded import Decoded
from rga.errors import DataError

LOOKUP = np.arange(256, dtype=np.uint8)


@pytest.fixture
def scenes(tmp_path: Path) -> list[Scene]:
    random, found = np.random.default_rng(0), []
    for name in ("a", "b"):
        scene = Scene(tmp_path / f"{name}.png", tmp_path / f"{name}_label.png", name)
        Image.fromarray(random.integers(0, 256, (9, 14, 3), np.uint8)).save(scene.image)
        Image.fromarray(random.integers(0, 9, (9, 14), np.uint8)).save(scene.label)
        found.append(scene)
    return found


def test_the_same_pixels_decoded_once(scenes: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [annotated.load(scene, LOOKUP) for scene in scenes]
    decoded, plain = Decoded(tmp_path / "cache", LOOKUP), Decoded(None, LOOKUP)
    decoded.prepare(scenes)
    for load in (plain.load, decoded.load):
        for scene, (image, label) in zip(scenes, expected, strict=True):
            assert all(map(np.array_equal, load(scene), (image, label)))
    monkeypatch.setattr(annotated, "load", None)
    for scene, (image, label) in zip(scenes, expected, strict=True):
        assert all(map(np.array_equal, decoded.load(scene), (image, label)))


def test_another_meaning_of_the_labels_is_another_file(scenes: list[Scene], tmp_path: Path) -> None:
    Decoded(tmp_path / "cache", LOOKUP).load(scenes[0])
    shifted = Decoded(tmp_path / "cache", np.roll(LOOKUP, -1)).load(scenes[0])[1]
    assert np.array_equal(shifted, 1 + annotated.load(scenes[0], LOOKUP)[1])


def test_what_has_changed_is_decoded_anew_and_said(
    scenes: list[Scene], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    decoded = Decoded(tmp_path / "cache", LOOKUP)
    for scene in scenes:
        decoded.load(scene)
    Image.fromarray(np.zeros((9, 14, 3), np.uint8)).save(scenes[0].image)
    os.utime(scenes[0].image, (1, 1))
    assert not decoded.load(scenes[0])[0].any()
    with caplog.at_level(logging.INFO, "rga"):
        decoded.prepare(scenes)
    assert "1 decoded images" in caplog.text
    assert "2 of 2; the others take 0 bytes" in caplog.text
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_the_size_is_said_and_has_to_be_there(
    scenes: list[Scene], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = Decoded(tmp_path / "cache", LOOKUP)
    with caplog.at_level(logging.INFO, "rga"):
        decoded.prepare(scenes)
    assert "0 of 2; the others take 1,008 bytes" in caplog.text
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(DataError, match=r"take 1,008 bytes, and 1,000 are free.*data.cache=null"):
        decoded.prepare(scenes)


def test_a_training_batch_is_the_same(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        for folder, image in (
            (part, np.full((30, 40, 3), 77, np.uint8)),
            (f"{part}annot", np.eye(30, 40, dtype=np.uint8)),
        ):
            (tmp_path / folder).mkdir()
            Image.fromarray(image).save(tmp_path / folder / "0.png")
    found = []
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        module = SceneData(camvid.read, tmp_path, (17, 25), 2, 2, workers=0, cache=cache)
        module.prepare_data()
        module.setup("fit")
        found.append(list(module.train_dataloader()))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert all(torch.equal(one[key], two[key]) for key in one)
    assert len(list((tmp_path / "cache").glob("scene-*.npy"))) == 1


def test_a_damaged_one_is_decoded_anew(scenes: list[Scene], tmp_path: Path) -> None:
    decoded = Decoded(tmp_path / "cache", LOOKUP)
    expected = decoded.load(scenes[0])
    file = decoded.file(scenes[0])
    whole = file.read_bytes()
    for content in (b"", whole[:20], whole[:-5]):
        file.write_bytes(content)
        assert all(map(np.array_equal, decoded.load(scenes[0]), expected))
        assert file.read_bytes() == whole
