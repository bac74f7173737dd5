"""Runs on data of one's own, to their results."""

import csv
import re
from pathlib import Path

import pytest

from rga.data.demo import writers
from rga.data.marker import MARKER
from rga.data.reid import holdout
from rga.errors import DataError
from rga.runs.inputs import InputsError
from rga.training import loop
from training.command import what_counts
from training.inside import make

PARTS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A holdout of synthetic people in Market-1501's layout, not marked as such: to be taken for anybody's own."""
    folder = tmp_path_factory.mktemp("own")
    root = writers.write_market1501(
        folder / "market", identities=15, test_identities=1, images=2, distractors=0, junk=0
    )
    holdout.write("market1501", root, folder / "holdout")
    (folder / "holdout" / MARKER).unlink()
    (folder / "market" / MARKER).unlink()
    return folder / "holdout"


def as_table(folder: Path, file: Path) -> Path:
    """From the names alone, last images first."""
    with file.open("w", newline="") as out:
        lines = csv.writer(out)
        lines.writerow(["path", "identity", "camera", "split"])
        for path in sorted(folder.glob("*/*.jpg"), reverse=True):
            identity, camera = re.match(r"(\d{4})_c(\d)", path.name).groups()
            lines.writerow([path.relative_to(folder), identity, camera, PARTS[path.parent.name]])
    return file


@pytest.mark.slow
def test_markets_holdout_as_a_table_gives_the_same_metrics(cut: Path, tmp_path: Path) -> None:
    """Bit for bit, the learning curve as well; and a table of other labels is another input."""
    file, real = as_table(cut, tmp_path / "people.csv"), ["data.demo=null", "recipe.epochs=2"]
    by_names = make(tmp_path / "names", *real, "data=market1501_holdout", f"data.root={cut}")
    own = [*real, "data=reid_table", f"data.table={file}", f"data.root={cut}"]
    by_table = make(tmp_path / "table", *own)
    assert what_counts(by_table) == what_counts(by_names)
    assert by_table["queries"] == by_names["queries"]
    assert by_table["data"] == {**by_names["data"], "name": "reid_table"}
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], *reversed(lines[1:])]))
    make(tmp_path / "table", *own)  # the order of the lines is no matter: finished before
    train = next(number for number, line in enumerate(lines) if line.endswith("train"))
    lines[train] = re.sub(r",\d{4},", ",9999,", lines[train])
    file.write_text("\n".join(lines))
    loop._index.cache_clear()  # of this process
    with pytest.raises(InputsError, match="made of other inputs than these: as many images, but not the same"):
        make(tmp_path / "table", *own)


@pytest.mark.slow
def test_synthetic_people_in_a_table_are_not_real_ones(tmp_path: Path) -> None:
    root = writers.write_reid_table(tmp_path / "set", identities=6, test_identities=2, images=2)
    with pytest.raises(DataError, match="holds synthetic images in the layout of reid_table"):
        make(
            tmp_path / "runs",
            "data=reid_table",
            f"data.table={root / 'table.csv'}",
            f"data.root={root}",
            "data.demo=null",
        )
