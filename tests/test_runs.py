"""What names a run, and its result on disk."""

import copy
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from rga.compose import compose
from rga.runs import RESULT, FolderBusyError, Run, find_results, fingerprint, results_of

CONFIG: dict[str, Any] = {
    "seed": 0,
    "rerun": False,
    "paths": {"data": "data", "runs": "runs", "cache": ".cache"},
    "data": {"name": "market1501", "root": "data/x", "workers": 2, "cache": ".cache", "seed": 0, "size": [256, 128]},
    "backbone": {"name": "resnet50", "weights": "IMAGENET1K_V1", "trunk": {"weights": "IMAGENET1K_V1"}},
    "attention": {"block": {"reduction": 8}, "after": [1, 2, 3, 4]},
    "recipe": {"margin": 0.3, "epochs": 600},
    "trainer": {"devices": 1, "precision": "32-true", "sync_batchnorm": False},
    "logger": {"csv": {}},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    node = config
    *parents, last = path.split(".")
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return config


def test_the_fingerprint_is_the_same_everywhere_and_for_ever() -> None:
    assert fingerprint(CONFIG) == "33f1fc82e504"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 7),
        ("data.seed", 7),
        ("rerun", True),
        ("objective", "map"),
        ("paths.runs", "/elsewhere"),
        ("data.root", "/elsewhere"),
        ("data.workers", 16),
        ("data.test_batch", 7),
        ("data.download", None),
        ("data.cache", None),
        ("trainer.devices", 8),
        ("trainer.num_nodes", 2),
        ("trainer.strategy", {"_target_": "DDPStrategy"}),
        ("trainer.compile", True),
        ("trainer.channels_last", True),
        ("trainer.log_every_n_steps", 1),
        ("trainer.enable_progress_bar", False),
        ("logger", {"wandb": {"project": "x"}}),
        ("hydra", {"job": {}}),
    ],
)
def test_where_and_how_a_run_is_done_does_not_name_it(path: str, value: Any) -> None:
    assert fingerprint(changed(path, value)) == fingerprint(CONFIG)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.size", [128, 64]),
        ("recipe.margin", 0.5),
        ("recipe.new", None),
        ("attention.after", [1, 2, 3]),
        ("backbone.weights", None),
        ("trainer.precision", "bf16-mixed"),
        ("trainer.sync_batchnorm", True),
        ("trainer.limit_train_batches", 0.1),
        ("trainer.gradient_clip_val", 1.0),
    ],
)
def test_what_determines_the_result_names_it(path: str, value: Any) -> None:
    assert fingerprint(changed(path, value)) != fingerprint(CONFIG)


@pytest.mark.parametrize("trainer", ["ddp", "ddp_cpu"])
def test_the_choice_of_devices_does_not_name_a_run(trainer: str) -> None:
    assert fingerprint(compose([f"trainer={trainer}"])) == fingerprint(compose([]))


def test_a_file_of_weights_counts_by_its_name() -> None:
    def with_weights(file: str) -> str:
        config = changed("backbone.weights", file)
        config["backbone"]["trunk"]["weights"] = file
        return fingerprint(config)

    assert with_weights("/a/resnet.pth") == with_weights("b/resnet.pth") == with_weights("resnet.pth")
    assert with_weights("/a/resnet.pth") != with_weights("/a/other.pth")


def test_equal_values_are_equal() -> None:
    assert fingerprint(changed("recipe.epochs", 600.0)) == fingerprint(CONFIG)
    assert fingerprint(changed("data.size", (256, 128))) == fingerprint(CONFIG)
    assert fingerprint(dict(reversed(CONFIG.items()))) == fingerprint(CONFIG)
    assert fingerprint(changed("recipe.epochs", True)) != fingerprint(changed("recipe.epochs", 1))


def test_result_is_written_and_found(tmp_path: Path) -> None:
    runs = [Run(tmp_path, changed("seed", seed)) for seed in (10, 2)]
    assert not runs[0].finished
    for run in runs:
        run.write_result({"metrics": {"map": 0.5}})
    assert runs[0].folder == tmp_path / fingerprint(CONFIG) / "10"
    assert runs[0].finished
    found = find_results(tmp_path)
    assert [result["seed"] for result in found[fingerprint(CONFIG)]] == [2, 10]
    assert found[fingerprint(CONFIG)][1]["config"] == runs[0].config
    assert find_results(tmp_path, ["000000000000"]) == {}
    assert find_results(tmp_path / "absent") == {}


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, CONFIG)
    run.write_result({"metrics": {"map": 0.5}})

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.write_result({"metrics": {"map": 0.9}})
    assert [path.name for path in run.folder.iterdir()] == [RESULT]
    result = run.result()
    assert result is not None
    assert result["metrics"] == {"map": 0.5}


@pytest.mark.parametrize(
    "text",
    ["", '{"metrics": {"ma', "[]", '{"seed": 0}', '{"metrics": {}, "fingerprint": "other", "seed": 0}', b"\xff\xfe"],
)
def test_a_damaged_result_is_named_and_left_out(tmp_path: Path, text: str | bytes) -> None:
    good, bad = Run(tmp_path, changed("seed", 1)), Run(tmp_path, CONFIG)
    good.write_result({"metrics": {}})
    bad.folder.mkdir(parents=True)
    (bad.folder / RESULT).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.warns(UserWarning, match=f"{bad.folder.name}/{RESULT} is left out"):
        found = results_of(tmp_path, good.fingerprint)
    assert [result["seed"] for result in found] == [1]
    with pytest.warns(UserWarning, match="left out"):
        assert not bad.finished


def test_other_files_in_the_folder_of_runs_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "multirun.yaml").write_text("")
    (tmp_path / "notes.txt").write_text("")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_results(tmp_path) == {}


def test_one_process_at_a_time_works_on_a_run(tmp_path: Path) -> None:
    run = Run(tmp_path, CONFIG)
    other = f"from rga.runs import Run\nwith Run({str(tmp_path)!r}, {CONFIG!r}).lock(): pass"
    with run.lock():
        refused = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True)
        with pytest.raises(FolderBusyError, match=str(run.folder)), run.lock():
            pass
    assert "FolderBusyError" in refused.stderr
    assert subprocess.run([sys.executable, "-c", other]).returncode == 0


def test_runs_and_configs_come_without_torch() -> None:
    code = "import sys, rga.compose, rga.runs, rga.cli, rga.tables, rga.launcher; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
