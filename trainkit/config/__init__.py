"""Make plain objects from Hydra's configs; only this room and the command line use Hydra."""

from trainkit.config.errors import ConfigError

__all__ = ["ConfigError"]
