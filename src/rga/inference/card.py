"""The card of an exported network: what it is, what it was trained and tested on, and how to run it."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rga.data.base import in_words
from rga.inference.trained import Trained
from rga.inspection import parameter_count
from rga.printing import markdown
from rga.runs import results_of
from rga.runs.identity import starting_weights, weights_file
from rga.runs.inputs import disagreement

_OUTPUTS = {
    "ReID": "`feature`, (B, C): compare two images by the cosine of their features",
    "Classification": "`scores`, (B, classes): probabilities",
    "Segmentation": "`logits`, (B, classes, H, W), of the whole image at once; the run's test may look in windows",
}
_UNSTATED = "not stated here: ask whoever gave you the data what networks trained on them may be used for"


@dataclass(frozen=True)
class Facts:
    """What a card is made of.

    Args:
        trained: the network with its config.
        config: of the exported network.
        result: of the run; None of a file that is of none.
        differences: from the run's network, by file.
        why: the files take one size only.
        licence: of the data, as the user gives it.
    """

    trained: Trained
    config: Mapping[str, Any]
    result: Mapping[str, Any] | None
    differences: Mapping[str, float]
    why: str | None
    licence: str | None

    def of_run(self, group: str) -> Mapping[str, Any]:
        """A group of the config with which the network was trained and tested; overrides of an export are not in it."""
        recorded = ((self.result or {}).get("config") or {}).get(group)
        found = recorded if isinstance(recorded, Mapping) else self.trained.config.get(group)
        return found or {}


def card(facts: Facts) -> str:
    """Markdown; what a run says of itself is shown as text."""
    return "\n".join([*_what(facts), *_use(facts), *_data(facts), *_metrics(facts), *_checks(facts), *_further(facts)])


def _what(facts: Facts) -> Iterator[str]:
    config, result = facts.config, facts.result or {}
    run = f"run {result['fingerprint']}/{result['seed']}" if result else "a file of weights that is of no recorded run"
    of = f"trained on {_text(facts.of_run('data').get('name'))}" if facts.result else "of unrecorded training"
    yield f"# {_text(facts.trained.network)}, {of}\n"
    yield f"Exported by rga {config['made_from']['rga']} from {run}" + (
        f", finished {_text(result.get('finished_at'))}, commit {_text(result.get('commit') or 'unknown')}.\n"
        if result
        else ".\n"
    )
    count = parameter_count(facts.trained.task)
    yield f"Task: {config['task']}. Parameters: {count / 1e6:.3f} M with what only the training needs.\n"


def _use(facts: Facts) -> Iterator[str]:
    config = facts.config
    height, width = config["size"]
    mean, std = (", ".join(map(str, config["normalisation"][name])) for name in ("mean", "std"))
    sizes = "of any size" if config["any_size"] else f"of {height} x {width}"
    yield "## Use\n"
    yield f"- Input: `images`, (B, 3, H, W) float32, RGB in 0..1, {sizes}; any B."
    yield f"- Normalisation: **inside** all files. It is (x - mean) / std, mean ({mean}), std ({std})."
    yield f"- Before that, as in the run's test: {_text(config['preparation'])}."
    yield f"- Output: {_OUTPUTS[config['task']]}."
    if "classes" in config:
        names = config["class_names"] or ["their names are not recorded: those of the data, in the order of its reader"]
        yield f"- Classes, in their order: {', '.join(map(_text, names))}."
    if config["task"] == "ReID":
        mirrored = ", the mean of an image and its mirror image" * config["flip"]
        yield f"- The feature is the one {config['feature'].replace('_', ' ')}{mirrored}."
    if facts.why:
        yield f"- {_text(facts.why)}"
    yield f"""
```python
import rga, torch, onnxruntime

images = torch.rand(2, 3, {height}, {width})
output = rga.load("FOLDER")(images)  # safetensors and config.json; nothing in the folder is executed
output = torch.export.load("FOLDER/model.pt2").module()(images)
output = onnxruntime.InferenceSession("FOLDER/model.onnx").run(None, {{"images": images.numpy()}})[0]
```

Arithmetic is float32{_precision(facts)}.
"""


def _precision(facts: Facts) -> str:
    if facts.result is None:
        return ""
    precision = facts.of_run("trainer").get("precision")
    return "" if precision == "32-true" else f", while the run was trained and tested in {_text(precision)}"


def _data(facts: Facts) -> Iterator[str]:
    given, exported = _test(facts.of_run("task")), _test(facts.trained.config.task)
    yield "## Data and protocol\n"
    if facts.result is None:  # the config says which network it is, and no more
        yield "- Data, training and test: not recorded with these weights."
        yield f"- Licence of the data: {_text(facts.licence) if facts.licence else _UNSTATED}."
        yield f"- What is exported: {exported}.\n"
        return
    data = facts.of_run("data")
    synthetic = data.get("demo") is not None
    yield f"- Data: {_text(data.get('name'))}" + (
        ", **synthetic images** in its layout, made by rga." if synthetic else "."
    )
    for part, counts in (facts.result.get("data") or {}).items():
        if isinstance(counts, dict):
            yield f"  - {_text(part)}: {_text(in_words(counts))}"
    terms = facts.licence or ("that of rga, MIT: they are synthetic" if synthetic else None)
    yield f"- Licence of the data: {_text(terms) if terms else _UNSTATED}."
    size, scale = " x ".join(map(str, data.get("size") or ())), _text(facts.of_run("scale").get("name"))
    yield f"- Training: {_text(facts.of_run('recipe').get('epochs'))} epochs at {size}, scale {scale}, {_start(facts)}."
    splits = list(data.get("test") or ())
    of = f" on the split {_text(splits[0])}, and others by their names" if len(splits) > 1 else ""
    yield f"- Test{of}: {given}.\n"
    if given != exported:
        yield f"**What is exported differs from that: {exported}.** The metrics below are those of the run's test.\n"


def _start(facts: Facts) -> str:
    """What the training began with, which may have a licence of its own."""
    weights = starting_weights({"backbone": facts.of_run("backbone")})
    if not weights:
        return "from random weights"
    recorded = ((facts.result or {}).get("inputs") or {}).get("weights") or {}
    digest = f" ({_text(recorded['digest'])})" if recorded.get("digest") else ""
    name = weights_file(weights) or ("the network's default published weights" if weights is True else weights)
    return f"from {_text(name)}{digest}"


def _test(task: Mapping[str, Any]) -> str:
    """The options of a test, as a text."""
    options = {name: task.get(name) for name in ("feature", "flip", "rerank", "window", "scales", "mirror")}
    given = (f"{name}={_text(value)}" for name, value in options.items() if value not in (None, False))
    return ", ".join(given) or "no options"


def _metrics(facts: Facts) -> Iterator[str]:
    result = facts.result
    if result is None:
        yield "## Metrics\n\nNone are recorded for these weights.\n"
        return
    root = facts.trained.weights.parent.parent.parent
    seeds = results_of(root, result["fingerprint"])
    apart = disagreement(seeds, root)
    if apart or not seeds:
        seeds = [dict(result)]
    yield "## Metrics\n"
    count = f"{len(seeds)} seed{'s' * (len(seeds) > 1)}"
    yield f"In percent: this network (seed {result['seed']}), and mean ± standard deviation of {count} of its config.\n"
    if apart:
        yield f"Other seeds are left out: {_text(apart)}.\n"
    yield "| | this | seeds |\n|---|---:|---:|"
    for name, value in result["metrics"].items():
        values = [100 * other["metrics"][name] for other in seeds if other["metrics"].get(name) is not None]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        yield f"| {_text(name)} | {100 * value:.1f} | {statistics.mean(values):.1f}{spread} ({len(values)}) |"
    yield ""
    last = (result.get("curve") or [{}])[-1]
    gates = {key: value for key, value in last.items() if key.startswith("gates/") and value is not None}
    if gates:
        yield "Gates of the last epoch, over a few training images (saturated: below 0.05 or above 0.95):\n"
        yield "| | |\n|---|---:|"
        yield from (f"| {_text(name.removeprefix('gates/'))} | {value:.3f} |" for name, value in gates.items())
        yield ""


def _checks(facts: Facts) -> Iterator[str]:
    yield "## Checked\n"
    yield "Largest absolute difference from the run's own network, on random images, on a CPU:\n"
    yield "| file | difference |\n|---|---:|"
    yield from (f"| {name} | {value:.1e} |" for name, value in facts.differences.items())
    yield ""


def _further(facts: Facts) -> Iterator[str]:
    sizes = (f"--{kind}Shapes=images:{batch}x3x{{}}x{{}}" for kind, batch in (("min", 1), ("opt", 8), ("max", 64)))
    shapes = " ".join(sizes).format(*facts.config["size"] * 3)
    yield f"""## Smaller and faster

Neither is done nor tested here; measure the metrics again afterwards. TensorRT, from the ONNX file:

```console
$ trtexec --onnx=model.onnx {shapes} --fp16 --saveEngine=model.plan
```

int8 with ONNX Runtime: `python -m onnxruntime.quantization.preprocess --input model.onnx --output prepared.onnx`, then
`quantize_static` from `onnxruntime.quantization` with a reader of a few hundred training images in 0..1. Keep the
attention in floating point (`nodes_to_exclude`): small errors of a gate scale whole maps.
"""


def _text(value: Any) -> str:
    return markdown(str(value))
