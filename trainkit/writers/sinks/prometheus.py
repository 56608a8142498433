"""The newest scalars in a text file of Prometheus, for the node exporter of a cluster."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainkit.writers.step.host_step import Step

__all__ = ["PrometheusSink"]

_OTHER = re.compile(r"[^a-zA-Z0-9_:]")
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class PrometheusSink:
    """Keeps the newest value of each scalar in a text file, in the exposition format of Prometheus.

    The node exporter's textfile collector reads such files (`--collector.textfile.directory`).
    Each write replaces the whole file at once, so that a reader never sees half of it.
    `loss/total` becomes the metric `trainkit_loss_total`; the tag as it was is the label `tag`, and
    `trainkit_step` says how far the training is. NaN and infinity are written as such.

    Series per parameter and module (`tensors.…`) are left out: one metric for each of thousands of
    tensors is more than Prometheus is made for.

    Args:
        path: Of the file; its name must end with `.prom` for the node exporter to read it.
        labels: Of every metric, e.g. the name of the run.

    Raises:
        ValueError: A label has a name that Prometheus refuses.

    Example:
        >>> import pathlib, tempfile, trainkit
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer = trainkit.BackgroundWriter(PrometheusSink(f"{folder}/run.prom"))
        ...     writer.write_scalars(7, {"loss/total": 0.5})
        ...     writer.close()
        ...     print(pathlib.Path(folder, "run.prom").read_text(), end="")
        # TYPE trainkit_step gauge
        trainkit_step 7
        # TYPE trainkit_loss_total gauge
        trainkit_loss_total{tag="loss/total"} 0.5
    """

    def __init__(self, path: str | Path, labels: Mapping[str, str] | None = None) -> None:
        for name in labels or {}:
            if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) or name == "tag":
                raise ValueError(f"labels must be letters, digits and _, and not tag, got {name!r}")
        self.path = Path(path)
        self._labels = dict(labels or {})
        self._newest: dict[str, float] = {}
        self._step = 0

    def __repr__(self) -> str:
        return f"PrometheusSink({str(self.path)!r})"

    def write(self, steps: Sequence[Step]) -> None:
        """Replace the file by one with the newest values."""
        for step in steps:
            self._step = max(self._step, step.step)
            self._newest |= {t: v for t, v in step.scalars.items() if "tensors." not in t}
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            beside.write_text(self._text(), encoding="utf-8")
            beside.replace(self.path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise

    def flush(self) -> None:
        """Nothing waits: `write` closes the file."""

    def close(self) -> None:
        """The file stays, with the last values."""

    def _text(self) -> str:
        lines = [
            "# TYPE trainkit_step gauge",
            f"trainkit_step{_labelled(self._labels)} {self._step}",
        ]
        metrics: dict[str, list[str]] = {}  # all samples of one metric must stand together
        for tag, value in self._newest.items():
            name = f"trainkit_{_OTHER.sub('_', tag)}"
            labels = _labelled({**self._labels, "tag": tag})
            metrics.setdefault(name, []).append(f"{name}{labels} {_number(value)}")
        for name, samples in metrics.items():
            lines += [f"# TYPE {name} gauge", *samples]
        return "\n".join(lines) + "\n"


def _labelled(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{k}="{str(v).translate(_ESCAPED)}"' for k, v in labels.items())
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return repr(float(value)) if math.isfinite(value) else ("+Inf" if value > 0 else "-Inf")
