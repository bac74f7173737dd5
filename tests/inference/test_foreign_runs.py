"""Run folders that somebody sends: nothing in them is run, written or told beyond what SECURITY.md says."""

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from rga.cli.app import app
from rga.errors import ConfigError
from rga.inference.evaluation import evaluate
from rga.inference.trained import load
from rga.paths import CONF
from rga.runs.compose import compose
from rga.runs.foreign import vetted
from untrained import SMALL, write_run

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        yield write_run(tmp_path_factory.mktemp("mine"), *SMALL)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that only foreign code would write."""
    return tmp_path / "marker"


@pytest.fixture
def send(mine: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], Path]:
    """Give the folder of a run that somebody has changed before sending it."""
    monkeypatch.chdir(tmp_path)

    def change(how: Change) -> Path:
        folder = tmp_path / "sent" / mine.parent.name / mine.name
        shutil.copytree(mine, folder)
        result = json.loads((folder / "result.json").read_text())
        how(result["config"])
        (folder / "result.json").write_text(json.dumps(result))
        return folder

    return change


def put(path: str, value: Any) -> Change:
    def how(config: dict[str, Any]) -> None:
        *groups, last = path.split(".")
        for group in groups:
            config = config[group]
        config[last] = value

    return how


def shell(marker: Path) -> dict[str, Any]:
    return {"_target_": "os.system", "command": f"touch {marker}"}


def hub(folder: Path, marker: Path) -> dict[str, Any]:
    """A local folder whose hubconf.py is run by torch.hub.load, which no list of forbidden names has."""
    folder.mkdir()
    (folder / "hubconf.py").write_text(f"open({str(marker)!r}, 'w').close()\ndef model(**_): ...\n")
    return {"_target_": "torch.hub.load", "repo_or_dir": str(folder), "model": "model", "source": "local"}


class Pickled:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return open, (str(self.marker), "w")


PLACES = [
    "task", "data", "data.reader", "data.demo_writer", "data.augment", "data.demo.seed", "data.size", "backbone.trunk",
    "backbone.trunk.layers", "backbone.name", "attention.block", "attention.block.reduction", "attention.after",
    "trainer.strategy", "trainer.accelerator", "recipe.optimizer", "scale", "paths.data", "new",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_no_foreign_component_in_any_place(send: Callable[[Change], Path], marker: Path, place: str) -> None:
    with pytest.raises(ConfigError, match=r"os\.system|holds no config of a run"):
        load(send(put(place, shell(marker))))
    assert not marker.exists()


@pytest.mark.parametrize("command", ["test", "extract", "search", "predict", "figure"])
def test_no_command_runs_a_foreign_component(
    send: Callable[[Change], Path], marker: Path, tmp_path: Path, command: str
) -> None:
    run = send(put("data.reader", hub(tmp_path / "hub", marker)))
    images = tmp_path / "data" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (32, 64)).save(images / "a.png")
    words = {
        "test": ["test", str(run)],
        "extract": ["extract", str(run), str(images), str(tmp_path / "out")],
        "search": ["search", str(run), str(images), str(images)],
        "predict": ["predict", str(run), str(images), str(tmp_path / "out")],
        "figure": [
            "figure",
            "3",
            *SMALL[:1],
            "attention=rga_sc",
            f"paths.runs={tmp_path / 'sent'}",
            "--images",
            str(images),
        ],
    }[command]
    if command == "figure":  # which looks for the runs of its rows
        for row in ("none", "rga_sc"):
            name = compose_name("scale=demo", f"attention={row}")
            shutil.copytree(run, tmp_path / "sent" / name / "0")
            result = json.loads((run / "result.json").read_text())
            text = json.dumps({**result, "fingerprint": name, "metrics": {"rank1": 0.5, "map": 0.5}})
            (tmp_path / "sent" / name / "0" / "result.json").write_text(text)
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, ConfigError), done.output
    assert "data.reader is 'torch.hub.load', which no installed config names there" in str(done.exception)
    assert not marker.exists()


def compose_name(*overrides: str) -> str:
    from rga.runs import fingerprint

    return fingerprint(compose(["experiment=reid", "data=market1501", *overrides]))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "data.reader",
            {"_target_": "rga.training.loggers.wandb_logger", "_partial_": True},
            "data.reader is",
        ),
        ("attention.block._target_", "rga.tasks.ReID", "attention.block is 'rga.tasks.ReID'"),
        ("data.reader._args_", ["x"], "the key '_args_'"),
        ("data.demo_writer._target_", ["os.system"], r"is \['os.system'\]"),
        ("data._target_", None, "data is None"),
        ("data.name", "${oc.env:SECRET}", "an interpolation"),
        ("data.root", "${oc.env:SECRET}", "an interpolation"),
        ("data.size", ["${oc.decode:'64'}", 32], "an interpolation"),
        ("data.${oc.env:SECRET}", 1, "the key"),
        ("data.name", "../../elsewhere", "and no name"),
        ("data.name", 7, "and no name"),
        ("backbone.trunk.name", "hf-hub:somebody/model", "fetched from elsewhere"),
        ("backbone.trunk.name", "local-dir:/tmp/model", "fetched from elsewhere"),
        ("attention", None, "holds no config of a run"),
        ("data", [], "holds no config of a run"),
    ],
)
def test_what_else_a_recorded_config_may_not_say(
    send: Callable[[Change], Path], monkeypatch: pytest.MonkeyPatch, path: str, value: Any, message: str
) -> None:
    monkeypatch.setenv("SECRET", "a password of mine")

    def how(config: dict[str, Any]) -> None:
        group, _, key = path.partition(".")
        if "${" in key:
            config[group][key] = value
        else:
            put(path, value)(config)

    with pytest.raises(ConfigError, match=message) as raised:
        load(send(how))
    assert "a password of mine" not in str(raised.value)


def test_a_preparation_is_not_made_a_call(send: Callable[[Change], Path], tmp_path: Path) -> None:
    """What writes demo data is prepared to be called; called at once, it would write where the sender says."""
    elsewhere = tmp_path / "elsewhere"
    writer = {"_target_": "rga.data.demo.writers.write_market1501", "_partial_": False, "root": str(elsewhere)}
    load(send(put("data.demo_writer", writer)))
    assert not elsewhere.exists()


@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained_cfg_overlay"])
def test_no_weights_by_other_ways(send: Callable[[Change], Path], marker: Path, tmp_path: Path, option: str) -> None:
    """timm would load them as Python objects."""
    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"state_dict": Pickled(marker)}))
    value: Any = str(tmp_path / "weights.pth")
    value = value if option == "checkpoint_path" else {"file": value}
    with pytest.raises(ConfigError, match=option):
        load(send(put(f"backbone.trunk.{option}", value)))
    assert not marker.exists()


def test_a_checkpoint_is_tensors(send: Callable[[Change], Path], marker: Path) -> None:
    run = send(lambda config: None)
    torch.save({"state_dict": {}, "hyper_parameters": Pickled(marker)}, run / "last.ckpt")
    with pytest.raises(ConfigError, match="a Python object"):
        load(run)
    assert not marker.exists()


def test_synthetic_data_are_not_written_where_the_sender_says(send: Callable[[Change], Path], tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    run = send(put("data.root", str(elsewhere)))
    with pytest.raises(ConfigError, match=r"would be written to .*elsewhere.*data\.root=FOLDER"):
        evaluate(load(run))
    assert not elsewhere.exists()
    evaluate(load(run, [f"data.root={elsewhere}"]))  # the user has said it
    assert elsewhere.exists()

    shutil.rmtree(run.parent)
    link = tmp_path / "data" / "link"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "further")
    with pytest.raises(ConfigError, match="would be written to"):
        evaluate(load(send(put("data.root", "data/link/set"))))
    assert not (tmp_path / "further").exists()


def test_a_component_of_the_users_own(
    send: Callable[[Change], Path], marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is built once a folder of the user's own configs names it, and not before."""
    (tmp_path / "own_block.py").write_text(
        f"import torch\nopen({str(marker)!r}, 'w').close()\n"
        "class Own(torch.nn.Module):\n"
        "    def __init__(self, channels, size):\n        super().__init__()\n"
        "    def forward(self, x):\n        return x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = send(put("attention.block", {"_target_": "own_block.Own", "_partial_": True}))
    own = tmp_path / "own" / "attention"
    own.mkdir(parents=True)
    (own / "one.yaml").write_text("block: {_target_: rga.attention.CBAM, _partial_: true}\nafter: [1]\n")
    for folder in (None, tmp_path / "own"):
        with pytest.raises(ConfigError, match=r"attention\.block is .own_block\.Own..*--config-dir FOLDER"):
            load(run, config_dir=folder)
    assert not marker.exists()
    (own / "two.yaml").write_text("block: {_target_: own_block.Own, _partial_: true}\nafter: [1]\n")
    with pytest.raises(ConfigError, match="of another network"):  # it has no parameters
        load(run, config_dir=tmp_path / "own")
    assert marker.exists()


def test_runs_from_before_a_module_was_moved(send: Callable[[Change], Path]) -> None:
    def how(config: dict[str, Any]) -> None:
        config["data"]["reader"]["_target_"] = "rga.data.elsewhere.market1501.read"
        config["attention"]["block"]["_target_"] = "rga.attention.elsewhere.RGASC"

    config = load(send(how)).config
    assert config.data.reader._target_.endswith("market1501.read")
    assert config.attention.block._target_ == "rga.attention.RGASC"


@pytest.mark.parametrize(
    "overrides",
    [
        ["scale=demo", "attention=rga_sc"],
        ["experiment=cityscapes", "head=ppm", "attention=danet", "logger=wandb"],
        ["experiment=cifar_resnet", "trainer=ddp_cpu"],
        ["data=cuhk03_labeled_classic"],
        ["scale=small", "experiment=cityscapes", "head=aspp"],
    ],
)
def test_what_was_run_here_is_known(cache: Path, overrides: list[str]) -> None:
    config = compose(overrides)
    assert vetted(config, [CONF], Path("result.json")) == config
