"""`rga export`: a trained network as files that run elsewhere, each compared with the run before it is kept."""

import importlib.util
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from torch import Tensor
from torch.export import Dim

import rga
from rga import exported
from rga.backbones.weights import fill
from rga.data.reid.augment import Normalize
from rga.errors import ConfigError
from rga.exported import CONFIG, DIGEST, FORMAT, WEIGHTS, Exported, digest, plain_options
from rga.files import RESULT, atomic_file, write_atomically
from rga.inference.card import Facts, card
from rga.inference.evaluation import write_nothing_elsewhere
from rga.inference.trained import Trained
from rga.network import component
from rga.runs import read_result
from rga.runs.identity import public_name
from rga.runs.inputs import Inputs
from rga.tasks import Classification, ReID, Segmentation
from rga.tasks.task import Task

PROGRAM, ONNX, CARD = "model.pt2", "model.onnx", "README.md"
TOLERANCE = 1e-3  # of the largest number that the run's network gives
IMAGES = 3  # another number than the files are traced with
_TRACED = 2
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")

Run = Callable[[Tensor], Tensor]


def export(trained: Trained, out: Path, licence: str | None = None) -> list[str]:
    """Write a network's weights, its `torch.export` program, its ONNX file and its card into a new folder.

    Each file is read again and compared with the run's own network on random images, through the run's own
    normalisation; one that gives other numbers is an error, and the folder is not there.

    Args:
        trained: see `rga.inference.trained.load`.
        out: the folder, which must not be there.
        licence: of the data, for the card.

    Returns:
        What was written, and how far its numbers are from the run's.

    Raises:
        ConfigError: the folder is there, a package is missing, the network has a component that is not of this
            package, or a file would give other numbers than the run.
    """
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise ConfigError(f"{', '.join(missing)} is not installed: pip install 'rga[export]'")
    if out.exists():
        raise ConfigError(f"{out} is there already, and nothing is overwritten: name another folder, or remove it")
    normalize = _normalisation(trained)
    config = described(trained, normalize)
    network = exported.built(config, "the run's config")
    fill(network.state_dict(), _state(trained))
    work = out.with_name(f".{out.name}.writing")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        result = read_result((trained.weights.parent / RESULT).absolute())
        config["made_from"] = {key: (result or {}).get(key) for key in ("fingerprint", "seed", "commit", "versions")}
        config["made_from"]["rga"] = rga.__version__
        if "classes" in config:
            config["class_names"] = _class_names(result, config["classes"])
        _write(network, config, work)
        wanted = network.config["task"] == "Segmentation"
        differences, why = _programs(network, work, lambda sizes: _compare(trained, normalize, work, sizes), wanted)
        config |= {"any_size": wanted and why is None, "largest_difference": differences}
        _write(network, config, work)
        write_atomically(work / CARD, card(Facts(trained, config, result, differences, why, licence)))
        work.rename(out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    told = [f"{name:18} differs from the run by at most {value:.1e}" for name, value in differences.items()]
    return [*told, *([why] if why else []), f"{CARD} says the rest; all of it is in {out}"]


def described(trained: Trained, normalize: Normalize) -> dict[str, Any]:
    """What `rga.exported.built` builds the network from."""
    config, task = trained.config, trained.task
    std = 1 / (255 * normalize.scale.double())
    described = {
        "format": FORMAT,
        "task": type(task).__name__,
        "size": list(config.data.size),
        "input": "images: (B, 3, H, W) float32, RGB in 0..1; the normalisation is inside",
        "preparation": _preparation(config, task),
        "normalisation": {
            "mean": [round(value, 7) for value in (-normalize.shift.double() * std).flatten().tolist()],
            "std": [round(value, 7) for value in std.flatten().tolist()],
        },
        "trunk": _node(config.backbone.trunk, exported.TRUNKS, without=("weights",)),
        "attention": _attention(config, beside=isinstance(task, Segmentation)),
    }
    if isinstance(task, ReID):
        return {**described, "feature": task.feature, "flip": bool(task.flip)}
    if isinstance(task, Classification):
        assert task.classifier is not None
        return {**described, "classes": task.classifier.out_features}
    assert isinstance(task, Segmentation)
    grid = OmegaConf.to_container(OmegaConf.create({"grid": config.task.get("grid")}))["grid"]  # type: ignore[call-overload,index]
    head = _node(config.task.head, exported.HEADS)
    return {**described, "classes": len(task.colours), "head": head, "grid": None if grid is True else grid}


def _preparation(config: DictConfig, task: Task) -> str:
    """What the test does with an image before it is the network's input."""
    height, width = config.data.size
    filtered = "bilinear, averaging over what is shrunk as Pillow does"
    if isinstance(task, ReID):
        return f"the whole image is resized to {height} x {width} ({filtered})"
    if isinstance(task, Segmentation):
        return "none: images have the size that they have"
    if (shorter := config.data.get("resize")) is None:
        return f"none: images are of {height} x {width}"
    return (
        f"the image is resized to a shorter side of {shorter} ({filtered}), its middle of {height} x {width} is cut out"
    )


def _class_names(result: Mapping[str, Any] | None, count: Any) -> list[str] | None:
    """In the order of the outputs, as the run has recorded them; None: it has not."""
    names = (result or {}).get("classes")
    known = isinstance(names, list) and len(names) == count and all(isinstance(name, str) for name in names)
    return names if known else None


def _attention(config: DictConfig, beside: bool) -> dict[str, Any] | None:
    block = config.attention.block
    if block is None:
        return None
    stages = [
        config.backbone.stages[stage - 1] if isinstance(stage, int) and stage <= len(config.backbone.stages) else stage
        for stage in config.attention.after
    ]
    return {**_node(block, exported.BLOCKS), "after": stages, "beside": beside}


def _node(node: Any, known: Mapping[str, Any], without: Sequence[str] = ()) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    name = public_name(plain["_target_"])
    if name not in known:
        raise ConfigError(f"{plain['_target_']} is none of this package's components, which alone rga.load could build")
    return {"component": name, "options": plain_options(plain, without)}


def _state(trained: Trained) -> dict[str, Tensor]:
    """The tensors of the run under the names of the exported network."""
    task, state = trained.task, dict(trained.task.state_dict())
    if isinstance(task, ReID):
        kept = ("backbone.", "neck.") if task.feature == "after_bn" else ("backbone.",)
    elif isinstance(task, Classification):
        kept = ("backbone.", "classifier.")
    else:
        assert isinstance(task, Segmentation)
        kept = ("segmenter.",)
        if task.auxiliary:  # its stage stands within what taps it
            stage = next(name for name, module in task.named_modules(remove_duplicate=False) if _taps(task, module))
            state = {name.replace(f"{stage}.stage.", f"{stage}.", 1): value for name, value in state.items()}
        state = {name: value for name, value in state.items() if not name.startswith("segmenter.auxiliary.")}
    return {name: value for name, value in state.items() if name.startswith(kept)}


def _taps(task: Segmentation, module: torch.nn.Module) -> bool:
    assert task.segmenter is not None
    return any(child is task.segmenter.tap for _, child in module.named_children()) and module is not task.segmenter


def _normalisation(trained: Trained) -> Normalize:
    """That of the run's data: of CIFAR it is its training images', which are read and compared for it."""
    if trained.recorded_root and isinstance(trained.task, Classification):
        write_nothing_elsewhere(trained.config)
    data = component(trained.config.data)
    if isinstance(trained.task, ReID):
        return data.augment.normalize
    if isinstance(trained.task, Classification):
        data.write_demo()
        if trained.own_data:
            Inputs(data.index(), None).check(trained.weights.parent)
        data.setup("test")
    return data.normalize


def _write(network: Exported, config: Mapping[str, Any], folder: Path) -> None:
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / WEIGHTS)
    written = {**config, DIGEST: digest(folder / WEIGHTS)}
    write_atomically(folder / CONFIG, json.dumps(written, indent=1) + "\n")


def _programs(
    network: Exported, folder: Path, compare: Callable[[Sequence[tuple[int, int]]], dict[str, float]], any_size: bool
) -> tuple[dict[str, float], str | None]:
    """Write the programs; how far they are from the run, and why they take one size where others were wanted."""
    height, width = network.config["size"]
    why = None
    if any_size:
        traced = (height + height // 2, width + width // 4)
        try:
            _program(network, folder, traced, {2: Dim.DYNAMIC, 3: Dim.DYNAMIC})
            return compare([(height, width), traced, (traced[0] + 7, width - width // 8)]), None
        except Exception as error:  # what an export or ONNX Runtime cannot express is told in many ways
            first = f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0][:200]
            why = f"model.pt2 and model.onnx take images of {height} x {width} only: sizes as symbols fail ({first})"
    _program(network, folder, (height, width), {})
    return compare([(height, width)]), why


def _program(network: Exported, folder: Path, size: tuple[int, int], sides: dict[int, Any]) -> None:
    images, axes = torch.rand(_TRACED, 3, *size), {0: Dim("batch"), **sides}
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporters, about themselves
        program = torch.export.export(network, (images,), dynamic_shapes=(axes,))
        made = torch.onnx.export(
            network,
            (images,),
            dynamic_shapes=(axes,),
            input_names=["images"],
            output_names=[network.output],
            dynamo=True,
            verbose=False,
        )
    assert made is not None
    with atomic_file(folder / PROGRAM) as file:
        torch.export.save(program, file)
    made.save(folder / ONNX)


def _compare(
    trained: Trained, normalize: Normalize, folder: Path, sizes: Sequence[tuple[int, int]]
) -> dict[str, float]:
    """The largest difference of each file from the run's network.

    Raises:
        ConfigError: it is above the tolerance.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / ONNX, providers=["CPUExecutionProvider"])
    files: dict[str, Run] = {
        WEIGHTS: exported.load(folder),
        PROGRAM: torch.export.load(folder / PROGRAM).module(),
        ONNX: lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0]),
    }
    found = dict.fromkeys(files, 0.0)
    random = torch.Generator().manual_seed(0)
    for size in sizes:
        pixels = torch.randint(256, (IMAGES, 3, *size), generator=random, dtype=torch.uint8)
        with torch.no_grad():
            expected = _of_the_run(trained, normalize(pixels)).double()
            for name, run in files.items():
                got = run(pixels.float() / 255).double()
                difference = float((got - expected).abs().max()) if got.shape == expected.shape else float("inf")
                if not difference <= TOLERANCE * float(expected.abs().max()):
                    raise ConfigError(
                        f"{name} gives other numbers than the run, by {difference:.1e} where the largest is "
                        f"{float(expected.abs().max()):.1e}, so nothing is kept: please report it"
                    )
                found[name] = max(found[name], difference)
    return found


def _of_the_run(trained: Trained, images: Tensor) -> Tensor:
    task = trained.task
    images = images.to(task.dtype)
    if isinstance(task, ReID):
        before, after = task(images)
        return before if task.feature == "before_bn" else after
    if isinstance(task, Classification):
        return task(images).softmax(1)
    assert isinstance(task, Segmentation)
    assert task.segmenter is not None
    return task.segmenter(images)
