"""Measure over a whole pass through a data set."""
