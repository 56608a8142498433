"""Pure functions: tensors in, tensors out on the same device, nothing read by the host."""

from trainkit.stats.outputs.calibration import calibration
from trainkit.stats.outputs.classification import classification
from trainkit.stats.outputs.regression import regression
from trainkit.stats.pooling import POOLED, Members, pooled
from trainkit.stats.tensors.histograms import HistogramTable, histograms
from trainkit.stats.tensors.non_finite import non_finite
from trainkit.stats.tensors.norms import global_norm, norms
from trainkit.stats.tensors.snapshot import Snapshot
from trainkit.stats.tensors.summary import COLUMNS, summarize, summary_table

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
