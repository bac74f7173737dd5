"""`rga data check|demo` through conf/data, and that neither takes the seconds that torch needs to be imported."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rga.cli.app import app
from rga.data import audit, check, registry
from rga.data.marker import MARKER
from rga.errors import DataError
from rga.paths import CONF


def rga(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["data", *arguments])
    return done.exit_code, done.output


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "data").glob("*.yaml")))
def test_every_data_set_has_a_check(name: str, tmp_path: Path) -> None:
    report = check(name, tmp_path / "nowhere")
    assert not report.ok
    assert str(report).startswith(f"{name} in {tmp_path}")
    assert "does not exist" in str(report)


def test_a_set_of_ones_own_is_not_compared_with_the_published_one(market: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(market, tmp_path / "copy")
    (copy / MARKER).unlink()
    own, published = check("market1501_holdout", copy), check("market1501", copy)
    assert own.ok
    assert "no published counts" in str(own)
    assert own.columns == ("images", "identities", "cameras")
    assert not published.ok


def test_names_that_are_not_there() -> None:
    with pytest.raises(DataError, match=r"no reader 'imagenet'; there are: camvid, cifar10, cifar100, .*market1501"):
        registry.checker("imagenet")
    with pytest.raises(DataError, match=r"no demo data for '\.\./train'; there are: cifar10, cifar100, .*market1501"):
        registry.demo_writer("../train")


def test_further_data_sets_are_found_by_their_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "leaves"
    package.mkdir()
    (package / "leaf_set.py").write_text(
        "from rga.data.audit import Report, Row\n"
        "def read(root, kind): ...\n"
        "def check(root, name, kind):\n"
        "    return Report(name, root, ('images', 'masks'), [Row(kind, (3, 4), (3, 5))], 'the page')\n"
        "def draw(root, *, leaves=2, seed=0):\n"
        "    root.mkdir()\n"
        "    (root / 'drawn').write_text(f'{leaves} {seed}')\n"
        "def read_only(root): ...\n"
    )
    monkeypatch.syspath_prepend(package)
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "leaves.yaml").write_text(
        "kind: wild\n"
        "reader: {_target_: leaf_set.read, _partial_: true, kind: '${..kind}'}\n"
        "demo_writer: {_target_: leaf_set.draw, _partial_: true}\n"
        "batch: ${recipe.batch}\n"
    )
    (conf / "oaks.yaml").write_text("defaults: [leaves]\nkind: oak\ndemo_writer: null\n")
    (conf / "other.yaml").write_text("reader: {_target_: leaf_set_missing.read, _partial_: true}\n")
    monkeypatch.setattr(registry, "_FOLDER", conf)
    assert check("leaves", tmp_path).rows == [audit.Row("wild", (3, 4), (3, 5))]
    text = str(check("oaks", tmp_path))
    assert "oak " in text
    assert "4 != 5" in text
    assert "differ from the page" in text
    assert rga("demo", "leaves", str(tmp_path / "drawn"), "leaves=7", "--seed", "3")[0] == 0
    assert (tmp_path / "drawn" / "drawn").read_text() == "7 3"
    with pytest.raises(DataError, match=r"no demo data for 'oaks'; there are: leaves$"):
        registry.demo_writer("oaks")
    with pytest.raises(DataError, match=r"the reader of other has no check: leaf_set_missing\.check"):
        check("other", tmp_path)


def test_demo_and_check_of_cifar(tmp_path: Path) -> None:
    root = str(tmp_path / "set")
    assert rga("demo", "cifar10", root, "train=30", "test=20", "--seed", "1")[0] == 0
    code, text = rga("check", "cifar10", root)
    assert (code, "30" in text, "all is well" in text) == (0, True, True)
    path = tmp_path / "set" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-5])
    code, text = rga("check", "cifar10", root)
    assert code == 1
    assert "test_batch.bin is cut off" in text


@pytest.mark.parametrize("words", [["trian=30"], ["train=many"], ["train=5"], ["and", "more"], ["train=1.5"]])
def test_wrong_words(words: list[str], tmp_path: Path) -> None:
    assert rga("demo", "cifar10", str(tmp_path / "set"), *words)[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_neither_imports_torch(tmp_path: Path) -> None:
    code = f"""
import sys
from typer.testing import CliRunner
from rga.cli.app import app
for words in (["demo", "cifar100", {str(tmp_path / "set")!r}, "train=100", "test=100"],
              ["check", "cifar100", {str(tmp_path / "set")!r}], ["check", "market1501", "nowhere"]):
    done = CliRunner().invoke(app, ["data", *words])
    assert done.exit_code == (words[-1] == "nowhere"), done.output
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
