"""What names a run, and its result on disk."""

import copy
import errno
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from rga.errors import ConfigError
from rga.runs import RESULT, FolderBusyError, Run, find_results, fingerprint, results_of
from rga.runs.compose import compose

CONFIG: dict[str, Any] = {
    "seed": 0,
    "rerun": False,
    "scale": {"name": "paper", "zero_init_last": False},
    "task": {"_target_": "rga.tasks.ReID", "smoothing": 0.1},
    "paths": {"data": "data", "runs": "runs", "cache": ".cache"},
    "data": {
        "_target_": "rga.data.ReIDData",
        "name": "market1501",
        "reader": {"_target_": "rga.data.reid.market1501.read", "_partial_": True},
        "root": "data/x",
        "workers": 2,
        "cache": ".cache",
        "seed": 0,
        "size": [256, 128],
    },
    "backbone": {
        "name": "resnet50",
        "weights": "IMAGENET1K_V1",
        "trunk": {"_target_": "rga.backbones.torchvision_trunk", "name": "resnet50", "weights": "IMAGENET1K_V1"},
        "stages": ["layer1", "layer2", "layer3", "layer4"],
    },
    "attention": {"block": {"_target_": "rga.attention.RGASC", "_partial_": True, "reduction": 8}, "after": [1, 2]},
    "recipe": {"epochs": 600, "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 8e-4}},
    "trainer": {
        "_target_": "lightning.pytorch.Trainer",
        "devices": 1,
        "precision": "32-true",
        "sync_batchnorm": True,
    },
    "logger": {"csv": {}},
}


def seeded(seed: int) -> dict[str, Any]:
    """With another seed, which the data's repeats."""
    return changed("seed", seed, changed("data.seed", seed))


def changed(path: str, value: Any, config: dict[str, Any] = CONFIG) -> dict[str, Any]:
    config = copy.deepcopy(config)
    node = config
    *parents, last = path.split(".")
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return config


def test_the_fingerprint_is_the_same_everywhere_and_for_ever() -> None:
    assert fingerprint(CONFIG) == "85e826e78c4b"


@pytest.mark.parametrize(
    ("path", "value"),
    [
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
        ("trainer.max_time", "00:01:00:00"),
        ("trainer.max_steps", 7),
        ("trainer.log_every_n_steps", 1),
        ("trainer.enable_progress_bar", False),
        ("logger", {"wandb": {"project": "x"}}),
        ("hydra", {"job": {}}),
        ("scale.name", "small"),
        ("head", None),
        ("recipe.augment", {"flip": 0.5}),  # a value to refer to: what acts is data.augment
        ("data.demo_writer", {"_target_": "rga.data.demo.writers.write_market1501", "_partial_": True}),
        # an option at its default, written out
        ("attention.block.zero_init_last", False),
        ("attention.block.squeeze", 8),
        ("task.margin", 0.3),
        ("task.triplet_weight", 1.0),
        ("task.attention_lr", 1.0),
        ("data.images", 4),
        ("data.demo", None),
        ("recipe.optimizer.betas", (0.9, 0.999)),
        ("trainer.accumulate_grad_batches", 1),
        ("trainer.gradient_clip_val", None),
        # the same stages, by name and in another order
        ("attention.after", ["layer2", "layer1"]),
        # moved to another module
        ("task._target_", "rga.tasks.reid.ReID"),
        ("attention.block._target_", "rga.attention.somewhere.else.RGASC"),
        ("data._target_", "rga.data.people.module.ReIDData"),
        ("data.reader._target_", "rga.data.people.market1501.read"),
        ("backbone.trunk._target_", "rga.backbones.torchvision.torchvision_trunk"),
    ],
)
def test_where_and_how_a_run_is_done_does_not_name_it(path: str, value: Any) -> None:
    assert fingerprint(changed(path, value)) == fingerprint(CONFIG)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.size", [128, 64]),
        ("data.seed", 7),  # of its own, when the run's seed is 0
        ("task.margin", 0.5),
        ("task.triplet_weight", 0.25),
        ("task.flip", True),
        ("recipe.epochs", 60),
        ("recipe.optimizer.lr", 4e-4),
        ("recipe.optimizer._target_", "torch.optim.AdamW"),
        ("recipe.optimizer._target_", "their.Adam"),
        ("attention.after", [1, 2, 3]),
        ("attention.block._target_", "rga.attention.RGACS"),
        ("attention.block._target_", "their.RGASC"),
        ("attention.block.zero_init_last", True),
        ("backbone.trunk.weights", None),
        ("data.name", "mine"),
        ("data.reader._target_", "their.read"),
        ("data.reader.split", 3),
        ("data.demo", {"identities": 60}),
        ("trainer.precision", "bf16-mixed"),
        ("trainer.limit_train_batches", 0.1),
        ("trainer.gradient_clip_val", 1.0),
    ],
)
def test_what_determines_the_result_names_it(path: str, value: Any) -> None:
    assert fingerprint(changed(path, value)) != fingerprint(CONFIG)


def test_the_seed_does_not_name_it() -> None:
    assert fingerprint(seeded(7)) == fingerprint(CONFIG)


def test_one_batch_is_not_all_of_them() -> None:
    """Lightning takes a whole number as a count and a fraction as a share."""
    assert fingerprint(changed("trainer.limit_train_batches", 1)) != fingerprint(
        changed("trainer.limit_train_batches", 1.0)
    )


def test_tf32_is_how_runs_always_were_and_float32_is_another_run() -> None:
    trainer = dict(CONFIG["trainer"])
    assert fingerprint({**CONFIG, "trainer": {**trainer, "tf32": True}}) == fingerprint(CONFIG)
    assert fingerprint({**CONFIG, "trainer": {**trainer, "tf32": False}}) != fingerprint(CONFIG)


def test_batchnorm_over_part_of_the_batch_names_a_run() -> None:
    """By default its statistics are those of the whole batch, whatever the number of processes."""

    def named(**trainer: Any) -> str:
        return fingerprint({**CONFIG, "trainer": {**CONFIG["trainer"], **trainer}})

    assert named(devices=8) == named(devices="auto") == named(devices=1, sync_batchnorm=False) == fingerprint(CONFIG)
    shares = {named(devices=devices, sync_batchnorm=False) for devices in (1, 2, 8)}
    assert len(shares) == 3
    assert named(devices=4, num_nodes=2, sync_batchnorm=False) == named(devices=8, sync_batchnorm=False)
    assert named(devices=[0, 2], sync_batchnorm=False) == named(devices="2", sync_batchnorm=False)
    for unknown in ("auto", -1):
        with pytest.raises(ConfigError, match=r"trainer\.devices=4"):
            named(devices=unknown, sync_batchnorm=False)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["none", "rga_sc"])
def test_a_baseline_has_no_stages(attention: str) -> None:
    """Without a block it does not matter behind which stages there is none."""
    names = {fingerprint(compose([f"attention={attention}", f"attention.after={after}"])) for after in ("[1]", "[]")}
    assert len(names) == (1 if attention == "none" else 2)


@pytest.mark.parametrize("trainer", ["ddp", "ddp_cpu"])
def test_the_choice_of_devices_does_not_name_a_run(trainer: str) -> None:
    assert fingerprint(compose([f"trainer={trainer}"])) == fingerprint(compose([]))


def test_a_file_of_weights_counts_by_its_name() -> None:
    def with_weights(file: str) -> str:
        return fingerprint(changed("backbone.trunk.weights", file))

    assert with_weights("/a/resnet.pth") == with_weights("b/resnet.pth") == with_weights("resnet.pth")
    assert with_weights("/a/resnet.pth") != with_weights("/a/other.pth")


def test_equal_values_are_equal() -> None:
    assert fingerprint(changed("recipe.epochs", 600.0)) == fingerprint(CONFIG)
    assert fingerprint(changed("data.size", (256, 128))) == fingerprint(CONFIG)
    assert fingerprint(dict(reversed(CONFIG.items()))) == fingerprint(CONFIG)
    assert fingerprint(changed("recipe.epochs", True)) != fingerprint(changed("recipe.epochs", 1))
    assert fingerprint(changed("recipe.optimizer.lr", 0.0008)) == fingerprint(CONFIG)


def test_result_is_written_and_found(tmp_path: Path) -> None:
    runs = [Run(tmp_path, seeded(seed)) for seed in (10, 2)]
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
    good, bad = Run(tmp_path, seeded(1)), Run(tmp_path, CONFIG)
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
    modules = "rga.runs.compose, rga.runs, rga.cli.app, rga.tables, rga.training.launcher"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("unreadable", ["0123456789ab", "0123456789ab/0"])
def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreadable: str) -> None:
    """As the system refuses it to anybody but root."""
    closed = tmp_path / unreadable
    (tmp_path / "0123456789ab" / "0").mkdir(parents=True)
    lists, reads = Path.iterdir, Path.read_text

    def open_(path: Path) -> Path:
        if path.is_relative_to(closed):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return path

    monkeypatch.setattr(Path, "iterdir", lambda path: lists(open_(path)))
    monkeypatch.setattr(Path, "read_text", lambda path, **options: reads(open_(path), **options))
    with pytest.warns(UserWarning, match=f"{unreadable}.* is left out: .*Permission denied"):
        assert find_results(tmp_path) == {}
