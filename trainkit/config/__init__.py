"""From Hydra's configs to plain objects; this and the command line alone know Hydra."""

from trainkit.config.errors import ConfigError

__all__ = ["ConfigError"]
