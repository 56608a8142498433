"""JSON lines: the example of how to write a sink."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainkit.writers.step.host_step import Step

__all__ = ["JsonLinesSink"]
_KEYS = ("step", "wall_time", "scalars", "texts", "hparams")


@dataclass(eq=False)
class JsonLinesSink:
    """Appends a line of JSON for each step, with its scalars, texts and hyperparameters.

    Example:
        >>> import tempfile, trainkit
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer = trainkit.BackgroundWriter(JsonLinesSink(f"{folder}/run.jsonl"))
        ...     writer.write_scalars(1, {"loss/total": 0.5})
        ...     writer.close()
    """

    path: str | Path

    def write(self, steps: Sequence[Step]) -> None:
        """Append all of these steps, or none: after an exception they come again."""
        data = "".join(json.dumps({n: getattr(s, n) for n in _KEYS}) + "\n" for s in steps).encode()
        with Path(self.path).open("ab", buffering=0) as file:
            if (size := file.write(data)) < len(data):
                file.truncate(file.tell() - size)
                raise OSError("the disk is full")

    def flush(self) -> None:
        """Nothing waits: `write` closes the file."""

    close = flush
