"""CUHK03's lists: who is on which image, and which images are for training, query and gallery.

The new protocol (Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017) is published
as `cuhk03_new_protocol_config_labeled.mat` and `..._detected.mat`, one for each kind of images, in MATLAB's old
format: `filelist` names every image, `labels` and `camId` say whom and where it shows, and `train_idx`, `query_idx`
and `gallery_idx` count in `filelist` from 1. 767 identities are for training, 700 for the test; the query has one
image of each of these in each of the two cameras, the gallery the rest.

The classic protocol (Li et al., DeepReID, CVPR 2014) takes from `filelist` whom and where an image shows, and from
`cuhk-03.mat` which 100 identities a split tests.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rga.data.base import shorten
from rga.errors import DataError
from rga.files import instead

KINDS = ("labeled", "detected")
PARTS = ("train", "query", "gallery")

# Images, identities and cameras.
PUBLISHED = {
    "labeled": {"train": (7_368, 767, 2), "query": (1_400, 700, 2), "gallery": (5_328, 700, 2)},
    "detected": {"train": (7_365, 767, 2), "query": (1_400, 700, 2), "gallery": (5_332, 700, 2)},
}

_NAME = re.compile(r"\d_\d{3}_\d_\d{2}\.png")


@dataclass(frozen=True)
class Lists:
    """What a list file says.

    Args:
        path: the file.
        names: of N images, each once.
        identities: (N,) int64.
        cameras: (N,) int64.
        parts: for each of `PARTS` the places of its images among the N, from 0.
    """

    path: Path
    names: list[str]
    identities: NDArray[np.int64]
    cameras: NDArray[np.int64]
    parts: dict[str, NDArray[np.int64]]


def file_name(kind: str) -> str:
    """The name of the list file of a kind of images."""
    return f"cuhk03_new_protocol_config_{kind}.mat"


def other(kind: str) -> str:
    """labeled for detected, and the reverse."""
    return KINDS[1 - KINDS.index(kind)]


def read(path: Path, kind: str) -> Lists:
    """Read the list file of a kind of images.

    Raises:
        DataError: it is missing, damaged, contradicts itself, or is the published file of the other kind.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"no {path}: it holds the lists of the {kind} images")
    if (what := instead(path)) is not None:
        raise DataError(f"{path} is {what}")
    try:
        content = loadmat(path)
    except Exception as error:  # scipy's readers raise what they come across
        raise DataError(f"{path} cannot be read, it should be of MATLAB's version 5: {error}") from error
    try:
        lists = Lists(
            path,
            [str(np.asarray(cell).item()) for cell in content["filelist"].ravel()],
            _integers(content["labels"]),
            _integers(content["camId"]),
            {part: _integers(content[f"{part}_idx"]) - 1 for part in PARTS},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} does not hold the lists of CUHK03's new protocol: {error!r}") from error
    if problem := _contradiction(lists):
        raise DataError(f"{path} is damaged: {problem}")
    if {part: len(places) for part, places in lists.parts.items()} == _images(other(kind)) != _images(kind):
        raise DataError(
            f"{path} holds the lists of the {other(kind)} images, not of the {kind} ones: has it been mixed up with "
            f"{file_name(other(kind))}?"
        )
    return lists


def write(lists: Lists) -> None:
    """Write a list file in the published format: the same lists give the same bytes."""
    from scipy.io import savemat

    columns = {"labels": lists.identities, "camId": lists.cameras}
    columns |= {f"{part}_idx": places + 1 for part, places in lists.parts.items()}
    names = np.array(lists.names, object)
    content = {"filelist": names[:, None], **{key: values[:, None] for key, values in columns.items()}}
    savemat(lists.path, content, do_compression=True)
    with lists.path.open("r+b") as head:
        head.write(b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(116))  # scipy writes the time into it


def _images(kind: str) -> dict[str, int]:
    return {part: counts[0] for part, counts in PUBLISHED[kind].items()}


def _integers(values: Any) -> NDArray[np.int64]:
    """As they are, or as the doubles that MATLAB makes of everything."""
    given = np.asarray(values).ravel()
    whole = given.astype(np.int64)
    if not (whole == given).all():
        raise ValueError("there are numbers that are no integers")
    return whole


def _contradiction(lists: Lists) -> str:
    """What is wrong with the lists; nothing: empty."""
    count = len(lists.names)
    if not len(lists.identities) == len(lists.cameras) == count:
        return f"it has {count} names, {len(lists.identities)} labels and {len(lists.cameras)} cameras"
    if strange := [name for name in lists.names if not _NAME.fullmatch(name)]:
        return f"names that are not like 1_001_1_01.png: {shorten(strange)}"
    if twice := [name for name, times in Counter(lists.names).items() if times > 1]:
        return f"it names images twice: {shorten(twice)}"
    listed = np.concatenate([*lists.parts.values()])
    if len(outside := listed[(listed < 0) | (listed >= count)]):
        return f"it points at image {outside[0] + 1} of {count}"
    if len(np.unique(listed)) < len(listed):
        return "an image is in two splits, or twice in one"
    train, query, gallery = (set(lists.identities[lists.parts[part]].tolist()) for part in PARTS)
    if shared := sorted(train & (query | gallery)):
        return f"identities are in the training and in the test split: {shorten([*map(str, shared)])}"
    return ""
