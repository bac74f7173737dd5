"""Which queries count: by labels alone, against the evaluation, and what says so."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rga.data import ReIDData, Sample, Split, check, matches
from rga.data.base import in_words
from rga.data.reid import market1501, msmt17
from rga.errors import DataError
from rga.metrics import evaluate_ranking


def samples(*seen: tuple[int, int]) -> list[Sample]:
    return [Sample(Path(f"{place}.jpg"), identity, camera) for place, (identity, camera) in enumerate(seen)]


def write(root: Path, **parts: list[str]) -> Path:
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        (root / part).mkdir(parents=True)
        for name in parts.get(part, ["0007_c1s1_000001_00.jpg", "0008_c1s1_000001_00.jpg"]):
            Image.new("RGB", (8, 16)).save(root / part / name)
    return root


@pytest.mark.parametrize("seed", range(20))
def test_as_many_as_the_evaluation_counts(seed: int) -> None:
    random = np.random.default_rng(seed)
    query, gallery = (
        samples(*random.integers((0, 1), (random.integers(2, 12), random.integers(2, 5)), (size, 2)).tolist())
        for size in (30, 20)
    )
    counted = len(query) - len(matches.unmatched(query, gallery))
    labels = [np.array([getattr(s, key) for s in part]) for key in ("identity", "camera") for part in (query, gallery)]
    features = random.standard_normal((50, 4))
    if counted:
        assert evaluate_ranking(features[:30], features[30:], *labels).valid_queries == counted
    else:
        with pytest.raises(ValueError, match="true match"):
            evaluate_ranking(features[:30], features[30:], *labels)


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        ([(1, 3), (2, 3)], [(1, 3), (2, 3)], "all query and gallery images are of camera 3"),
        ([(1, 1)], [(2, 2), (3, 2)], "none of the 1 identities of the queries is in the gallery"),
        ([(1, 1), (2, 2)], [(1, 1), (2, 2)], "none of the 2 queries has a match"),
        ([], [(1, 1)], "there are no query images"),
        ([(1, 1)], [], "there are no gallery images"),
    ],
)
def test_what_cannot_be_tested_on(query: list[tuple[int, int]], gallery: list[tuple[int, int]], message: str) -> None:
    split = Split([], samples(*query), samples(*gallery))
    with pytest.raises(DataError, match=f"^somewhere: the protocol cannot be run: {message}"):
        matches.verify(split, Path("somewhere"))
    assert not matches.notes(split)


def test_it_stops_before_training(tmp_path: Path) -> None:
    """All of one camera, as where somebody's names say `c1` throughout."""
    root = write(tmp_path / "set", query=["0001_c1s1_000001_00.jpg"], bounding_box_test=["0001_c1s1_000002_00.jpg"])
    module = ReIDData(market1501.read, root, (16, 8), identities=2, images=2)
    with pytest.raises(DataError, match=r"of camera 1, but a match is an image .* from another camera"):
        module.prepare_data()
    report = check("market1501_holdout", root)
    assert not report.ok
    assert "the protocol cannot be run: all query and gallery images are of camera 1" in str(report)


def test_a_result_says_how_many_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write(
        tmp_path / "set",
        query=["0001_c1s1_000001_00.jpg", "0002_c1s1_000001_00.jpg", "0003_c2s1_000001_00.jpg"],
        bounding_box_test=["0001_c2s1_000001_00.jpg", "0002_c1s1_000002_00.jpg"],
    )
    module = ReIDData(market1501.read, root, (16, 8), identities=2, images=2)
    module.prepare_data()
    with caplog.at_level(logging.INFO, "rga"):
        logging.getLogger("rga").propagate = True
        module.setup("test")
    assert module.summary["query"] == {"images": 3, "identities": 3, "counted": 1}
    said = (
        "2 of 3 queries do not count, as another camera has no gallery image of their identity: "
        "0002_c1s1_000001_00.jpg, 0003_c2s1_000001_00.jpg"
    )
    assert caplog.messages == [said]
    report = check("market1501_holdout", root)
    assert report.ok  # nothing is wrong with that
    assert said in str(report).splitlines()
    assert in_words(module.summary["query"]) == (
        "3 images (1 counted, the others have no match in another camera), 3 identities"
    )
    assert in_words({"images": 3000, "identities": 2, "counted": 3000}) == "3,000 images, 2 identities"


def test_other_layouts_say_it_as_well(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part / "0000").mkdir(parents=True)
        for camera in (1, 2):
            Image.new("RGB", (8, 16)).save(tmp_path / part / "0000" / f"0000_000_{camera:02d}_x_0.jpg")
    for name in msmt17.LISTS:
        (tmp_path / name).write_text("0000/0000_000_01_x_0.jpg 0\n")
    assert "the protocol cannot be run: all query and gallery images are of camera 1" in str(
        check("msmt17_v1", tmp_path)
    )
