"""Loops compiled by numba (`pip install trainkit[fast]`)."""
