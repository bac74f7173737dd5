import hashlib
import http.client
import tarfile
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rga.data import archive
from rga.data.cifar.binary import CIFAR10, Cifar
from rga.data.demo import writers
from rga.errors import DataError


@pytest.fixture
def published(tmp_path: Path) -> Cifar:
    """CIFAR-10, small, with an archive that is a local file."""
    synthetic = writers.write_cifar10(tmp_path / "synthetic", train=20, test=10)
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(synthetic, arcname=CIFAR10.folder)
    return replace(CIFAR10, url=path.as_uri(), md5=hashlib.md5(path.read_bytes()).hexdigest())


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_downloads_what_is_absent_once(published: Cifar, tmp_path: Path) -> None:
    root = tmp_path / "data" / "cifar10"
    published.download(root)
    assert listing(root) == [CIFAR10.folder]  # and nothing else is left behind
    assert len(published.read(root).train) == 20
    Path(published.url.removeprefix("file://")).unlink()
    published.download(root)
    published.download(root / CIFAR10.folder)


def test_another_checksum(published: Cifar, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not what was published, its md5 is .* by hand \(md5 0123\) and unpack it in"):
        replace(published, md5="0123").download(tmp_path / "root")
    assert listing(tmp_path / "root") == []


def test_an_unreachable_address(tmp_path: Path) -> None:
    absent = replace(CIFAR10, url=(tmp_path / "nothing.tar.gz").as_uri())
    with pytest.raises(DataError, match=rf"cannot download .*by hand.*{tmp_path}/root, .*holds cifar-10-batches-bin"):
        absent.download(tmp_path / "root")
    assert listing(tmp_path / "root") == []


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), ConnectionResetError("reset"), http.client.IncompleteRead(b"")])
def test_an_interrupted_download_leaves_nothing(
    published: Cifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    monkeypatch.setattr(archive, "_CHUNK", 1000)
    chunks = archive._chunks

    def some(stream: Any) -> Any:
        for number, chunk in enumerate(chunks(stream)):
            if number == 3:
                raise fault
            yield chunk

    with monkeypatch.context() as patch:
        patch.setattr(archive, "_chunks", some)
        expected = KeyboardInterrupt if isinstance(fault, KeyboardInterrupt) else DataError
        with pytest.raises(expected):
            published.download(tmp_path / "root")
    assert listing(tmp_path / "root") == []
    published.download(tmp_path / "root")
    assert len(published.read(tmp_path / "root").train) == 20


def test_an_interrupted_unpacking_leaves_nothing(
    published: Cifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = tarfile.TarFile.extractall

    def half(self: tarfile.TarFile, path: Path, **options: Any) -> None:
        extract(self, path, members=self.getmembers()[:3], **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(tarfile.TarFile, "extractall", half)
    with pytest.raises(KeyboardInterrupt):
        published.download(tmp_path / "root")
    assert listing(tmp_path / "root") == []


def test_half_a_set_is_for_the_user_to_mend(published: Cifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published.download(tmp_path)
    (tmp_path / CIFAR10.folder / "data_batch_1.bin").unlink()
    monkeypatch.setattr(urllib.request, "urlopen", None)
    published.download(tmp_path)
    with pytest.raises(DataError, match="half of CIFAR-10"):
        published.read(tmp_path)


def test_a_root_that_cannot_be_written(published: Cifar, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot download"):
        published.download(tmp_path / "file" / "root")
