"""Images, texts and hyperparameters as TensorBoard's protobuf messages."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainkit.writers.step.host_step import Step
from trainkit.writers.step.images import grid, png
from trainkit.writers.tensorboard.histograms import serialized_histogram
from trainkit.writers.tensorboard.protobuf import utf8
from trainkit.writers.tensorboard.sessions import session_start

__all__ = ["described", "readable_summary", "summary"]

_log = logging.getLogger("trainkit")


def summary(host_step: Step) -> bytes:
    """A serialized Summary of all but the scalars; empty where there is nothing else."""
    readable = host_step.images or host_step.texts or host_step.hparams or host_step.pr_curves
    if not (host_step.histograms or readable):
        return b""
    # Messages one after the other are their union.
    histograms = b"".join(serialized_histogram(*item) for item in host_step.histograms.items())
    if not readable:
        return histograms
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [
        *(_image(tag, pixels) for tag, pixels in host_step.images.items()),
        *(_text(tag, text) for tag, text in host_step.texts.items()),
        *(_pr_curve(tag, curve) for tag, curve in host_step.pr_curves.items()),
    ]
    if host_step.hparams:
        values.append(session_start(host_step.wall_time, host_step.hparams))
    return histograms + bytes(Summary(value=values).SerializeToString())


def readable_summary(host_step: Step) -> bytes:
    """The same, without what cannot be written: the log names it."""
    try:
        return summary(host_step)
    except Exception:
        return b"".join(_or_nothing(tag, one) for tag, one in _one_by_one(host_step))


def _or_nothing(tag: str, host_step: Step) -> bytes:
    try:
        return summary(host_step)
    except Exception as error:
        _log.warning(
            "%s cannot be written at step %d and is left out: %s: %s",
            tag, host_step.step, type(error).__name__, error,
        )  # fmt: skip
        return b""


def _one_by_one(host_step: Step) -> Iterator[tuple[str, Step]]:
    for name in ("histograms", "images", "texts", "hparams", "pr_curves"):
        for tag, value in getattr(host_step, name).items():
            alone = Step(host_step.step, host_step.wall_time)
            setattr(alone, name, {tag: value})
            yield tag, alone


def described(
    tags: Sequence[str], values: Sequence[float], descriptions: Mapping[str, str]
) -> bytes:
    """A serialized Summary of these scalars, with descriptions that TensorBoard shows.

    Args:
        tags: One per value.
        values: Numbers.
        descriptions: Tag → Markdown; a tag that is missing gets none.
    """
    from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_SCALAR, Summary, SummaryMetadata

    def value_of(tag: str, value: float) -> Any:
        found = Summary.Value(tag=_readable(tag), simple_value=float(value))
        if tag in descriptions:
            metadata = SummaryMetadata(
                data_class=DATA_CLASS_SCALAR, summary_description=descriptions[tag]
            )
            metadata.plugin_data.plugin_name = "scalars"
            found.metadata.CopyFrom(metadata)
        return found

    rows = zip(tags, values, strict=True)
    with np.errstate(over="ignore"):
        return bytes(Summary(value=[value_of(*row) for row in rows]).SerializeToString())


def _image(tag: str, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    picture = grid(pixels)
    height, width, channels = picture.shape
    image = Summary.Image(
        height=height, width=width, colorspace=channels, encoded_image_string=png(picture)
    )
    return Summary.Value(tag=_readable(tag), image=image)


def _text(tag: str, text: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.text.metadata import create_summary_metadata

    tensor = TensorProto(dtype=DT_STRING, string_val=[utf8(text)])
    metadata = create_summary_metadata(display_name=None, description=None)
    return Summary.Value(tag=_readable(tag), tensor=tensor, metadata=metadata)


def _pr_curve(tag: str, curve: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.pr_curve.metadata import create_summary_metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    metadata = create_summary_metadata(
        display_name=_readable(tag), description="", num_thresholds=curve.shape[1]
    )
    return Summary.Value(tag=_readable(tag), tensor=make_tensor_proto(curve), metadata=metadata)


def _readable(text: str) -> str:
    return utf8(text).decode()
