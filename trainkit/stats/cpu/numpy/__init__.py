"""The loops, with NumPy where numba is not installed."""
