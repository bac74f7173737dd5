"""Demo data: small sets of drawn pedestrians in the layouts of the real data sets, for the real readers to read."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rga.data import market1501, pedestrians
from rga.data.base import DataError
from rga.data.figure import Person, person
from rga.data.progress import watched

MARKER = "demo.json"  # written into the finished set: what it was drawn from, and how much it holds
_VERSION = 1  # raise it when the drawings change


def write_market1501(
    root: str | Path,
    *,
    identities: int = 60,
    test_identities: int = 40,
    images: int = 4,
    distractors: int = 80,
    junk: int = 40,
    seed: int = 0,
) -> Path:
    """Draw a small set in Market-1501's layout: the same arguments give the same files.

    Nothing is done where the same set lies already. The set is drawn in a folder beside `root` and moved there when it
    is complete, so a half-written one is never read.

    Args:
        root: the folder that will hold the three parts.
        identities: people to train on.
        test_identities: other people, to test on.
        images: pictures of a person in one camera, on average; everybody is seen by three to six of six cameras.
        distractors: gallery pictures of nobody (identity 0).
        junk: gallery pictures that the protocol leaves out (identity -1).
        seed: of everything drawn.

    Raises:
        DataError: something else than demo data lies at `root`.
    """
    root = Path(root).expanduser()
    options = {"version": _VERSION, "identities": identities, "test_identities": test_identities, "images": images,
               "distractors": distractors, "junk": junk, "seed": seed}  # fmt: skip
    if min(identities, test_identities, images) < 1 or min(distractors, junk) < 0:
        raise ValueError(
            f"identities, test_identities and images are at least 1, distractors and junk at least 0: {options}"
        )
    if (present := recorded(root)) and present["options"] == options:
        return root
    if not present and root.exists() and any(root.iterdir()):
        raise DataError(f"{root} holds something else than demo data: choose another folder")
    root.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        fresh, old = workplace / "fresh", workplace / "old"
        counts = _draw(fresh, identities, test_identities, images, distractors, junk, seed)
        (fresh / MARKER).write_text(json.dumps({"options": options, "counts": counts}, indent=2) + "\n")
        try:
            if root.exists() and (recorded(root) or {}).get("options") != options:
                root.rename(old)
            fresh.rename(root)
        except OSError:
            if (recorded(root) or {}).get("options") != options:  # if so, another process was faster: the same files
                raise
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return root


def recorded(root: str | Path) -> dict[str, Any] | None:
    """What the marker of a demo set says: `options`, and `counts` as in a reader's `PUBLISHED`; None without one."""
    try:
        found = json.loads((Path(root).expanduser() / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"options", "counts"} <= found.keys() else None


def _draw(
    folder: Path, train: int, test: int, images: int, distractors: int, junk: int, seed: int
) -> dict[str, tuple[int, int, int]]:
    """Draw the pictures; gives images, identities and cameras of each part, under the names of a check."""
    for part in (market1501.TRAIN, market1501.QUERY, market1501.GALLERY):
        (folder / part).mkdir(parents=True)
    places = [pedestrians.camera(np.random.default_rng([seed, 0, number])) for number in range(6)]
    seen: dict[str, list[tuple[int, int]]] = {part: [] for part in market1501.PUBLISHED}

    def shoot(part: str, who: Person | None, identity: int, camera: int, frame: int) -> None:
        random = np.random.default_rng([seed, 2, identity + 1, camera, frame])
        name = f"{identity:04d}" if identity >= 0 else "-1"
        kind = {"train": market1501.TRAIN, "query": market1501.QUERY}.get(part, market1501.GALLERY)
        path = folder / kind / f"{name}_c{camera}s1_{frame:06d}_00.jpg"
        pedestrians.picture(who, places[camera - 1], random).save(path, quality=92)
        seen[part].append((identity, camera))

    for identity in watched(range(1, train + test + 1), "drawing", train + test):
        random = np.random.default_rng([seed, 1, identity])
        who = person(random)
        for camera in sorted(random.permutation(6)[: random.integers(3, 7)] + 1):
            for frame in range(max(1, images + int(random.integers(-1, 2)))):
                # as in Market-1501, one picture of a person in a camera asks, the others answer
                part = "train" if identity <= train else "query" if frame == 0 else "gallery"
                shoot(part, who, identity, int(camera), frame)
    random = np.random.default_rng([seed, 3])
    for part, identity, count in (("distractors", market1501.DISTRACTOR, distractors), ("junk", market1501.JUNK, junk)):
        for frame in range(count):
            stray = person(random) if part == "junk" else None
            shoot(part, stray, identity, frame % 6 + 1, frame)
    return {
        part: (len(shots), len({identity for identity, _ in shots}), len({camera for _, camera in shots}))
        for part, shots in seen.items()
    }
