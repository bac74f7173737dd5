"""Every notebook runs from top to bottom, offline and in any folder, and is committed without outputs."""

from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.slow
@notebooks
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR", "HF_HOME", "TORCH_HOME"):  # not the user's
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel's own, which draws into the notebook
    notebook = nbformat.read(path, as_version=4)
    # Without folders to search, the only kernel is that of the running interpreter.
    kernels = KernelSpecManager(kernel_dirs=[])
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=kernels)
    folder = tmp_path / "folder"
    folder.mkdir()
    NotebookClient(notebook, km=kernel, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    assert not list(folder.iterdir()), "a notebook leaves nothing behind"


@notebooks
def test_has_no_outputs(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs"), f"cell {cell.id} of {path.name} has outputs"
        assert cell.get("execution_count") is None
