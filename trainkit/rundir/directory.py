"""The paths of the files of one run."""

import re
from pathlib import Path

__all__ = ["RunDirectory"]


class RunDirectory:
    """The folder of one run: event files, checkpoints, what it was started with, its status.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()
        self.checkpoints = self.path / "checkpoints"
        self.status = self.path / "run.json"
        #: Held by the process that is at work in the folder.
        self.lock = self.path / ".lock"
        self.log = self.path / "run.log"
        self.history = self.path / "history.csv"
        #: The event file of the row in TensorBoard's HPARAMS.
        self.results = self.path / "results"

    @property
    def label(self) -> str:
        """A short name with the distinctive part first: lists of runs cut long names."""
        name, above = self.path.name, self.path.parent.name
        # `runs/digits/<date>_<time>`, but `<date>_<time>_multirun/0_lr=0.1`.
        return f"{above}/{name}" if re.match(r"\d{4}-\d\d-", name) else f"{name} ({above})"

    def log_of(self, rank: int) -> Path:
        """The log of one of several processes, but for the first, whose is `log`."""
        return self.path / f"run.rank{rank}.log"

    def events(self, part: str) -> Path:
        """The folder of the event files of `train`, `validation` or `test`."""
        return self.path / part

    def create(self) -> "RunDirectory":
        """Make the folder and claim it for this run.

        Raises:
            ValueError: It already holds a run, or is no folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"a run needs a folder of its own, but {self.path} is a file")
        found = self._traces()
        if found:
            raise ValueError(self._taken(found))
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        try:
            self.status.touch(exist_ok=False)  # if two runs start at once, only one gets the folder
        except FileExistsError:
            raise ValueError(self._taken(self.status.name)) from None
        return self

    def holds_a_run(self) -> bool:
        """Whether a run has begun in the folder."""
        return self.path.is_dir() and bool(self._traces())

    def _taken(self, found: str) -> str:
        return (
            f"{self.path} already holds a run ({found}): trainkit resume {self.path} goes on with "
            "it, or choose another folder"
        )

    def _traces(self) -> str:
        if self.status.exists():
            return self.status.name
        parts = ("train", "validation", "test")
        events = (e for part in parts for e in self.events(part).glob("*tfevents*"))
        states = self.checkpoints.glob("*.pt")
        found = next(events, None) or next(states, None)
        return str(found.relative_to(self.path)) if found else ""
