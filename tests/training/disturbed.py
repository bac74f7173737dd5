"""`rga train` with a shell command that disturbs it, once: `python disturbed.py RANK EPOCH MARKER COMMAND OVERRIDES`.

In the first batch of an epoch, counted from 0, the process of that rank runs the command and waits for what comes of
it, unless the marker, a file, says that this was done before.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))

from rga.cli.app import main
from rga.training.engine import rank
from training.inside import At, disturb


def act() -> None:
    if not command or rank() != int(disturbing):
        return
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return
    subprocess.run(command, shell=True, check=True, env={**os.environ, "PARENT": str(os.getppid())})
    while True:
        time.sleep(1)


if __name__ == "__main__":
    disturbing, epoch, marker, command, *overrides = sys.argv[1:]
    sys.argv = ["rga", "train", *overrides]
    with pytest.MonkeyPatch.context() as patched:
        disturb(patched, At(int(epoch), 0, act))
        main()
