"""The published sizes: those that the readers know, each in its own place and unit."""

from typing import Any

import pytest

from rga.data.reid import cuhk03_lists, dukemtmc, market1501, msmt17
from rga.data.scenes import camvid, cityscapes
from rga.paths import CONF
from rga.runs.published import IMAGES, unpublished

MARKET = {name: counts[0] for name, counts in market1501.PUBLISHED.items()}


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("dukemtmc", dukemtmc.PUBLISHED),
        ("msmt17_v1", msmt17.PUBLISHED),
        ("msmt17_v2", msmt17.PUBLISHED),
        ("cuhk03_labeled", cuhk03_lists.PUBLISHED["labeled"]),
        ("cuhk03_detected", cuhk03_lists.PUBLISHED["detected"]),
        ("cityscapes", cityscapes.PUBLISHED),
        ("camvid", camvid.PUBLISHED),
    ],
)
def test_they_are_the_readers(name: str, published: dict[str, tuple[int, ...]]) -> None:
    assert IMAGES[name] == {split: counts[0] for split, counts in published.items()}


def test_those_of_market1501() -> None:
    """Its distractors belong to the gallery."""
    gallery = MARKET["gallery"] + MARKET["distractors"]
    assert IMAGES["market1501"] == {"train": MARKET["train"], "query": MARKET["query"], "gallery": gallery}
    assert all((CONF / "data" / f"{name}.yaml").is_file() for name in IMAGES)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({}, "not the published set: query 38 images of 3,368"),
        ({"name": "mine"}, ""),
        ({"demo": {"seed": 0}}, ""),
        ({"train_identities": 32}, "not the published set: query 38 images of 3,368"),
    ],
)
def test_in_what_a_set_differs(data: dict[str, Any], told: str) -> None:
    counts: dict[str, Any] = {"train": {"images": 12_936}, "query": {"images": 38}}
    if "train_identities" in data:
        counts["train"] = {"images": 600}
    assert unpublished({"data": {"name": "market1501", **data}}, counts) == told
