"""The first line of a run on the screen: the experiment, and what differs from it."""

import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from trainkit.screen import titled, width_of

__all__ = ["heading"]


def heading(config: DictConfig, experiment: str, overrides: Sequence[str], earlier: str) -> str:
    """The experiment, what differs from it, and what the run is called.

    Args:
        config: Of this run.
        experiment: Its name; empty if none was chosen.
        overrides: Of the command line, without secrets.
        earlier: The folder of the run whose config is taken up again; empty if none is.
    """
    what = f"again from {earlier}" if earlier else experiment or "none: the default config"
    differs = [
        override
        for override in overrides
        if not override.lstrip("+").startswith(("experiment=", "name=", "--from ", "hydra."))
    ]
    width = width_of(sys.stdout)
    said = f"{what}, with {' '.join(differs)}" if differs else what
    lines = [titled("experiment", said, width)]
    if config.name is not None:
        lines.append(titled("name", str(config.name), width))
    return "\n".join(lines)
