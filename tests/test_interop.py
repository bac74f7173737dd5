"""Checkpoints of the authors' re-ID model, generated here under their names."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from authors import Authors
from rga.attention import RGAC, RGAS, RGASC
from rga.backbones import torchvision_trunk
from rga.bench.textbook.nxn import NxN
from rga.interop import load_reference, load_reference_model, reference_tensors
from rga.plugin import plug

SIZE = (64, 32)
STAGES = {"layer1": (256, 16, 8), "layer2": (512, 8, 4), "layer3": (1024, 4, 2), "layer4": (2048, 4, 2)}


def block_shapes(channels: int, nodes: int, kind: str) -> dict[str, tuple[int, ...]]:
    """Shapes of one branch under the authors' names, from their formulae (s1 = s2 = 8)."""
    features, count = (channels, nodes) if kind == "spatial" else (nodes, channels)
    width, embedded = max(features // 8, 1), count // 8
    hidden = max((1 + embedded) // 8, 1)
    layers = {f"{part}_{kind}.0": (width, features) for part in ("gx", "theta", "phi")}
    layers |= {f"gg_{kind}.0": (embedded, 2 * count), f"W_{kind}.0": (hidden, 1 + embedded), f"W_{kind}.3": (1, hidden)}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (outputs, inputs) in layers.items():
        shapes[f"{name}.weight"] = (outputs, inputs, 1, 1)
        bn = f"{name[:-1]}{int(name[-1]) + 1}"
        shapes |= {f"{bn}.{key}": (outputs,) for key in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{bn}.num_batches_tracked"] = ()
    return shapes


def random(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape) if shape else torch.tensor(7)


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, Tensor]:
    torch.manual_seed(0)
    resnet = torchvision.models.resnet50().state_dict()
    state = {f"backbone.{name}": random(t.shape) for name, t in resnet.items() if not name.startswith("fc.")}
    for number, (channels, height, width) in enumerate(STAGES.values(), start=1):
        for kind in ("spatial", "channel"):
            shapes = block_shapes(channels, height * width, kind)
            state |= {f"backbone.rga_att{number}.{name}": random(shape) for name, shape in shapes.items()}
    bn = ("weight", "bias", "running_mean", "running_var")
    return (
        state
        | {f"feat_bn.{key}": random((2048,)) for key in bn}
        | {
            "feat_bn.num_batches_tracked": torch.tensor(7),
            "cls.weight": random((9, 2048)),
        }
    )


class Model(nn.Module):
    """The attributes of the re-ID task that a checkpoint fills."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = plug(torchvision_trunk("resnet50", last_stride=1), RGASC, STAGES, SIZE)
        self.neck = nn.BatchNorm1d(2048)
        self.classifier = nn.Linear(2048, 9, bias=False)


def test_whole_model(checkpoint: dict[str, Tensor]) -> None:
    model = Model()
    load_reference_model(model, {"state_dict": {f"module.{name}": value for name, value in checkpoint.items()}})
    state = model.state_dict()
    assert torch.equal(state["backbone.conv1.weight"], checkpoint["backbone.conv1.weight"])
    for stage, number in (("layer1", 1), ("layer4", 4)):
        name = "1.bn2.running_var"
        assert torch.equal(state[f"backbone.{stage}.stage.{name}"], checkpoint[f"backbone.{stage}.{name}"])
        tensors = reference_tensors(model.get_submodule(f"backbone.{stage}.attention"))
        for key, tensor in tensors.items():
            assert torch.equal(tensor, checkpoint[f"backbone.rga_att{number}.{key}"]), key
    assert torch.equal(state["neck.running_mean"], checkpoint["feat_bn.running_mean"])
    assert torch.equal(state["classifier.weight"], checkpoint["cls.weight"])
    block = model.get_submodule("backbone.layer3.attention").double().eval()
    x = torch.randn(2, 1024, 4, 2, dtype=torch.double)
    torch.testing.assert_close(block(x), NxN(block).eval()(x))


@pytest.mark.slow
def test_whole_model_gives_what_the_formulae_give() -> None:
    """Block by block, in double precision, from a checkpoint of a network that shares no code with ours."""
    torch.manual_seed(0)
    authors = Authors(9, SIZE)
    with np.load(Path(__file__).parent / "fixtures" / "rga_sc.npz") as published:
        inner = {name.removeprefix("state/") for name in published if name.startswith("state/")}
    assert inner == authors.backbone.get_submodule("rga_att1").state_dict().keys()
    model = Model().double().eval()
    load_reference_model(model, {f"module.{name}": value for name, value in authors.state_dict().items()})
    outputs: dict[str, Tensor] = {}
    for stage in STAGES:
        keep = partial(outputs.__setitem__, stage)
        model.get_submodule(f"backbone.{stage}").register_forward_hook(lambda _, __, y, keep=keep: keep(y))
    images = torch.randn(2, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        blocks, feature, logits = authors(images)
        ours = model.backbone(images).mean((2, 3))
        close = {"rtol": 0, "atol": 1e-10}
        for stage, expected in blocks.items():
            torch.testing.assert_close(outputs[stage], expected, **close)
        torch.testing.assert_close(ours, feature, **close)
        torch.testing.assert_close(model.classifier(model.neck(ours)), logits, **close)


def test_counters_of_batchnorm_may_be_missing(checkpoint: dict[str, Tensor]) -> None:
    """As in files of PyTorch before 0.4.1; but not a few of them."""
    model = Model()
    load_reference_model(model, {k: v for k, v in checkpoint.items() if not k.endswith("num_batches_tracked")})
    assert torch.equal(model.neck.running_mean, checkpoint["feat_bn.running_mean"])
    with pytest.raises(ValueError, match=r"missing: feat_bn\.num_batches_tracked$"):
        load_reference_model(model, {k: v for k, v in checkpoint.items() if k != "feat_bn.num_batches_tracked"})


def test_whole_model_that_does_not_fit(checkpoint: dict[str, Tensor]) -> None:
    model = Model()
    before = model.neck.weight.clone()
    state = {name: value for name, value in checkpoint.items() if name != "backbone.rga_att2.gg_channel.0.weight"}
    state |= {"backbone.extra": torch.zeros(1), "cls.weight": torch.zeros(5, 2048)}
    with pytest.raises(ValueError, match=r"missing: backbone\.rga_att2\.gg_channel\.0\.weight") as error:
        load_reference_model(model, state)
    assert "unexpected: backbone.extra" in str(error.value)
    assert "cls.weight (5, 2048) instead of (9, 2048)" in str(error.value)
    assert torch.equal(model.neck.weight, before)


@pytest.mark.parametrize(
    ("kind", "branches"), [(RGAS, ["spatial"]), (RGAC, ["channel"]), (RGASC, ["spatial", "channel"])]
)
def test_block_from_arrays(kind: type, branches: list[str]) -> None:
    shapes = {name: shape for branch in branches for name, shape in block_shapes(32, 24, branch).items()}
    arrays = {name: np.random.default_rng(0).random(shape) for name, shape in shapes.items()}
    block = kind(32, (6, 4))
    load_reference(block, arrays)
    for name, tensor in reference_tensors(block).items():
        np.testing.assert_allclose(tensor.numpy(), arrays[name].astype(tensor.numpy().dtype), rtol=1e-6)
    with pytest.raises(ValueError, match=f"missing: gx_{branches[0]}.0.weight"):
        load_reference(block, {name: value for name, value in arrays.items() if name != f"gx_{branches[0]}.0.weight"})
    with pytest.raises(ValueError, match="unexpected: nonsense"):
        load_reference(block, arrays | {"nonsense": np.zeros(1)})
    with pytest.raises(ValueError, match="of another shape"):
        load_reference(kind(32, (6, 4), reduction=4), arrays)


def test_other_modules_have_no_counterpart() -> None:
    with pytest.raises(TypeError, match="Linear"):
        load_reference(nn.Linear(1, 1), {})
    lonely = nn.ModuleDict({"backbone": partial(RGAS, 8)((2, 2))})
    with pytest.raises(ValueError, match=r"backbone.layerN.attention"):
        load_reference_model(lonely, {})
