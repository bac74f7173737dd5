"""Where numbers of our own come from: data set, network, scale, and what was spent on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rga.runs.identity import fingerprint, is_name, starting_weights, weights_file

_GATES = {True: "begin at 1/2", False: "begin at random, as the authors'"}
_SYNTHETIC = " (synthetic)"  # in the layout of that data set


@dataclass(frozen=True)
class Setting:
    """What a reader must know before numbers are compared. None: the config does not say."""

    data: str
    network: str
    scale: str
    epochs: int | None
    steps: int | None  # of an epoch
    size: str | None  # of the network's input, height x width
    weights: str | None  # that the network starts from: a name of torchvision's, or a file's name
    gates: str | None  # how those of an RGA block begin

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Setting":
        def node(group: str) -> Mapping[str, Any]:
            return config.get(group) or {}

        data, recipe, weights = node("data"), node("recipe"), node("backbone").get("weights")
        size, begins = data.get("size"), (node("attention").get("block") or {}).get("zero_init_last")
        return cls(
            data=str(data.get("name", "unnamed")) + (_SYNTHETIC if data.get("demo") is not None else ""),
            network=str(node("backbone").get("name", "unnamed")),
            scale=str(node("scale").get("name", "paper")),
            epochs=recipe.get("epochs"),
            steps=recipe.get("steps"),
            size=" x ".join(map(str, size)) if isinstance(size, Sequence) else None,
            weights=(weights_file(weights) or weights) if isinstance(weights, str) else None,
            gates=None if begins is None else _GATES[bool(begins)],
        )

    @property
    def synthetic(self) -> bool:
        """Whether the data are synthetic, so that the numbers are no results."""
        return self.data.endswith(_SYNTHETIC)

    @property
    def budget(self) -> str:
        """In words, such as `15 epochs at 128 x 64, weights IMAGENET1K_V1`."""
        epochs = f"{self.epochs} epoch{'' if self.epochs == 1 else 's'}" if self.epochs is not None else ""
        steps = f" of {self.steps} steps" if self.steps is not None else ""
        size = f" at {self.size}" if self.size is not None else ""
        weights = f"weights {self.weights}" if self.weights is not None else "from scratch"
        return ", ".join(part for part in ((epochs + steps + size).strip(), weights) if part)


def compared(config: Mapping[str, Any]) -> str:
    """Name what makes a number another one than the paper's: the fingerprint, but for the precision, and for where the
    trunk's first weights come from, as long as they are nobody's run."""
    trainer = {key: value for key, value in config["trainer"].items() if key not in ("precision", "tf32")}
    weights = starting_weights(config)
    run = weights_file(weights) or ""
    begin = None if weights is None else run if is_name(run) else "published"
    backbone = config["backbone"]
    backbone = {**backbone, "weights": begin, "trunk": {**backbone["trunk"], "weights": begin}}
    return fingerprint({**config, "trainer": trainer, "backbone": backbone})
