"""The second half of the statistics of parameters: NumPy on the host, steps in front."""
