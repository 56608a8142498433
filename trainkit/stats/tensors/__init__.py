"""Statistics of tensors of any shape: summary, norms, histograms, distances."""
