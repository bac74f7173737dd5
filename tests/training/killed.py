"""`rga train` that kills itself: `python killed.py MOMENT train OVERRIDES`.

MOMENT is `saved` (right after the first checkpoint), `batch` (one batch later) or `writing` (in the middle of the
second checkpoint's file).
"""

import os
import signal
import sys
from typing import Any

from rga.cli.app import main
from rga.training import checkpoints


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arrange(moment: str) -> None:
    save, batch_end, write = (
        checkpoints.AtomicCheckpointIO.save_checkpoint,
        checkpoints.EpochCheckpoint.on_train_batch_end,
        checkpoints.torch.save,
    )
    saved: list[Any] = []

    def counted(self: Any, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        if saved and moment == "writing":
            checkpoints.torch.save = half  # type: ignore[assignment]
        save(self, checkpoint, path, storage_options)
        saved.append(path)
        if moment == "saved":
            kill()

    def half(checkpoint: Any, file: Any) -> None:
        write(checkpoint, file)
        file.flush()
        file.truncate(file.tell() // 2)
        kill()

    def on_train_batch_end(self: Any, *args: Any) -> None:
        batch_end(self, *args)
        if saved and moment == "batch":
            kill()

    checkpoints.AtomicCheckpointIO.save_checkpoint = counted  # type: ignore[method-assign]
    checkpoints.EpochCheckpoint.on_train_batch_end = on_train_batch_end  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    arrange(sys.argv.pop(1))
    main()
