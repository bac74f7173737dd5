"""The benchmark runs and reports; its numbers are not asserted."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from metrics import textbook
from rga.bench import ranking_size
from rga.data.reid.msmt17 import PUBLISHED
from rga.metrics import evaluate_ranking


def test_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(ranking_size, "_peak_memory_in_a_fresh_process", lambda *_: {"peak_mb": 1.0})
    report = ranking_size.main(size=ranking_size.Size.msmt17, queries=20, gallery=200, dims=8, rounds=1, timed=10)
    assert json.loads(json.dumps(report)) == report
    assert {"total_s", "product_s", "ranking_s", "ranking_speedup", "peak_mb"} <= report.keys()
    assert (report["queries"], report["timed_queries"], report["textbook_queries"]) == (20, 10, 10)
    printed = capsys.readouterr().out
    assert "20 x 200, 8 dimensions" in printed
    assert "from 10 queries" in printed


def test_sizes_are_the_published_ones() -> None:
    assert ranking_size.SIZES[ranking_size.Size.msmt17] == (
        *(PUBLISHED[part][0] for part in ("query", "gallery")),
        3060,
        15,
    )


def test_peak_memory_counts_the_features() -> None:
    labels = [label.numpy() for label in ranking_size.random_labels(20, 200, 8, 6)]
    before, after = ranking_size._peak_memory(labels, 8)
    assert after >= before > 220 * 8 * 4


def test_splits_are_read_and_the_textbook_agrees(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name, count, kind in (("query", 20, "uint16"), ("test", 200, "int16")):
        savemat(tmp_path / f"market1501_{name}ID.mat", {f"{name}ID": random.integers(1, 9, (count, 1)).astype(kind)})
        cameras = random.integers(1, 7, (count, 1)).astype("uint8")
        savemat(tmp_path / f"market1501_{name}Cam.mat", {f"{name}CAM": cameras})
    labels = [label.numpy() for label in ranking_size.market_labels(tmp_path)]
    query, gallery = random.standard_normal((20, 8)), random.standard_normal((200, 8))
    scores = textbook.similarity(query, gallery)
    usual, ours = ranking_size.textbook(scores, *labels), evaluate_ranking(query, gallery, *labels)
    assert (usual.rank1, usual.map) == pytest.approx((ours.cmc[0], ours.map), abs=1e-9)
