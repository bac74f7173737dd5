"""From the config groups `backbone` and `attention` to a network with attention behind its stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import Tensor, nn

from rga.backbones.from_run import start_from, state_of_run
from rga.backbones.stages import pretrained_config, stage_name
from rga.backbones.weights import read_checkpoint
from rga.errors import ConfigError
from rga.files import LAST, RESULT, names_a_file, weights_path
from rga.plugin import assemble
from rga.runs import read_result
from rga.runs.checkpoint_run import other_run
from rga.runs.identity import canonical


def build(backbone: Mapping[str, Any], attention: Mapping[str, Any], size: Sequence[int]) -> tuple[nn.Module, int]:
    """Build the trunk (with its weights), then plug the block behind the stages that `attention.after` names.

    Weights that are a run's, its folder or its checkpoint, fill the trunk and the blocks that are the same, see
    `rga.backbones.from_run.start_from`.

    Args:
        backbone: `trunk` and `stages` of conf/backbone; a stage is a module's name, or a number: the trunk's own count.
        attention: `block` and `after` of conf/attention; a stage is a number, counted from 1, or a module's name.
        size: (H, W) of the images.

    Returns:
        The network and the number of channels of its feature map, which come first: where the trunk's come last, as
        timm's Swin has them, it is permuted at its end.

    Raises:
        ConfigError: weights that are not there or do not fit, a stage or an option that there is not.
    """
    size = (size[0], size[1])
    stages = _stages(attention["after"], backbone["stages"])
    weights = backbone["trunk"].get("weights")
    run = _run(weights)
    try:
        trunk = instantiate(backbone["trunk"], **({"weights": None} if run else {}))
        block = instantiate(attention["block"])
        after = [] if block is None else [stage_name(trunk, stage) for stage in stages]
        network, channels = assemble(trunk, block, after, size)
    except InstantiationException as error:
        cause = error.__cause__ or error
        raise ConfigError(f"backbone={backbone['name']}: {str(cause) or type(cause).__name__}") from error
    except ValueError as error:
        hint = ""
        if pretrained_config(trunk).get("fixed_input_size") and "img_size" not in backbone["trunk"]:
            hint = f". It is made for images of one size: +backbone.trunk.img_size=[{size[0]},{size[1]}] may help"
        raise ConfigError(f"backbone={backbone['name']}: {error}{hint}") from error
    if run:
        try:
            start_from(network, run.state, weights, run.has_block(attention["block"]))
        except ValueError as error:
            raise ConfigError(f"backbone.weights={weights}: {error}") from error
    return network, channels


@dataclass(frozen=True)
class _Run:
    """What a run has trained: the tensors of its network, and its config where it is known."""

    state: dict[str, Tensor]
    config: Mapping[str, Any] | None

    def has_block(self, block: Mapping[str, Any] | None) -> bool | None:
        """Whether its block is this one, however the gates began; None where that is not known."""
        if self.config is None:
            return None
        mine, theirs = (
            None if node is None else canonical({key: node[key] for key in node if key != "zero_init_last"})
            for node in (block, self.config["attention"].get("block"))
        )
        return bool(mine == theirs)


def _run(weights: Any) -> _Run | None:
    """The run that `weights` are of; None where they are a file of another kind, published ones, or none.

    Raises:
        ConfigError: it is not finished, or its checkpoint is not there, damaged, or of another run.
    """
    if not names_a_file(weights):
        return None
    file = weights_path(weights)
    of_run = Path(weights).expanduser().is_dir()
    if not of_run and file.suffix != Path(LAST).suffix:
        return None
    try:
        content = read_checkpoint(file)
        state = state_of_run(content, file)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(f"backbone.weights={weights}: {error}") from error
    result = read_result((file.parent / RESULT).absolute()) if file.name == LAST else None
    if of_run and (state is None or result is None):
        raise ConfigError(f"backbone.weights={weights}: its {RESULT} or {LAST} is none that a run of rga has written")
    if result and isinstance(content, Mapping):
        run = "{fingerprint}/{seed}".format(**result)
        if (other := other_run(content, run)) is not None:
            raise ConfigError(f"backbone.weights={weights}: its {LAST} is of run {other}, its {RESULT} of {run}")
    config = (result or {}).get("config")
    return None if state is None else _Run(state, config if isinstance((config or {}).get("attention"), dict) else None)


def component(node: Mapping[str, Any], **parts: Any) -> Any:
    """Instantiate a config's node, with the parts that are no config's.

    Raises:
        ConfigError: an argument is refused, with the cause alone, or it is one of the parts, which would go over it.
    """
    if given := sorted(node.keys() & parts.keys()):
        raise ConfigError(f"{', '.join(given)}: rga gives this itself, so what the config has would be left out")
    try:
        return instantiate(node, **parts)
    except InstantiationException as error:
        if isinstance(error.__cause__, TypeError | ValueError):
            raise ConfigError(str(error.__cause__)) from error
        raise


def _stages(after: Sequence[int | str], stages: Sequence[int | str]) -> list[int | str]:
    if isinstance(after, str):
        raise ConfigError(f"attention.after is a list of stages: attention.after=[{after}]")
    if any(isinstance(stage, bool) for stage in after):
        raise ConfigError(f"attention.after={list(after)}: a stage is a number or a name")
    given = [isinstance(stage, int) and 1 <= stage <= len(stages) for stage in after]
    named = any(isinstance(stage, str) for stage in stages)  # else they are the trunk's own, which it counts itself
    if named and any(isinstance(stage, int) and not known for stage, known in zip(after, given, strict=True)):
        raise ConfigError(f"attention.after={list(after)}: the backbone has the stages 1 to {len(stages)}")
    return [stages[int(stage) - 1] if known else stage for stage, known in zip(after, given, strict=True)]
