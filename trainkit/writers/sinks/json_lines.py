"""JSON lines: the example of how to write a sink."""

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from trainkit.writers.step.host_step import Step

__all__ = ["JsonLinesSink"]


class JsonLinesSink:
    """Appends a line of JSON for each step: `step`, `wall_time`, `scalars`, `texts`, `hparams`.

    NaN and infinity are written as `NaN` and `Infinity`, which Python's `json` reads. A sub-run
    `validation` of `run.jsonl` goes to `run.validation.jsonl`.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)

    def write(self, steps: Sequence[Step]) -> None:
        """Append these steps, all or none: what raises here comes again later."""
        fields = ("step", "wall_time", "scalars", "texts", "hparams")
        lines = [json.dumps({name: getattr(step, name) for name in fields}) for step in steps]
        data = "".join(f"{line}\n" for line in lines).encode()
        with self.path.open("ab", buffering=0) as file:
            end = file.tell()
            if file.write(data) < len(data):
                file.truncate(end)
                raise OSError(f"{self.path}: no room for a whole line")

    def flush(self) -> None:
        """Nothing waits: every call of `write` closes the file."""

    def close(self) -> None:
        """There is nothing to close."""

    def subrun(self, name: str) -> "JsonLinesSink":
        """A file beside this one."""
        return JsonLinesSink(self.path.with_name(f"{self.path.stem}.{name}{self.path.suffix}"))
