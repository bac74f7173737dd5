"""Whether wandb can send anything from here. Neither torch nor wandb is needed to tell."""

import os
from netrc import NetrcParseError, netrc
from urllib.parse import urlparse


def is_offline() -> bool:
    """Whether what is logged stays on this machine: WANDB_MODE says so or, without one, there is no account."""
    mode = os.environ.get("WANDB_MODE")
    return mode == "offline" if mode else not has_account()


def has_account() -> bool:
    """Whether wandb has a key to log in with."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    try:
        return netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
