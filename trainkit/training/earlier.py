"""A run that is in a folder already, and goes on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from trainkit.masking import masked_override
from trainkit.rundir import CheckpointFolder, RunDirectory, read_history, read_status
from trainkit.writers.tensorboard.positions import cut_back

__all__ = ["Earlier", "earlier_run"]

# Folders of event files that are written once more as a whole.
_PARTS = ("train", "validation", "test")


@dataclass
class Earlier:
    """What is left of a run that was interrupted, killed, or completed.

    Args:
        place: Its folder, which this process has locked.
        status: The content of its `run.json`; empty where that cannot be read.
        state: Of its newest checkpoint that is sound; None: there is no checkpoint yet, and the
            run begins again.
        notes: What the user must know of it, a line each.
    """

    place: RunDirectory
    status: Mapping[str, Any]
    state: dict[str, Any] | None
    notes: list[str] = field(default_factory=list)

    @property
    def run(self) -> str | None:
        """The id of the run."""
        of_state = None if self.state is None else self.state.get("run")
        return self.status.get("run") or of_state

    def facts(self, overrides: Sequence[str]) -> dict[str, Any]:
        """What its `run.json` says from now on, beside what every run says.

        Args:
            overrides: With which it is resumed.
        """
        resumes = list(self.status.get("resumed", ()))
        resumes.append(
            {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "iteration": 0 if self.state is None else self.state["iteration"],
                "was": self.status.get("status", "unknown"),
                "overrides": [masked_override(override) for override in overrides],
            }
        )
        kept = {"started": self.status["started"]} if "started" in self.status else {}
        return {**kept, "resumed": resumes}

    def history(self) -> list[dict[str, float | None]]:
        """The rows of evaluations up to the state."""
        if self.state is None or not self.place.history.exists():
            return []
        training = self.state["parts"]["training"]
        rows = read_history(self.place.history)
        return [row for row in rows if (row.get("iteration") or 0) <= training["evaluated"]]

    def cut_back(self) -> None:
        """Take away what was written after the state: it is written again.

        Raises:
            OSError: A file cannot be cut.
        """
        positions = {} if self.state is None else self.state["events"]
        for part in _PARTS:
            # A part without a position was not written then, or could not be read: all of it, or
            # nothing of it, belongs to the state.
            if self.state is None or part in positions:
                cut_back(self.place.events(part), positions.get(part, {}))


def earlier_run(place: RunDirectory, *, required: bool) -> Earlier | None:
    """The run that a folder holds; the folder must be locked.

    Args:
        place: The folder.
        required: There must be one.

    Raises:
        ValueError: There must be one and is none, or none of its checkpoints can be used.
    """
    if not place.holds_a_run():
        if required:
            raise ValueError(f"{place.path} holds no run to resume: it has no run.json")
        return None
    folder = CheckpointFolder(place.checkpoints)
    if idist.get_rank() == 0:
        folder.remove_remains()
    status = _status(place.status)
    notes: list[str] = []
    state: dict[str, Any] | None = None
    try:
        path, state, refused = folder.newest(status.get("run"))
    except FileNotFoundError:
        notes.append("the run had saved no state yet: it begins again")
    else:
        if refused:
            notes += refused
            notes.append(f"{path.name} is used instead, of iteration {state['iteration']}")
    return Earlier(place, status, state, notes)


def _status(path: Path) -> Mapping[str, Any]:
    try:
        return read_status(path)
    except (OSError, ValueError, json.JSONDecodeError):  # killed while it was made
        return {}
