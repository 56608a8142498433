"""Histograms as the bytes of a serialized Summary."""

import struct

import numpy as np

from trainkit.writers.step.host_step import HostHistogram
from trainkit.writers.tensorboard.protobuf import message, utf8

__all__ = ["serialized_histogram"]

# Field numbers and wire types of TensorBoard's summary.proto and histogram.proto.
_VALUE, _TAG, _HISTO, _SIMPLE_VALUE = b"\x0a", b"\x0a", b"\x2a", b"\x15"
_MOMENTS = struct.Struct("<sdsdsdsdsd")  # min, max, num, sum, sum_squares, each behind its key
_BUCKET_LIMIT, _BUCKET = b"\x32", b"\x3a"


def serialized_histogram(tag: str, histogram: HostHistogram) -> bytes:
    """A Summary with the histogram, and its non-finite count where there is one.

    By hand, because the protobuf classes take every bucket's two numbers through Python.
    """
    counts = histogram.counts
    filled = counts > 0
    # An empty bucket says something only as the gap before a filled one; a gap needs one bucket.
    # The reader takes the minimum for the first bucket's left edge.
    useful = filled.copy()
    useful[:-1] |= filled[1:]
    useful[: int(filled.argmax())] = False
    low, high, total, squares = histogram.moments.tolist()
    number = float(counts.sum())
    proto = _MOMENTS.pack(
        b"\x09", low, b"\x11", high, b"\x19", number, b"\x21", total, b"\x29", squares
    )  # fmt: skip
    proto += message(_BUCKET_LIMIT, histogram.edges[1:][useful].astype("<f8").tobytes())
    proto += message(_BUCKET, counts[useful].astype("<f8").tobytes())
    name = utf8(tag)
    out = message(_VALUE, message(_TAG, name) + message(_HISTO, proto))
    if histogram.non_finite:
        # float32 is what the format holds.
        count = _SIMPLE_VALUE + np.array(histogram.non_finite, "<f4").tobytes()
        out += message(_VALUE, message(_TAG, name + b"/non_finite") + count)
    return out
