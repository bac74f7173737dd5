"""A published archive, downloaded and unpacked: completely or not at all."""

import hashlib
import http.client
import shutil
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rga.data.progress import watched
from rga.errors import DataError

_CHUNK = 1 << 20
_SILENCE = 60  # seconds without a byte after which the other side is given up


def fetch(url: str, md5: str, folder: str, root: Path) -> None:
    """Download a tar archive and put the `folder` that it holds below `root`.

    It is downloaded and unpacked in a hidden folder of `root` and moved at the end, so that an interrupted download
    leaves nothing that could be taken for the set.

    Args:
        url: of the archive.
        md5: its published checksum, which is compared before anything is unpacked.
        folder: the name of the one folder in the archive.
        root: where it goes; made where it does not exist.

    Raises:
        DataError: the archive cannot be downloaded, or has another checksum; the message says what to do by hand.
    """
    by_hand = f"download {url} by hand (md5 {md5}) and unpack it in {root.absolute()}, which then holds {folder}"
    workplace: Path | None = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        workplace = Path(tempfile.mkdtemp(prefix=".download-", dir=root))
        found = _download(url, workplace / "archive")
        if found != md5:
            raise DataError(f"{url} is not what was published, its md5 is {found}: {by_hand}")
        with tarfile.open(workplace / "archive") as archive:
            archive.extractall(workplace / "fresh", filter="data")
        try:
            (workplace / "fresh" / folder).rename(root / folder)
        except OSError:
            if not (root / folder).is_dir():  # if so, another process was faster
                raise
    except (OSError, http.client.HTTPException, tarfile.TarError) as error:  # urllib's errors are OSErrors
        raise DataError(f"cannot download {url} ({error}): {by_hand}") from error
    finally:
        if workplace is not None:
            shutil.rmtree(workplace, ignore_errors=True)


def _download(url: str, path: Path) -> str:
    """Write what `url` gives to `path`, and give its md5."""
    request = urllib.request.Request(url, headers={"User-Agent": "rga"})
    md5 = hashlib.md5(usedforsecurity=False)  # as published; it finds damage, and needs not stop an attacker
    with urllib.request.urlopen(request, timeout=_SILENCE) as response, path.open("wb") as out:
        chunks = -(-int(response.headers.get("Content-Length") or 0) // _CHUNK)
        for chunk in watched(_chunks(response), f"downloading {Path(url).name}", chunks):
            md5.update(chunk)
            out.write(chunk)
    return md5.hexdigest()


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk
