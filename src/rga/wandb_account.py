"""Whether wandb can send anything from here. Neither torch nor wandb is needed to tell."""

import os
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlparse


def mode() -> str:
    """WANDB_MODE, what `wandb offline` has set or, without them, online where there is an account; else offline."""
    return os.environ.get("WANDB_MODE") or _setting("mode") or ("online" if has_account() else "offline")


def has_account() -> bool:
    """Whether wandb has a key to log in with, for its own server or for the one that it is told to use."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = os.environ.get("WANDB_BASE_URL") or _setting("base_url") or "https://api.wandb.ai"
    try:
        return netrc(os.environ.get("NETRC")).authenticators(urlparse(server).netloc) is not None
    except (OSError, NetrcParseError):
        return False


def _setting(name: str) -> str | None:
    """What wandb's files of settings say: the user's, over which that of the working directory goes."""
    user = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    here = Path(os.environ.get("WANDB_DIR") or ".")
    settings = ConfigParser(interpolation=None)
    try:
        settings.read([user / "settings", *(here / folder / "settings" for folder in (".wandb", "wandb"))])
    except (OSError, UnicodeDecodeError, ConfigParserError):
        return None
    return settings.get("default", name, fallback=None)
