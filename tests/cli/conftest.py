"""The user's project, for every test of the command line."""

from tests.cli.project import project

__all__ = ["project"]
