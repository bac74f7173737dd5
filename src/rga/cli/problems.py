"""What an error is to the user: what happened, to which file or setting, what to do. `--debug` shows the traceback."""

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from rga.printing import printable

DEBUG = "RGA_DEBUG"
OURS = Path(__file__).resolve().parents[1]
_WORKER = re.compile(r"Caught \w+ in DataLoader worker process")
_RAISED = re.compile(r"^[\w.]*(?:Error|Exception): ", re.MULTILINE)

_FULL = (
    "free some space, or choose another place: paths.runs, paths.cache and paths.data say where things go. What was "
    "there before is whole, and the same command resumes"
)
_PLACES = "choose another place, such as paths.runs=FOLDER, paths.cache=FOLDER or paths.data=FOLDER"
_MEMORY = (
    "fewer images at once need less: recipe.identities or recipe.batch (half of it with "
    "+trainer.accumulate_grad_batches=2 keeps the size of a step, but not of BatchNorm's batch), in a test "
    "data.test_batch or task.window; more devices share a batch (trainer=ddp), and trainer.precision=bf16-mixed needs "
    "about half"
)
_CLUSTER = "pip install 'rga[cluster]' brings what hydra/launcher=slurm and hydra/launcher=ray need"
_WANDB = (
    "(logger.wandb.offline=true or WANDB_MODE=offline logs on this machine, and `wandb sync` sends it later; "
    "logger=csv does without)"
)
# What other packages say in words of their own, and what to do.
_SAID = {
    "CUDA out of memory": _MEMORY,
    "can't allocate memory": _MEMORY,
    "No CUDA GPUs are available": "without a GPU: trainer=auto, or --device cpu",
    "No supported gpu backend found": "without a GPU: trainer.accelerator=cpu",
    "Found no NVIDIA driver": "without a GPU: trainer=auto, or --device cpu",
    "Torch not compiled with CUDA enabled": "this PyTorch is one for CPUs: trainer=auto, or --device cpu",
    "invalid device ordinal": "there is no GPU of this number: nvidia-smi lists those there are",
    "Error(s) in loading state_dict": (
        "the checkpoint is of another network than the sources make now: rerun=true makes the run anew"
    ),
    "Config group override must be a string": (
        "a group is answered by the name of one of its files, such as attention=none or head=plain"
    ),
    'Could not detect "srun"': "hydra/launcher=slurm is for machines from which jobs can be sent to SLURM",
    "hydra_plugins.hydra_ray_launcher": _CLUSTER,
    "does not have a deterministic implementation": "+trainer.deterministic=warn names such steps and continues",
    "DataLoader worker": (
        "a process that decodes images was ended, mostly for want of memory or of /dev/shm: data.workers=0 does without"
    ),
}


def message_of(error: BaseException) -> str | None:
    """What to tell the user; None of a mistake of ours, for which there is the traceback."""
    for cause in _chain(error, contexts=True):
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"no space is left on the disk{_of(cause)}: {_FULL}"
        if isinstance(cause, OSError) and cause.errno == errno.EFBIG:
            return f"a file would be larger than ulimit -f or the disk's format allows{_of(cause)}: {_FULL}"
    return next((found for cause in _chain(error) if (found := _known(cause)) is not None), None)


def _known(error: BaseException) -> str | None:
    text, kind = _text(error), type(error)
    package = kind.__module__.partition(".")[0]
    if "hydra/launcher/submitit_" in text:  # where a sweep is composed, and where a run is
        return f"{_first(text)} {_CLUSTER}"
    if package in ("rga", "hydra_plugins") or text.startswith("rga: "):
        return text.removeprefix("rga: ")
    if package == "wandb":
        return f"wandb: {_first(text)} {_WANDB}"
    if isinstance(error, OSError):
        return _of_the_system(error)
    if isinstance(error, MemoryError):
        return f"the memory is full: {_MEMORY}"
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("rga"):
        return f"the package {error.name} is not installed: pip install it, or choose what does without"
    if isinstance(error, ModuleNotFoundError) and not error.name:  # of a library: it says what it needs
        return " ".join(text.split())
    for sign, help in _SAID.items():
        if sign in text:
            return f"{_first(text)} {help}" if text.endswith(".") else f"{_first(text)}: {help}"
    if kind.__name__ == "InstantiationException":  # what was called has its say first
        return " ".join(text.split()) if text.startswith(("Error locating", "Error loading")) else None
    if package in ("hydra", "omegaconf", "yaml") or kind.__name__ == "MisconfigurationException":
        return text if package == "hydra" else " ".join(text.split())
    if kind.__name__ == "FailedJobError" and "sbatch" in text:  # of submitit
        return f"{' '.join(text.split())}: a job asks for hydra.launcher.gpus_per_node, .mem_gb, .partition, ..."
    if isinstance(error, TypeError) and "unexpected keyword argument" in text:
        return f"{text}: an option in a config that this component does not have"
    if kind is ValueError and _raised_in(error.__traceback__, "hydra/_internal"):  # flags that exclude each other
        return text
    if kind in (ValueError, RuntimeError) and _raised_by_us(error.__traceback__):
        return text
    if kind is ValueError and _raised_in(error.__traceback__, "lightning/pytorch"):  # an option of the Trainer
        return " ".join(text.split())
    return None


def _of_the_system(error: OSError) -> str:
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"no permission{_of(error)}: {_PLACES}, or change whose it is"
    if error.errno == errno.ENAMETOOLONG:
        return f"a name is too long{_of(error)}: {_PLACES}"
    if error.errno == errno.EISDIR and error.filename is not None:
        return f"{error.filename} is a folder: name a file"
    if error.errno in (errno.EEXIST, errno.ENOTDIR) and error.filename is not None:
        return f"{error.filename} is a file, or lies in one, where a folder is needed: choose another place"
    return f"{error.strerror or error}{_of(error)}"


def _of(error: OSError) -> str:
    return f" ({error.filename})" if error.filename is not None else ""


def _text(error: BaseException) -> str:
    """Without the traceback that a worker of a DataLoader puts into it."""
    text = str(error)
    if not _WORKER.match(text):
        return text
    starts = [found.end() for found in _RAISED.finditer(text)]
    return text[starts[-1] :].rstrip() if starts else text


def _first(text: str) -> str:
    return text.strip().partition("\n")[0]


def _chain(error: BaseException, contexts: bool = False) -> Iterator[BaseException]:
    """The error, and those from which it was raised, as Hydra does; with `contexts` also those while handling which."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or (following.__context__ if contexts else None)


def _raised_in(trace: TracebackType | None, package: str) -> bool:
    frames = traceback.extract_tb(trace)
    return bool(frames) and f"/{package}/" in frames[-1].filename and (frames[-1].line or "").startswith("raise ")


def _raised_by_us(trace: TracebackType | None) -> bool:
    """Whether it is a `raise` of this package: what Python or another package raises may be a mistake of ours."""
    frames = traceback.extract_tb(trace)
    if not frames:
        return False
    last = frames[-1]
    return Path(last.filename).resolve().is_relative_to(OURS) and (last.line or "").startswith("raise ")


def _unknown(trace: TracebackType | None) -> str:
    """What to say below a traceback: an error of another package may be a mistake of ours, or not."""
    frames = traceback.extract_tb(trace)
    if not frames or Path(frames[-1].filename).resolve().is_relative_to(OURS):
        return "this is a mistake in rga, not in what was asked for: please report it with the lines above"
    return "this error is not known to rga: where the lines above do not say what to do, please report them"


def debugging() -> bool:
    return bool(os.environ.get(DEBUG))


def take_debug(argv: list[str]) -> list[str]:
    """A command line without `--debug`, which holds for every command and for the processes that it starts."""
    end = argv.index("--") if "--" in argv else len(argv)
    if "--debug" not in argv[:end]:
        return argv
    os.environ[DEBUG] = "1"
    return [word for word in argv[:end] if word != "--debug"] + argv[end:]


def print_message(error: BaseException) -> None:
    """Print what an error is, on stderr."""
    text = message_of(error)
    if text is None:
        traceback.print_exception(error)
        text = _unknown(error.__traceback__)
    print(printable(f"rga: {text}"), file=sys.stderr, flush=True)
