"""Pure functions: tensors in, tensors out on the same device, nothing read by the host."""

from trainkit.stats.calibration import calibration
from trainkit.stats.histograms import HistogramTable, histograms
from trainkit.stats.non_finite import non_finite
from trainkit.stats.norms import global_norm, norms
from trainkit.stats.pooling import POOLED, Members, pooled
from trainkit.stats.predictions import classification
from trainkit.stats.snapshot import Snapshot
from trainkit.stats.summary import COLUMNS, summarize, summary_table
from trainkit.stats.values import regression

__all__ = [
    "COLUMNS",
    "POOLED",
    "HistogramTable",
    "Members",
    "Snapshot",
    "calibration",
    "classification",
    "global_norm",
    "histograms",
    "non_finite",
    "norms",
    "pooled",
    "regression",
    "summarize",
    "summary_table",
]
