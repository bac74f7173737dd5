"""`rerun=true` makes a finished run anew and takes nothing away before its successor is there."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from rga.runs import RERUN, RESULT, Run, find_results
from rga.training.signals import StoppedError
from training.command import SMALL, what_counts
from training.inside import At, make, signalled

STOP = signalled(signal.SIGTERM, 2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rerun") / "runs"


@pytest.fixture
def finished(made: Path, cache: Path) -> Path:
    """The folder of a finished run."""
    make(made)
    (path,) = made.glob("*/*/result.json")
    return path.parent


def contents(folder: Path) -> dict[str, bytes]:
    names = (RESULT, "last.ckpt", "inputs.json", "index.txt.gz")
    return {name: (folder / name).read_bytes() for name in names}


def test_the_old_run_stays_until_the_new_one_is_there(
    finished: Path, made: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before, result = contents(finished), json.loads((finished / RESULT).read_text())
    with pytest.raises(StoppedError):
        make(made, "rerun=true", at=STOP)
    assert contents(finished) == before
    assert len(find_results(made)) == 1
    make(made)
    assert "finished before" in capfd.readouterr().err
    assert contents(finished) == before

    again = make(made, "rerun=true")
    assert "resuming from" in capfd.readouterr().err
    assert what_counts(again) == what_counts(result)
    assert again["finished_at"] >= result["finished_at"]
    assert contents(finished)[RESULT] != before[RESULT]
    assert not (finished / RERUN).exists()

    make(made, "rerun=true")
    assert "resuming from" not in capfd.readouterr().err


@pytest.mark.parametrize("moved", [0, 1, 3, 100])
def test_killed_while_it_takes_the_place(
    finished: Path, made: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    """After some of its files have moved: there is a result at any time, and the next command moves the rest."""
    replace, count = Path.replace, [0]

    class KilledError(BaseException):
        pass

    def kill(self: Path, target: Path) -> Path:
        if self.parent.name == RERUN and not self.name.startswith("."):
            if count[0] == moved or self.name == RESULT:
                raise KilledError
            count[0] += 1
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", kill)
        with pytest.raises(KilledError):
            make(made, "rerun=true")
    assert (finished / RESULT).exists()
    new = (finished / RERUN / RESULT).read_bytes()
    make(made)
    assert (finished / RESULT).read_bytes() == new
    assert not (finished / RERUN).exists()
    assert (finished / "last.ckpt").exists()


def test_killed_with_its_result_and_started_again_it_is_not_trained_again(
    finished: Path, made: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class KilledError(BaseException):
        pass

    def kill(self: Run) -> None:
        if (self.folder / RERUN / RESULT).exists():
            raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Run, "settle", kill)
        with pytest.raises(KilledError):
            make(made, "rerun=true")
    new = (finished / RERUN / RESULT).read_bytes()
    capfd.readouterr()
    make(made, "rerun=true")
    assert "finished before" in capfd.readouterr().err
    assert (finished / RESULT).read_bytes() == new


def test_made_anew_of_other_data(finished: Path, made: Path) -> None:
    """What is resumed is of the same data; `rerun=true` begins anew where it is not."""
    data = made.parent / "data"
    for name in ("A", "B"):
        shutil.copytree(data / "demo" / "market1501", data / name)
        (data / name / "demo.json").unlink()
    next(path for path in sorted((data / "B").rglob("*.jpg")) if "train" in str(path.parent)).unlink()
    real = [line for line in SMALL if "data.demo" not in line]

    def run(root: str, *overrides: str, at: At | None = None) -> dict[str, Any]:
        place = f"data.root={data / root}"
        return make(made.parent / "real", place, "data.demo=null", *overrides, small=real, at=at)

    with pytest.raises(StoppedError):
        run("A", at=STOP)
    images = run("B", "rerun=true")["data"]["train"]["images"]
    assert run("A", "rerun=true")["data"]["train"]["images"] == images + 1
