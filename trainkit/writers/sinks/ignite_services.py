"""What each service behind Ignite's loggers wants to be told, and how."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainkit.writers.step.host_step import HostHistogram, Step
from trainkit.writers.step.images import grid
from trainkit.writers.tensorboard.scalars import ScalarTemplates
from trainkit.writers.tensorboard.summaries import summary

__all__ = ["Service", "clearml", "mlflow", "tensorboard", "wandb"]

Service = Callable[[Step], None]

_MLFLOW_BATCH = 1000  # metrics in one request
_MLFLOW_FORBIDDEN = re.compile(r"[^\w\-. /]", re.ASCII)
_WANDB_BUCKETS = 512


def tensorboard(logger: Any) -> Service:
    """One event with everything, through the logger's own `SummaryWriter`."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    templates = ScalarTemplates()

    def write(host: Step) -> None:
        scalars = templates.serialize([host.chunks])[0]
        event = Event(summary=Summary.FromString(scalars + summary(host)))
        logger.writer.file_writer.add_event(event, host.step, host.wall_time)

    return write


def mlflow(logger: Any, client: Any = None) -> Service:
    """Metrics in batches, texts and images as artifacts, of the run that the logger began."""
    from mlflow.entities import Metric, Param

    # The run is named in each call: MLflow's own idea of an active one ends with the thread.
    if client is None:
        from mlflow import MlflowClient

        client = MlflowClient()
    run = logger.active_run.info.run_id

    def write(host: Step) -> None:
        numbers = dict(host.scalars)
        for tag, histogram in host.histograms.items():
            numbers |= {f"{tag}/{name}": value for name, value in _in_numbers(histogram).items()}
        moment = int(host.wall_time * 1000)
        metrics = [Metric(_mlflow_name(t), v, moment, host.step) for t, v in numbers.items()]
        params = [Param(_mlflow_name(name), str(value)) for name, value in host.hparams.items()]
        for start in range(0, len(metrics), _MLFLOW_BATCH):
            client.log_batch(run, metrics=metrics[start : start + _MLFLOW_BATCH])
        for start in range(0, len(params), 100):
            client.log_batch(run, params=params[start : start + 100])
        for tag, text in host.texts.items():
            client.log_text(run, text, f"{_mlflow_name(tag)}/{host.step}.md")
        for tag, pixels in host.images.items():
            client.log_image(run, _picture(pixels), f"{_mlflow_name(tag)}/{host.step}.png")

    return write


def wandb(logger: Any) -> Service:
    """One row per step, with everything in it."""

    def write(host: Step) -> None:
        row: dict[str, Any] = dict(host.scalars)
        for tag, histogram in host.histograms.items():
            row[tag] = logger.Histogram(np_histogram=_at_most(_WANDB_BUCKETS, histogram))
            if histogram.non_finite:
                row[f"{tag}/non_finite"] = histogram.non_finite
        row |= {tag: logger.Image(_picture(pixels)) for tag, pixels in host.images.items()}
        row |= {
            tag: logger.Html(f"<pre>{_escaped(text)}</pre>") for tag, text in host.texts.items()
        }
        if row:
            logger.log(row, step=host.step)
        if host.hparams:
            logger.config.update(host.hparams, allow_val_change=True)

    return write


def _titled(tag: str) -> tuple[str, str]:
    title, _, series = tag.partition("/")
    return title, series or title


def clearml(logger: Any, titled: Callable[[str], tuple[str, str]] = _titled) -> Service:
    """Each tag is a series of a chart.

    Args:
        logger: Of Ignite's.
        titled: Tag → title of the chart and name of the series; by default the first part of the
            tag, and the rest.
    """
    report = logger.clearml_logger

    def write(host: Step) -> None:
        for tag, value in host.scalars.items():
            report.report_scalar(*titled(tag), value=value, iteration=host.step)
        for tag, histogram in host.histograms.items():
            counts, edges = _at_most(_WANDB_BUCKETS, histogram)
            labels = [f"{edge:.3g}" for edge in edges[:-1]]
            report.report_histogram(
                *titled(tag), values=counts, iteration=host.step, xlabels=labels
            )
        for tag, text in host.texts.items():
            report.report_text(f"{tag} (step {host.step}):\n{text}")
        for tag, pixels in host.images.items():
            report.report_image(*titled(tag), iteration=host.step, image=_picture(pixels))
        if host.hparams:
            logger.get_task().connect(dict(host.hparams))

    return write


def _mlflow_name(tag: str) -> str:
    parts = _MLFLOW_FORBIDDEN.sub("_", tag).split("/")
    return "/".join(part for part in parts if part.strip(". "))[:250] or "_"


def _in_numbers(histogram: HostHistogram) -> dict[str, float]:
    low, high, total, _ = histogram.moments.tolist()
    count = int(histogram.counts.sum())
    numbers = {"mean": total / count, "min": low, "max": high} if count else {}
    return numbers | ({"non_finite": histogram.non_finite} if histogram.non_finite else {})


def _at_most(buckets: int, histogram: HostHistogram) -> tuple[NDArray[Any], NDArray[Any]]:
    """Counts and edges of the part that is filled, neighbours put together until they are few."""
    filled = np.flatnonzero(histogram.counts)
    start, stop = (filled[0], filled[-1] + 1) if filled.size else (0, 1)
    counts, edges = histogram.counts[start:stop], histogram.edges[start : stop + 1].copy()
    if filled.size:
        edges[0], edges[-1] = histogram.moments[:2]
    every = -(-len(counts) // buckets)
    first = np.arange(0, len(counts), every)
    return np.add.reduceat(counts, first), np.append(edges[first], edges[-1])


def _picture(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = grid(pixels)
    return picture[..., 0] if picture.shape[2] == 1 else picture


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
