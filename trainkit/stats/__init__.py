"""Pure functions: tensors in, tensors out on the same device, nothing read by the host."""

from trainkit.stats.histograms import HistogramTable, histograms
from trainkit.stats.norms import global_norm, norms
from trainkit.stats.summary import COLUMNS, summarize

__all__ = ["COLUMNS", "HistogramTable", "global_norm", "histograms", "norms", "summarize"]
