"""The loop in NumPy for histograms: faster than torch's in main memory."""
