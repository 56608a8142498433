"""The output of an engine's step in one form, for any engine."""
