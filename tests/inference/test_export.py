"""Networks that leave the package: the same numbers in each file, and a folder that somebody sends runs nothing."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from typer.testing import CliRunner

import rga
from rga import exported
from rga.cli.app import app
from rga.errors import ConfigError
from rga.inference import export as exporting
from rga.inference.export import described, export
from rga.inference.trained import Trained, load
from rga.network import build, component
from rga.runs import Run
from rga.runs.compose import compose
from rga.tasks import Classification, ReID, Segmentation
from rga.training.checkpoints import LAST, AtomicCheckpointIO
from untrained import CIFAR, SMALL, write_run

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SCENES = ["experiment=cityscapes", "scale=demo", "trainer.accelerator=cpu", "attention=rga_sc", "data.size=[65,49]"]


def write_scenes(folder: Path, *overrides: str) -> Path:
    """A segmentation run that nobody has trained."""
    config = compose([*SCENES, *overrides, f"paths.runs={folder / 'runs'}", f"paths.data={folder / 'data'}"])
    node = OmegaConf.create(config)
    torch.manual_seed(0)
    network, channels = build(node.backbone, node.attention, node.data.size)
    task = component(node.task, network=network, channels=channels, optimizer=None, schedule=None)
    task.complete({"colours": torch.zeros(5, 3, dtype=torch.uint8)}, tuple(node.data.size))
    with torch.no_grad():
        task.segmenter.train()(torch.randn(4, 3, *node.data.size))
    run = Run(config["paths"]["runs"], config)
    checkpoint = {"state_dict": task.state_dict(), "epoch": 5, "pytorch-lightning_version": "2.6"}
    AtomicCheckpointIO().save_checkpoint(checkpoint, run.folder / LAST)
    run.write_result({"metrics": {"miou": 0.25}})
    return run.folder


@pytest.fixture
def reid(tmp_path: Path, cache: Path) -> Trained:
    run = write_run(tmp_path / "reid", *SMALL, "attention.after=[2,4]", metrics={"rank1": 0.5, "map": 0.25})
    return load(run)


def normalised(images: Tensor, mean: Any, std: Any) -> Tensor:
    return (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def answers(trained: Trained, images: Tensor) -> Tensor:
    """What the run's task says of images in 0..1, written out here."""
    task = trained.task
    with torch.no_grad():
        if isinstance(task, ReID):
            return task.neck(task.backbone(normalised(images, *IMAGENET)).mean((2, 3)))
        if isinstance(task, Segmentation):
            assert task.segmenter is not None
            return task.segmenter(normalised(images, *IMAGENET))
        data = component(trained.config.data)
        pixels = data._read().train.images.astype(np.float64) / 255
        assert isinstance(task, Classification)
        assert task.classifier is not None
        x = normalised(images, pixels.mean((0, 2, 3)).astype(np.float32), pixels.std((0, 2, 3)).astype(np.float32))
        return task.classifier(task.backbone(x).mean((2, 3))).softmax(1)


def onnx(folder: Path) -> Callable[[Tensor], Tensor]:
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (given,), (output,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type) == ("images", "tensor(float)")
    assert output.name in ("feature", "scores", "logits")
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


@pytest.mark.slow
@pytest.mark.parametrize("task", ["reid", "classification", "segmentation"])
def test_the_same_answers_everywhere(task: str, tmp_path: Path, cache: Path) -> None:
    if task == "reid":
        run = write_run(tmp_path, *SMALL, "attention.after=[2,4]")
    elif task == "classification":
        run = write_run(tmp_path, *CIFAR, "attention=rga_sc", classes=10)
    else:
        run = write_scenes(tmp_path)
    trained = load(run)
    out = tmp_path / "out"
    told = export(trained, out)
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config.json",
        "model.onnx",
        "model.pt2",
        "model.safetensors",
    ]
    assert "model.onnx" in "".join(told)
    size = tuple(trained.config.data.size)
    sizes = [size, (80, 97)] if task == "segmentation" else [size]
    program: Callable[[Tensor], Tensor] = torch.export.load(out / "model.pt2").module()
    files: list[Callable[[Tensor], Tensor]] = [rga.load(out), program, onnx(out)]
    for batch, (height, width) in ((1, sizes[0]), (5, sizes[-1])):
        images = torch.rand(batch, 3, height, width)
        expected = answers(trained, images)
        with torch.no_grad():
            for file in files:
                torch.testing.assert_close(file(images), expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match=r"floating-point numbers in 0\.\.1, not torch\.uint8"):
        rga.load(out)(torch.zeros(1, 3, *size, dtype=torch.uint8))
    for wrong, lie in ((255 * images, r"0\..*\.\.25"), (normalised(images, *IMAGENET), r"-2\..*\.\.2")):
        with pytest.raises(ValueError, match=rf"numbers in 0\.\.1, and these lie in {lie}"):
            rga.load(out)(wrong)
    card = (out / "README.md").read_text()
    assert "**synthetic images**" in card
    assert "Normalisation: **inside**" in card
    assert f"run {run.parent.name}/0" in card


def test_options_of_the_test_are_in_it(reid: Trained, tmp_path: Path) -> None:
    """The feature before BN, and mirror images."""
    images = torch.rand(2, 3, 64, 32)
    for overrides in ([], ["task.feature=before_bn"], ["task.flip=true"]):
        trained = load(reid.weights.parent, overrides)
        network = written(trained, tmp_path / "-".join(["out", *overrides]))
        with torch.no_grad():
            x = normalised(images, *IMAGENET)
            both = dict(zip(("before_bn", "after_bn"), trained.task(x), strict=True))
            torch.testing.assert_close(network(images), both[trained.task.feature])  # type: ignore[index]


def written(trained: Trained, folder: Path) -> nn.Module:
    """safetensors and config alone, which takes no time, and what is loaded from them."""
    config = described(trained, exporting._normalisation(trained))
    network = exported.built(config, "here")
    exporting.fill(network.state_dict(), exporting._state(trained))
    folder.mkdir()
    exporting._write(network, config, folder)
    return rga.load(folder)


def test_where_no_values_can_be_looked_at(reid: Trained, tmp_path: Path) -> None:
    """Within torch.func.vmap and on the meta device images are taken as they are."""
    network = written(reid, tmp_path / "out")
    images = torch.rand(2, 1, 3, 64, 32)
    with torch.no_grad():
        together = torch.func.vmap(network)(images)
        torch.testing.assert_close(together.flatten(0, 1), network(images.flatten(0, 1)))
        assert network.to("meta")(images[0].to("meta")).shape == (1, 128)


def test_an_auxiliary_head_is_left_behind(tmp_path: Path, cache: Path) -> None:
    for number, overrides in enumerate((["task.auxiliary=0.4"], ["task.auxiliary=0.4", "attention.after=[3]"])):
        trained = load(write_scenes(tmp_path / str(number), *overrides))
        network = written(trained, tmp_path / f"out{number}")
        assert not [name for name in network.state_dict() if "auxiliary" in name]
        images = torch.rand(1, 3, 65, 49)
        with torch.no_grad():
            torch.testing.assert_close(network(images), answers(trained, images))


def test_without_lightning_and_hydra(reid: Trained, tmp_path: Path) -> None:
    written(reid, tmp_path / "out")
    program = (
        "import sys, torch, rga; print(tuple(rga.load(sys.argv[1])(torch.rand(2, 3, 64, 32)).shape)); "
        "print(sorted({'lightning', 'hydra', 'omegaconf'} & sys.modules.keys()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split("\n")[:2] == ["(2, 128)", "[]"]


def test_what_is_not_kept(reid: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(ConfigError, match="is there already, and nothing is overwritten"):
        export(reid, taken)
    monkeypatch.setattr(exporting, "_programs", lambda *_: ({}, None))
    monkeypatch.setattr(exporting, "_PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(ConfigError, match=r"no_such_package is not installed: pip install 'rga\[export\]'"):
        export(reid, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.slow
def test_other_numbers_are_refused(reid: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = exporting._state

    def damaged(trained: Trained) -> dict[str, Tensor]:
        return {name: value * 1.01 if name == "neck.weight" else value for name, value in state(trained).items()}

    monkeypatch.setattr(exporting, "_state", damaged)
    with pytest.raises(ConfigError, match=r"model\.safetensors gives other numbers than the run"):
        export(reid, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def test_a_block_of_ones_own_is_not_exported(reid: Trained) -> None:
    reid.config.attention.block._target_ = "my_blocks.RGASC"
    with pytest.raises(ConfigError, match=r"my_blocks\.RGASC is none of this package's components"):
        described(reid, exporting._normalisation(reid))


def test_the_card_has_the_seeds(reid: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same config, with their spread; and what a run says of itself is text."""
    result = json.loads((reid.weights.parent / "result.json").read_text())
    other = reid.weights.parent.parent / "1"
    other.mkdir()
    result |= {"seed": 1, "metrics": {"rank1": 0.6, "map": 0.35}}
    (other / "result.json").write_text(json.dumps(result))
    result |= {"seed": 0, "metrics": {"rank1": 0.5, "map": 0.25}, "commit": "<b>x</b>"}
    result["curve"] = [{"epoch": 30, "gates/layer4/spatial/mean": 0.5}]
    (reid.weights.parent / "result.json").write_text(json.dumps(result))
    monkeypatch.setattr(exporting, "_programs", lambda *_: ({"model.onnx": 1e-6}, None))
    export(reid, tmp_path / "out", licence="CC BY-NC 4.0")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| rank1 | 50.0 | 55.0 ± 7.1 (2) |" in card
    assert "| layer4/spatial/mean | 0.500 |" in card
    assert "Licence of the data: CC BY-NC 4.0." in card
    assert "<b>" not in card


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["trunk"].update(component="os.system"), "trunk is 'os.system', and not one of this package"),
        (lambda c: c["trunk"].update(component=["timm_trunk"]), "not one of this package"),
        (lambda c: c["attention"].update(component="my_blocks.Mine"), "attention is 'my_blocks.Mine'"),
        (lambda c: c["attention"].update(component="RGASC.__init__"), "not one of this package"),
        (lambda c: c["trunk"]["options"].update(weights="x.pth"), "would bring in 'x.pth' from elsewhere"),
        (lambda c: c["trunk"]["options"].update(name="hf-hub:somebody/model"), "from elsewhere"),
        (lambda c: c["trunk"]["options"].update(name="local-dir:/tmp/model"), "from elsewhere"),
        (lambda c: c["trunk"]["options"].update(checkpoint_path="x.pth"), "the weights of a trunk are those"),
        (lambda c: c["trunk"]["options"].update(pretrained=True), "the weights of a trunk are those"),
        (lambda c: c["trunk"]["options"].update(layers={"_target_": "os.system"}), "no plain values"),
        (lambda c: c["trunk"].pop("options"), "no plain values"),
        (lambda c: c.update(task="Task"), "no config that rga export has written"),
        (lambda c: c.update(format=2), "no config that rga export has written"),
        (lambda c: c.pop("size"), "it has no 'size'"),
        (lambda c: c.update(size="large"), "describes no network"),
        (lambda c: c["attention"].update(after=["layer9"]), "no stage named 'layer9'"),
        (lambda c: c["attention"].update(after=["layer2"]), "cannot be loaded: the parameters do not fit"),
    ],
)
def test_a_sent_folder_runs_nothing(reid: Trained, tmp_path: Path, change: Change, message: str) -> None:
    written(reid, tmp_path / "sent")
    config = json.loads((tmp_path / "sent" / "config.json").read_text())
    changed = copy.deepcopy(config)
    change(changed)
    (tmp_path / "sent" / "config.json").write_text(json.dumps(changed))
    with pytest.raises(ConfigError, match=message):
        rga.load(tmp_path / "sent")


def test_damaged_folders(reid: Trained, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no exported network in"):
        rga.load(tmp_path / "nothing")
    written(reid, tmp_path / "sent")
    weights = tmp_path / "sent" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="cannot be loaded"):
        rga.load(tmp_path / "sent")
    (tmp_path / "sent" / "config.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        rga.load(tmp_path / "sent")


def test_the_command(reid: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_programs", lambda *_: ({"model.onnx": 1e-6}, None))
    words = ["export", str(reid.weights.parent), str(tmp_path / "out"), "--feature", "before_bn"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "model.onnx         differs from the run by at most 1.0e-06" in done.output
    assert json.loads((tmp_path / "out" / "config.json").read_text())["feature"] == "before_bn"
