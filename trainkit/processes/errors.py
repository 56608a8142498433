"""Errors of several processes; without torch, so that they can be told apart quickly."""

__all__ = ["LaunchError", "OtherProcessError"]


class LaunchError(ValueError):
    """The environment of a launcher lacks something; the text is one line that says what to do."""


class OtherProcessError(RuntimeError):
    """The run cannot go on because of another one of its processes; names it and its reason."""
