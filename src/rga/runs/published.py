"""How many images the published data sets have: what has others under such a name is a part of it, or another set."""

from collections.abc import Mapping
from typing import Any

# By data.name, of each split; as in the readers, which `rga data check` compares with. (CIFAR's refuses others.)
IMAGES: Mapping[str, Mapping[str, int]] = {
    "market1501": {"train": 12_936, "query": 3_368, "gallery": 15_913},  # with the distractors, without the junk
    "dukemtmc": {"train": 16_522, "query": 2_228, "gallery": 17_661},
    "cuhk03_labeled": {"train": 7_368, "query": 1_400, "gallery": 5_328},
    "cuhk03_detected": {"train": 7_365, "query": 1_400, "gallery": 5_332},
    "msmt17_v1": {"train": 32_621, "query": 11_659, "gallery": 82_161},
    "msmt17_v2": {"train": 32_621, "query": 11_659, "gallery": 82_161},
    "cityscapes": {"train": 2_975, "val": 500},
    "camvid": {"train": 367, "val": 101, "test": 233},
}


def unpublished(config: Mapping[str, Any], counts: Mapping[str, Any]) -> str:
    """Say in which splits data are not those that are published under their name; nothing where they are.

    Args:
        config: of a run; synthetic data say themselves what they are.
        counts: what its result says of its data, `{"name": ..., split: {"images": n, ...}}`; without a name, it is the
            config's.
    """
    data = config.get("data") or {}
    name = str(counts.get("name", data.get("name")))
    splits = dict(IMAGES.get(name, {})) if data.get("demo") is None else {}
    if data.get("train_identities"):  # a part that was asked for
        splits.pop("train", None)
    found = {split: counts[split]["images"] for split in splits if isinstance(counts.get(split), Mapping)}
    other = [
        f"{split} {count:,} images of {splits[split]:,}" for split, count in found.items() if count != splits[split]
    ]
    return f"not the published set: {', '.join(other)}" if other else ""
