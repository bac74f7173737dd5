"""What a run was made of, by content: an index of its data, the digests of its weights and of one's own components.

They are taken when a run starts, kept in its folder, and compared whenever the run is resumed, reused, recorded or
averaged with others: another data set under the same name, or another file of weights, is never "the same run".
"""

import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from rga.errors import ConfigError
from rga.files import weights_path, write_atomically
from rga.runs import sources
from rga.runs.folder import RESULT
from rga.runs.identity import starting_weights, weights_file
from rga.runs.index import Index

INPUTS = "inputs.json"
INDEX = "index.txt.gz"
_NAMES = 3  # of many that differ, so many are named


class InputsError(ConfigError):
    """A run would be continued, reused or averaged with other data or other weights than its own."""


def places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Where a config's data and weights lie, of which its fingerprint knows the names alone."""
    data, weights = config.get("data") or {}, starting_weights(config)
    named = {f"data.{key}": data.get(key) for key in ("root", "table")}
    return named | {"backbone.weights": weights if weights_file(weights) else None}


def expect_one_place(name: str, first: Mapping[str, Any], second: Mapping[str, Any], who: str) -> None:
    """See that the `places` of two configs of one fingerprint are the same, so that they are one run.

    Args:
        name: the run's, or the fingerprint.
        first, second: their `places`.
        who: what they are called.

    Raises:
        ConfigError: one reads other data, or another file of weights of the same name.
    """
    for key, mine in first.items():
        if mine != second[key]:
            raise ConfigError(
                f"{who} would be one run, {name}, of {key}={mine} and of {key}={second[key]}: give the data a "
                "data.name, or the weights a file name, of their own"
            )


@dataclass(frozen=True)
class Inputs:
    """What a run starts from: data, file of weights, components of one's own; what is None is not compared."""

    data: Index | None
    weights: tuple[str, str] | None  # name and digest of a file; None also: published weights, or none
    sources: Mapping[str, str] = field(default_factory=dict)  # see `rga.runs.sources`

    @classmethod
    def of(cls, config: Mapping[str, Any], data: Index | None) -> "Inputs":
        """Of a run's resolved config.

        Raises:
            FileNotFoundError: there is no such file of weights.
            ConfigError: they are of a run that is not finished.
        """
        weights, own = starting_weights(config), sources.digests(config)
        name = weights_file(weights)
        if name is None:
            return cls(data, None, own)
        with weights_path(weights).open("rb") as file:
            return cls(data, (name, f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"), own)

    def summary(self) -> dict[str, Any]:
        """What a result keeps of them."""
        data = {"data": self.data.splits} if self.data else {}
        weights = {"weights": {"file": self.weights[0], "digest": self.weights[1]}} if self.weights else {}
        return {**data, **weights, **({"sources": dict(self.sources)} if self.sources else {})}

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if self.data:
            (folder / INDEX).write_bytes(self.data.packed())
        write_atomically(folder / INPUTS, json.dumps(self.summary(), indent=1) + "\n")

    def check(self, folder: Path, *, whole: bool = True) -> None:
        """Compare with what the run in `folder` was made of; unless `whole`, only of the splits that both have.

        Raises:
            InputsError: what differs, and what to do; or what is kept of the run's inputs is damaged.
        """
        if found := self.unlike(folder, whole=whole):
            raise InputsError(
                f"the run in {folder} was made of other inputs than these: {'; '.join(found)}. "
                "If these are another data set, other weights or another block, give them a name of their own "
                "(data.name=NAME, a file name, a class) or a folder (paths.runs=FOLDER). If they replace the old "
                "ones, rerun=true makes the run anew"
            )

    def unlike(self, folder: Path, *, whole: bool = True) -> list[str]:
        """In what they differ from those of the run in `folder`, see `check`.

        Raises:
            InputsError: what is kept of the run's inputs is damaged.
        """
        theirs = _read(folder)
        if theirs is None:  # the run was made before inputs were kept, or has not begun
            return []
        mine = {**theirs, **self.summary()}
        if not whole:
            theirs, mine = (
                {**one, "data": {part: one["data"][part] for part in theirs["data"].keys() & mine["data"].keys()}}
                for one in (theirs, mine)
            )
        return differences(theirs, mine, read_index(folder), self.data)

    @property
    def to_train(self) -> "Inputs":
        """What the trained network depends on: the splits that are only tested on are left out."""
        if self.data is None:
            return self
        return replace(self, data=self.data.only("train"))


def disagreement(results: Sequence[Mapping[str, Any]], root: str | Path | None = None) -> str | None:
    """Say which of the runs of one fingerprint were made of different inputs, and in what; None: they agree."""
    for first, second in pairwise(results):
        if found := unlike(first, second, root):
            return (
                f"runs {_name(first)} and {_name(second)} were made of different inputs: {'; '.join(found)}. They are "
                "not averaged: make one of them anew (rga train ... rerun=true), or give the other data a data.name or "
                "the other weights a file name, of their own"
            )
    return None


def unlike(first: Mapping[str, Any], second: Mapping[str, Any], root: str | Path | None = None) -> list[str]:
    """In which inputs two results differ; `root` is where those lie that are not recorded.

    Of a run that was made before inputs were kept, the counts of its data are compared.
    """
    mine, others = first.get("inputs"), second.get("inputs")
    if not (mine and others):
        return _other_counts(first.get("data"), second.get("data"))
    folders = [_folder(root, result) if root is not None else None for result in (first, second)]
    return differences(mine, others, *(read_index(folder) if folder else None for folder in folders))


def read_index(folder: Path) -> Index | None:
    """The index that a run keeps; None where there is none or it is damaged."""
    try:
        return Index.unpacked((folder / INDEX).read_bytes())
    except (OSError, EOFError, ValueError):
        return None


def _read(folder: Path) -> Mapping[str, Any] | None:
    path = folder / INPUTS
    try:
        if not path.exists():  # results may have been brought here without them
            path = folder / RESULT
        found = json.loads(path.read_text(encoding="utf-8"))
        if path.name == RESULT:
            found = found.get("inputs")
            if found is None:
                return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputsError(f"{path} is damaged, so what the run was made of is not known: {error}") from error
    splits, weights = (found.get("data"), found.get("weights")) if isinstance(found, dict) else (None, None)
    well = isinstance(splits, dict) and all(isinstance(split, dict) for split in splits.values())
    if not well or not isinstance(weights or {}, dict):
        raise InputsError(f"{path} is damaged, so what the run was made of is not known: no splits with their images")
    return dict(found)


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], old_index: Index | None = None, new_index: Index | None = None
) -> list[str]:
    """Say in which inputs two summaries differ, with names where there are indices."""
    found = []
    mine, others = old.get("data") or {}, new.get("data") or {}
    if mine != others:
        found += _other_counts(mine, others) or ["as many images, but not the same ones"]
        if old_index and new_index:
            found += _other_names(old_index, new_index, {*mine, *others})
    before, after = old.get("weights") or {}, new.get("weights") or {}
    if before.get("digest") != after.get("digest"):
        found.append(f"the weights {before.get('file') or after.get('file')} are another file of the same name")
    written, now = old.get("sources") or {}, new.get("sources") or {}
    found += [f"the source of {name} has changed" for name in written if now.get(name, written[name]) != written[name]]
    return found


def _other_counts(old: Any, new: Any) -> list[str]:
    """Of two summaries, `{split: {"images": n, ...}}`."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return []
    before, after = (
        {key: value.get("images", 0) for key, value in side.items() if isinstance(value, Mapping)}
        for side in (old, new)
    )
    return [
        f"{split} has {after.get(split, 0):,} images, it had {before.get(split, 0):,}"
        for split in dict.fromkeys([*before, *after])
        if before.get(split, 0) != after.get(split, 0)
    ]


def _other_names(old: Index, new: Index, splits: Set[str]) -> list[str]:
    """The first names in some splits that are gone, new, or of another size or label."""
    before, after = (
        {key: line for line in index.lines if (key := tuple(line.split("\t")[:2]))[0] in splits} for index in (old, new)
    )
    groups = {
        "gone": sorted(before.keys() - after.keys()),
        "new": sorted(after.keys() - before.keys()),
        "changed": sorted(key for key in before.keys() & after.keys() if before[key] != after[key]),
    }
    return [
        f"{len(keys):,} {what}: {', '.join('/'.join(key) for key in keys[:_NAMES])}{', ...' * (len(keys) > _NAMES)}"
        for what, keys in groups.items()
        if keys
    ]


def _folder(root: str | Path | None, result: Mapping[str, Any]) -> Path | None:
    return Path(root) / _name(result) if root is not None and "recorded" not in result else None


def _name(result: Mapping[str, Any]) -> str:
    return f"{result['fingerprint']}/{result['seed']}"
