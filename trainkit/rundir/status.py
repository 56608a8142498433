"""The state of a run, in `run.json`."""

import json
import math
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainkit.masking import masked
from trainkit.rundir.atomic_write import replace_atomically
from trainkit.rundir.bookkeeping import Bookkeeping

__all__ = ["Status", "end_for_another", "read_status"]


class Status:
    """The status of a run, in a file that is complete at any moment.

    `status` is `running`, `completed`, `interrupted` or `failed`. A run that was killed stays
    `running`: `process` and `host` tell whether it still is.

    A write that fails (a full disk) is told once, and the next one tries again.

    Args:
        path: The file.
        bookkeeping: Told of what fails.
        facts: What is known at the start (seed, iterations, ...).
    """

    def __init__(self, path: Path, bookkeeping: Bookkeeping | None = None, **facts: Any) -> None:
        self._path = path
        self._bookkeeping = bookkeeping or Bookkeeping()
        now = _now()
        self.facts: dict[str, Any] = {
            "status": "running",
            "reason": None,
            "started": now,
            "updated": now,
            "ended": None,
            "process": os.getpid(),
            "host": platform.node(),
            **facts,
        }
        self._write()

    def update(self, **facts: Any) -> None:
        """Add or replace facts."""
        self.facts |= facts
        self.facts["updated"] = _now()
        self._write()

    def end(self, status: str, reason: str | None = None, **facts: Any) -> None:
        """Note how the run ended, and why."""
        self.update(status=status, reason=reason, ended=_now(), **facts)

    def _write(self) -> None:
        text = json.dumps(_as_json(self.facts), indent=2, ensure_ascii=False, allow_nan=False)
        content = text.encode("utf-8", "backslashreplace") + b"\n"
        self._bookkeeping.keep(
            self._path.name,
            lambda: replace_atomically(self._path, lambda file: file.write(content)),
        )


def end_for_another(path: Path, reason: str) -> None:
    """Note in the `run.json` of a process that is gone that its run has failed, and why.

    Raises:
        OSError, ValueError: It cannot be read or written.
    """
    facts = read_status(path)
    if facts["status"] != "running":
        return
    facts |= {"status": "failed", "reason": reason, "ended": _now(), "updated": _now()}
    content = json.dumps(_as_json(facts), indent=2, ensure_ascii=False).encode() + b"\n"
    replace_atomically(path, lambda file: file.write(content))


def read_status(path: Path) -> dict[str, Any]:
    """The content of a `run.json`.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not one.
    """
    facts = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(facts, dict) or "status" not in facts:
        raise ValueError(f"{path} is not the status of a run")
    return facts


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _as_json(value: Any) -> Any:
    # JSON has no NaN; write it as a string, which every parser reads.
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if value is None or isinstance(value, int | float):
        return value
    return masked(str(value))  # the reason of a failure may contain a secret
