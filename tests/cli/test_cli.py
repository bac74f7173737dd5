"""The command `rga`: what it hands over to whom, its messages, and that it answers at once."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from rga.cli.app import app, main
from rga.errors import ConfigError, DataError
from rga.paths import CONF
from rga.runs import Run
from rga.runs.compose import compose
from rga.training import loop

RGA = [sys.executable, "-m", "rga"]


def invoke(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """`rga ARGUMENTS`, in this process; gives the exit status."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/rga", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> list[tuple[Any, list[str]]]:
    """What `rga.training.loop.run` was called with, and the command line at that time; it trains nothing."""
    calls: list[tuple[Any, list[str]]] = []

    def run(config: Any) -> None:
        calls.append((config, list(sys.argv)))
        if config.seed == 13:
            raise DataError("no images in data/market1501")
        if config.seed == 14:
            raise ZeroDivisionError("a mistake of ours")

    run.__module__ = "rga.training.loop"
    monkeypatch.setattr(loop, "run", run)
    monkeypatch.chdir(tmp_path)
    return calls


def test_train_is_a_hydra_application(monkeypatch: pytest.MonkeyPatch, trained: list[Any]) -> None:
    arguments = ["train", "attention=rga_s", "seed=3"]
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/rga", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    ((config, argv),) = trained
    assert (config.seed, config.attention.after) == (3, [1, 2, 3, 4])
    # Lightning repeats the command line to start the other processes of a distributed run.
    assert argv == ["/somewhere/bin/rga", *arguments]
    assert sys.argv == argv


def test_train_composes_what_tables_compose(monkeypatch: pytest.MonkeyPatch, trained: list[Any]) -> None:
    from omegaconf import OmegaConf

    assert invoke(monkeypatch, "train", "scale=demo", "attention=rga_sc") == 0
    ((config, _),) = trained
    assert OmegaConf.to_container(config, resolve=True) == compose(["scale=demo", "attention=rga_sc"])


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["-c", "job", "--resolve"], ["--help"]])
def test_hydras_own_flags_reach_hydra(
    monkeypatch: pytest.MonkeyPatch, trained: list[Any], capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert invoke(monkeypatch, "train", *flags, "seed=5") == 0
    assert not trained
    assert "seed: 5" in capsys.readouterr().out


def test_flags_stand_anywhere(monkeypatch: pytest.MonkeyPatch, trained: list[Any], tmp_path: Path) -> None:
    """Hydra itself takes overrides on one side of its flags only."""
    (tmp_path / "mine" / "attention").mkdir(parents=True)
    (tmp_path / "mine" / "attention" / "mine.yaml").write_text("block: null\nafter: [4]\n")
    words = ["hydra/launcher=basic", "-m", "seed=1,2", "--config-dir", str(tmp_path / "mine"), "attention=mine"]
    assert invoke(monkeypatch, "train", *words) == 0
    assert [(config.seed, config.attention.after) for config, _ in trained] == [(1, [4]), (2, [4])]


def test_a_file_that_hydra_would_not_read(
    monkeypatch: pytest.MonkeyPatch, trained: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two files of one name the installed one is read."""
    mine = tmp_path / "mine" / "attention"
    mine.mkdir(parents=True)
    installed = (CONF / "attention" / "rga_sc.yaml").read_text()
    (mine / "rga_sc.yaml").write_text(installed)  # of the same bytes, as in a copy of all
    assert invoke(monkeypatch, "train", f"--config-dir={mine.parent}", "attention=rga_sc") == 0
    (mine / "rga_sc.yaml").write_text(installed.replace("after: [1, 2, 3, 4]", "after: [1]"))
    for words in (["attention=rga_sc"], ["-m", "seed=0,1"], ["--explain"]):
        assert invoke(monkeypatch, "train", *words, "--config-dir", str(mine.parent)) == 1
        told = capsys.readouterr().err
        assert "rga_sc.yaml has the name of an installed config" in told
        assert "attention/my_rga_sc.yaml" in told
    assert len(trained) == 1


def test_a_sweep_by_another_launcher(monkeypatch: pytest.MonkeyPatch, trained: list[Any]) -> None:
    assert invoke(monkeypatch, "train", "-m", "seed=1,2", "hydra/launcher=basic") == 0
    assert [config.seed for config, _ in trained] == [1, 2]


def test_errors_for_the_user_have_no_traceback(
    monkeypatch: pytest.MonkeyPatch, trained: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(monkeypatch, "train", "seed=13") == 1
    told = capsys.readouterr().err
    assert "rga: no images in data/market1501" in told
    assert "Traceback" not in told
    assert invoke(monkeypatch, "train", "attention=no_such") == 1
    told = capsys.readouterr().err
    assert "no_such" in told
    assert "rga_sc" in told
    assert "Traceback" not in told
    assert invoke(monkeypatch, "table", "99") == 1
    assert capsys.readouterr().err.startswith("rga: there is no table 99; there are: 1")


def test_our_own_mistakes_have_a_traceback(
    monkeypatch: pytest.MonkeyPatch, trained: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(monkeypatch, "train", "seed=14") == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("RGA_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["rga", "table", "99"])
    with pytest.raises(ConfigError):
        main()


@pytest.fixture
def filled(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two made-up runs of Table 1 at scale=demo."""
    monkeypatch.chdir(tmp_path)
    for attention, rank1 in (("none", 0.5), ("rga_sc", 0.625)):
        config = compose(["experiment=reid", "data=market1501", f"attention={attention}", "scale=demo"])
        Run("runs", config).write_result({"metrics": {"rank1": rank1, "map": 0.25}})


@pytest.mark.slow
@pytest.mark.usefixtures("filled")
def test_table_prints_and_lists_commands() -> None:
    printed = CliRunner().invoke(app, ["table", "1", "scale=demo", "--commands"])
    assert printed.exit_code == 0
    assert "NOT results on the paper's data sets" in printed.output
    assert "62.5" in printed.output
    assert printed.output.count("experiment=reid data=market1501 attention=") == 10
    assert printed.output.count("experiment=reid data=cuhk03_labeled attention=") == 10

    printed = CliRunner().invoke(app, ["table", "1", "scale=demo", "--format", "json", "--commands"])
    table = json.loads(printed.stdout)
    assert [row["cells"][2]["ours"] for row in table["rows"]] == [50.0, *8 * [None], 62.5]
    assert printed.stderr.count("rga train") == 20


@pytest.mark.usefixtures("filled")
def test_a_damaged_result_is_told_in_one_line() -> None:
    for path in Path("runs").rglob("result.json"):
        path.write_text("{")
    printed = CliRunner().invoke(app, ["table", "1", "scale=demo"])
    assert printed.exit_code == 0
    assert [line.split(" is left out")[0].split(":")[0] for line in printed.stderr.splitlines()] == ["rga", "rga"]


@pytest.mark.slow
@pytest.mark.usefixtures("filled")
def test_table_runs_what_is_missing(trained: list[Any]) -> None:
    printed = CliRunner().invoke(app, ["table", "1", "scale=demo", "data=market1501", "--run", "hydra/launcher=basic"])
    assert len(trained) == 16  # the main rows have three seeds at this scale
    assert printed.exit_code == 0  # the fake says nothing of a failure, and leaves no result: the cells stay empty
    assert "62.5" in printed.output

    printed = CliRunner().invoke(
        app, ["table", "1", "scale=demo", "data=market1501", "--run", "hydra/launcher=basic", "seed=13"]
    )
    assert printed.exit_code == 1
    assert "10 runs failed" in printed.stderr
    assert "RGA-SC on Market1501, seed 13: rga: no images in data/market1501" in printed.stderr


def test_usage_errors() -> None:
    for arguments in (["--format", "json"], ["--run"], ["scale=demo"]):
        told = CliRunner().invoke(app, ["table", *arguments])
        assert (told.exit_code, "of which table?" in told.stderr) == (2, True)
    assert CliRunner().invoke(app, ["table", "1", "--format", "pdf"]).exit_code == 2
    assert CliRunner().invoke(app, ["bench", "nothing"]).exit_code == 2
    assert CliRunner().invoke(app, ["no-such-command"]).exit_code == 2


def test_data_demo_and_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rga.data.demo import writers

    small_one = partial(writers.write_market1501, identities=2, test_identities=2, distractors=1)
    monkeypatch.setattr(writers, "write_market1501", small_one)
    root = tmp_path / "synthetic"
    assert CliRunner().invoke(app, ["data", "demo", "market1501", str(root), "--seed", "1"]).exit_code == 0
    assert CliRunner().invoke(app, ["data", "demo", str(tmp_path / "another")]).exit_code == 0
    assert CliRunner().invoke(app, ["data", "demo", "market1501", "x", "y"]).exit_code == 2
    checked = CliRunner().invoke(app, ["data", "check", "market1501", str(root)])
    assert checked.exit_code == 0, checked.output
    next(root.rglob("*.jpg")).write_bytes(b"no image")
    assert CliRunner().invoke(app, ["data", "check", "market1501", str(root)]).exit_code == 1
    assert invoke(monkeypatch, "data", "check", "no_such", str(root)) == 1
    assert invoke(monkeypatch, "data", "demo", "no_such", str(root)) == 1


def test_bench_hands_over_to_its_function(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, calls = ModuleType("rga.bench.training_step"), []

    def measure(*, batch: int = 8, device: str = "cpu") -> dict[str, int]:
        """Measure a step."""
        calls.append((batch, device))
        return {}

    fake.main = measure  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rga.bench.training_step", fake)
    assert CliRunner().invoke(app, ["bench", "step", "--batch", "2"]).exit_code == 0
    assert calls == [(2, "cpu")]
    helped = CliRunner().invoke(app, ["bench", "step", "--help"])
    assert "Measure a step" in helped.output
    assert "blocks" in CliRunner().invoke(app, ["bench", "--help"]).output


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["table"], ["table", "1"], ["train", "--cfg", "job"]])
def test_answers_without_torch(tmp_path: Path, cache: Path, arguments: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["rga", *{arguments!r}]
from rga.cli.app import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended
assert not {{"torch", "numpy", "scipy", "matplotlib"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)


def test_configs_are_the_packages_own() -> None:
    assert (CONF / "train.yaml").is_file()


def test_status_of_a_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert invoke(monkeypatch, "status", "--runs", str(tmp_path)) == 0
    assert invoke(monkeypatch, "status", "--runs", str(tmp_path / "mistyped")) == 2
