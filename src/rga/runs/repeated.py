"""Settings that repeat another one, such as `data.batch: ${recipe.batch}`: they are set where they come from.

Set where it is repeated, a value would act without being named: tables, headers and plans read the other place.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from rga.errors import ConfigError
from rga.paths import CONF
from rga.runs.compose import composition

# What repeats which in the installed configs. (The data may have a seed of their own: data.seed counts by itself.)
REPEATED = {
    "task.head": "head",
    "task.block": "attention.block",
    "data.augment": "recipe.augment",
    "data.batch": "recipe.batch",
    "data.steps": "recipe.steps",
    "data.identities": "recipe.identities",
    "data.images": "recipe.images",
    "recipe.augment.size": "data.size",
    "recipe.schedule.epochs": "recipe.epochs",
    "backbone.trunk.name": "backbone.name",
    "backbone.trunk.weights": "backbone.weights",
    "backbone.trunk.depth": "backbone.depth",
    "backbone.trunk.growth": "backbone.growth",
    "backbone.trunk.shrink": "backbone.shrink",
}


def expect_set_at_source(
    overrides: Sequence[str], *, conf: str | Path = CONF, config_dir: str | Path | None = None
) -> None:
    """See that no override sets a value where it is repeated, and none changes the network under its name.

    Raises:
        ConfigError: one does; the error names the setting that it repeats.
    """
    overrides = [single for override in overrides for single in _singles(override)]
    keys = {override: override.partition("=")[0].lstrip("+~") for override in overrides}
    if "backbone.trunk.name" in keys.values() and "backbone.name" not in keys.values():
        line = next(override for override, key in keys.items() if key == "backbone.trunk.name")
        raise ConfigError(
            f"{line}: the network would keep its old name in every table: choose it by backbone=NAME, or give "
            "backbone.name as well"
        )
    if "backbone.name" in keys.values() and not any(key.startswith("backbone.trunk") for key in keys.values()):
        line = [override for override, key in keys.items() if key == "backbone.name"][-1]
        written = composition(overrides, conf=conf, config_dir=config_dir).unresolved
        if _value(written, "backbone.trunk.name") != "${backbone.name}":
            raise ConfigError(
                f"{line}: the network would stay what it is and be called so in every table: of timm's networks that "
                f"one is chosen by backbone=timm {line}"
            )
    here = {line: at for line, key in keys.items() if (at := _at(key)) is not None}
    if not here:
        return
    written = composition([line for line in overrides if line not in here], conf=conf, config_dir=config_dir).unresolved
    for line, at in here.items():
        if _value(written, at) == f"${{{REPEATED[at]}}}":  # a file of the user's own may have a value there
            source = keys[line].replace(at, REPEATED[at], 1)
            raise ConfigError(f"{line}: {at} repeats {REPEATED[at]}, which is what to set: {source}=...")


def _singles(override: str) -> list[str]:
    """An override of one value each for `backbone={name: resnet101}`, which Hydra merges."""
    key, _, value = override.partition("=")
    if not value.startswith("{"):
        return [override]
    try:
        found = OverridesParser.create().parse_override(override).value()
    except HydraException:
        return [override]  # Hydra says what is wrong with it

    def flat(node: Any, place: str) -> Iterator[str]:
        if isinstance(node, Mapping) and node:
            for name, inner in node.items():
                yield from flat(inner, f"{place}.{name}")
        else:
            yield f"{place}={json.dumps(node, default=str)}"

    return list(flat(found, key))


def _at(key: str) -> str | None:
    return next((at for at in REPEATED if key == at or key.startswith(f"{at}.")), None)


def _value(written: Mapping[str, Any], path: str) -> Any:
    node: Any = written
    for name in path.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node
