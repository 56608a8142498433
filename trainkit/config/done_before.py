"""Jobs of a sweep that were completed before: a sweep that was cut off does the rest."""

from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainkit.config.compose import Composed
from trainkit.config.errors import ConfigError
from trainkit.config.resuming import changes_since
from trainkit.rundir.status import read_status

__all__ = ["done_before"]


def done_before(composed: Composed) -> dict[str, Any] | None:
    """The `run.json` of a job that was completed with the same config; None: it is to be run.

    Only jobs of a sweep with `trainer.resume=auto` are looked at. A job whose config has changed
    (more epochs, say) is run: it goes on, or says why it cannot.

    Args:
        composed: The config of the job.
    """
    if composed.sweep is None or composed.config.trainer.resume != "auto":
        return None
    try:
        facts = read_status(composed.directory / "run.json")
        config = OmegaConf.to_container(composed.config, resolve=True)
        if facts["status"] != "completed" or not isinstance(config, dict):
            return None
        if not (composed.directory / "config.yaml").is_file():
            return None
        changed = changes_since(composed.directory, {str(k): v for k, v in config.items()})
    except (OSError, ValueError, ConfigError, OmegaConfBaseException):
        return None  # whatever is wrong, the run says it
    return None if changed else facts
