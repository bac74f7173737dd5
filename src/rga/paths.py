"""Where the package's own data lie: `conf/` and `experiments/`, beside the sources or inside an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _packaged(name: str) -> Path:
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parents[1] / name


CONF = _packaged("conf")
EXPERIMENTS = _packaged("experiments")
