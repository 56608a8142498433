"""The checkpoints of a run: the last one, the one before it, and the best."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainkit.rundir.atomic_write import sync_folder
from trainkit.rundir.checkpoint import (
    FORMAT,
    DamagedCheckpointError,
    link_or_copy,
    load_checkpoint,
    save_checkpoint,
)

__all__ = ["CheckpointFolder"]


class CheckpointFolder:
    """The folder `checkpoints/` of a run.

    - `last.pt` is the newest state, `previous.pt` the one before it, in case `last.pt` is damaged.
    - `best.pt` is the state with the best value. Where several are kept, each has a name of its
      own, `best_<iteration>.pt`, and `best.pt` is a second name of the first.

    At every moment there is a complete `last.pt`, as soon as one was written: a new state is
    written beside it, synced, and renamed; what is not needed any more is removed after that.

    Args:
        path: Made when something is saved.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(
        self, state: Mapping[str, Any], *, last: bool, best: bool = False, kept: Sequence[int] = ()
    ) -> None:
        """Write a state under the names that it gets.

        Args:
            state: With its `iteration`.
            last: It is the last state.
            best: It is the best state.
            kept: Iterations of the best states, this one among them, where several are kept.

        Raises:
            OSError: It cannot be written; what was there before stays.
        """
        self.path.mkdir(parents=True, exist_ok=True)  # it may have been removed
        iteration = int(state["iteration"])
        names = [f"best_{iteration}"] if iteration in kept and len(kept) > 1 else []
        names += ["best"] if best else []
        names += ["last"] if last else []
        if not names:
            return
        first, *others = [self.path / f"{name}.pt" for name in names]
        if first.name == "last.pt":
            self._keep_previous()
        save_checkpoint(first, state)
        for other in others:
            if other.name == "last.pt":
                self._keep_previous()
            link_or_copy(first, other)
        sync_folder(self.path)
        self._remove_all_but(kept)

    def newest(self, run: str | None = None) -> tuple[Path, dict[str, Any], list[str]]:
        """The newest state from which the run can be resumed.

        Args:
            run: The id of the run.

        Returns:
            Its file, its content, and a line for each newer one that cannot be used.

        Raises:
            DamagedCheckpointError: There is none that can be used; says why of each.
            FileNotFoundError: There is none at all.
        """
        refused: list[str] = []
        for path in self._newest_first():
            try:
                state = load_checkpoint(path, run=run)
                if state.get("format") != FORMAT:
                    raise DamagedCheckpointError(
                        f"{path} is of format {state.get('format')}, this trainkit resumes from "
                        f"format {FORMAT}"
                    )
            except FileNotFoundError:
                continue
            except DamagedCheckpointError as error:
                refused.append(str(error))
                continue
            return path, state, refused
        if refused:
            raise DamagedCheckpointError("no checkpoint can be used: " + "; ".join(refused))
        raise FileNotFoundError(f"{self.path} holds no checkpoint to resume from")

    def sound(self) -> Iterator[dict[str, Any]]:
        """Every state that can be resumed from."""
        for path in (*self._newest_first(), self.path / "before_non_finite.pt"):
            with suppress(FileNotFoundError, DamagedCheckpointError):
                state = load_checkpoint(path)
                if state.get("format") == FORMAT:
                    yield state

    def keep_before_non_finite(self) -> None:
        """Keep the last state: what comes after it is not finite."""
        last = self.path / "last.pt"
        if last.exists():
            link_or_copy(last, self.path / "before_non_finite.pt")

    def remove_remains(self) -> None:
        """Remove what a killed process has left half written; only with the lock of the run."""
        for path in self.path.glob(".*.tmp"):
            with suppress(OSError):
                path.unlink()

    def _newest_first(self) -> Iterator[Path]:
        yield self.path / "last.pt"
        yield self.path / "previous.pt"
        best = [path for path in self.path.glob("best*.pt") if path.is_file()]
        yield from sorted(best, key=lambda path: path.stat().st_mtime, reverse=True)

    def _keep_previous(self) -> None:
        last = self.path / "last.pt"
        if last.exists():
            link_or_copy(last, self.path / "previous.pt")

    def _remove_all_but(self, kept: Sequence[int]) -> None:
        names = {f"best_{iteration}.pt" for iteration in kept}
        for path in self.path.glob("best_*.pt"):
            if path.name not in names:
                with suppress(OSError):
                    os.unlink(path)
