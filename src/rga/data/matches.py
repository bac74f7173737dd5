"""Which queries count: what the labels of a re-identification set say before anything is trained or measured.

A query's matches are the images of its identity in the gallery that another camera took. A query without one is left
out of every mean, as all evaluation code of the field does; so a result says how many were not. Where a set does not
say which camera took an image (`rga.data.base.Names`), the matches are all other gallery images of the identity.
"""

from collections.abc import Sequence
from pathlib import Path

from rga.data.base import WITHOUT_CAMERAS, Sample, Split, cameras, identities, shorten
from rga.errors import DataError


def unmatched(query: Sequence[Sample], gallery: Sequence[Sample]) -> list[Sample]:
    """The queries without a match, in their order."""
    seen: dict[int, set[int]] = {}  # the cameras of each identity in the gallery
    for sample in gallery:
        seen.setdefault(sample.identity, set()).add(sample.camera)
    return [sample for sample in query if not seen.get(sample.identity, set()) - {sample.camera}]


def problems(split: Split) -> list[str]:
    """Why a set cannot be tested on at all; nothing: it can."""
    found = _problem(split)
    return [f"the protocol cannot be run: {found}"] if found else []


def _problem(split: Split) -> str:
    query, gallery = split.query, split.gallery
    for what, samples in (("query", query), ("gallery", gallery)):
        if not samples:
            return f"there are no {what} images"
    if len(unmatched(query, gallery)) < len(query):
        return ""
    if not {*identities(query)} & {*identities(gallery)}:
        return f"none of the {len(identities(query)):,} identities of the queries is in the gallery"
    if not split.has_cameras:
        return f"none of the {len(query):,} queries has a match: another image of its identity in the gallery"
    if len(found := cameras([*query, *gallery])) == 1:
        return (
            f"all query and gallery images are of camera {split.camera(found[0])}, but a match is an image of the same "
            "identity from another camera"
        )
    return f"none of the {len(query):,} queries has a match: an image of its identity in the gallery by another camera"


def verify(split: Split, root: Path) -> None:
    """Stop where the protocol cannot be run.

    Raises:
        DataError: no query has a match, or there are no queries, or no gallery.
    """
    if found := problems(split):
        raise DataError(f"{root}: {found[0]}")


def notes(split: Split) -> list[str]:
    """What a match is where that is not as usual, and the queries that do not count; nothing where all do, or none."""
    said = [] if split.has_cameras else [WITHOUT_CAMERAS]
    alone = unmatched(split.query, split.gallery)
    if not 0 < len(alone) < len(split.query):
        return said
    names = shorten([sample.path.name for sample in alone])
    count = f"{len(alone):,} of {len(split.query):,} queries"
    why = "another camera has no gallery image" if split.has_cameras else "the gallery has no other image"
    return [*said, f"{count} do not count, as {why} of their identity: {names}"]
