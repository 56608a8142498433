"""The modules of a model while it runs: which are layers, and what they return."""
