"""One checkpoint file: written whole, verified before it is read, safe to load."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from trainkit.rundir.atomic_write import replace_atomically

__all__ = ["FORMAT", "DamagedCheckpointError", "load_checkpoint", "save_checkpoint"]

#: Of the content; a checkpoint of another format holds weights, but cannot be resumed from.
FORMAT = 2


class DamagedCheckpointError(ValueError):
    """The file is damaged, no checkpoint, or one of another run."""


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state atomically: a reader finds the new file or the old one, never a part.

    Args:
        path: Of the file.
        state: Tensors, numbers, strings and containers of these.

    Raises:
        OSError: It cannot be written; the old file stays.
    """
    replace_atomically(path, lambda file: write_state(file, state))


def write_state(file: BinaryIO, state: Mapping[str, Any]) -> None:
    """Write a state into an open file.

    Raises:
        OSError: The disk's own error, which torch would hide behind one of its own.
    """
    recorder = _Recorder(file)
    try:
        torch.save(dict(state), recorder)  # type: ignore[arg-type]  # it has what torch calls
    except Exception:
        if recorder.error is not None:
            raise recorder.error from None
        raise


def load_checkpoint(
    path: Path, device: torch.device | str = "cpu", *, run: str | None = None
) -> dict[str, Any]:
    """Read a state without running any code that the file may contain.

    The checksums are verified first: torch itself loads most files in which a bit was flipped
    without an error, with other values.

    Args:
        path: Of the file.
        device: Where the tensors go.
        run: The id of the run that it must be of; None: of any.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedCheckpointError: It is damaged, no checkpoint, or one of another run.

    Cost: reads the file twice.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise DamagedCheckpointError(f"{path} is damaged: the checksum of {damaged} is wrong")
        state = torch.load(path, map_location=device, weights_only=True)
    except (FileNotFoundError, torch.OutOfMemoryError, DamagedCheckpointError):
        raise
    except Exception as error:  # torch raises EOFError, KeyError, OSError, ... for damaged files
        first = str(error).strip().split("\n")[0]
        raise DamagedCheckpointError(
            f"{path} is damaged or no checkpoint: {type(error).__name__}: {first}"
        ) from error
    if not isinstance(state, dict) or "models" not in state:
        raise DamagedCheckpointError(f"{path} is not a checkpoint of a run")
    if run is not None and state.get("run") != run:
        raise DamagedCheckpointError(f"{path} is of another run ({state.get('run')}, not {run})")
    return state


class _Recorder:
    """Passes bytes on to a file, and keeps the error of a write that fails."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, in the place of what had that name, atomically.

    Args:
        source: A complete file.
        target: In the same folder.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # not every file system knows links
        replace_atomically(target, lambda file: file.write(source.read_bytes()))
        return
    try:
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
