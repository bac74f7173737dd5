"""Where wandb would send a run, from the files that `wandb login` and `wandb offline` write."""

from pathlib import Path

import pytest

from rga.wandb_account import has_account, mode


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_server_of_ones_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """wandb login --host=https://wandb.example.org"""
    write(home / ".netrc", "machine wandb.example.org login user password key\n")
    assert (has_account(), mode()) == (False, "offline")
    write(home / ".config/wandb/settings", "[default]\nbase_url = https://wandb.example.org\n")
    assert (has_account(), mode()) == (True, "online")
    monkeypatch.setenv("WANDB_BASE_URL", "https://other.example.org")
    assert not has_account()


@pytest.mark.parametrize("folder", ["wandb", ".wandb", ".config/wandb"])
def test_offline_by_a_setting(home: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """wandb offline"""
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert mode() == "online"
    write(home / folder / "settings", "[default]\nmode = offline\n")
    assert mode() == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    assert mode() == "online"


def test_damaged_settings_say_nothing(home: Path) -> None:
    for content in (b"no section", b"\xff\xfe"):
        (home / "wandb").mkdir(exist_ok=True)
        (home / "wandb/settings").write_bytes(content)
        assert mode() == "offline"
