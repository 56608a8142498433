"""From a composed config and a bundle to the step, made again."""

from pathlib import Path
from typing import TYPE_CHECKING

from trainkit.config.compose import Composed
from trainkit.config.error_key import blamed
from trainkit.config.start_run import check_config, made_parts

if TYPE_CHECKING:
    from trainkit.training import Replay

__all__ = ["replay_config"]


def replay_config(composed: Composed, bundle: Path) -> "Replay":
    """Make the step of a bundle with the parts of a config.

    Raises:
        ConfigError: The config or the bundle cannot be used.
    """
    checked = check_config(composed)
    from trainkit.training import replay

    made = made_parts(checked, composed.origins)
    try:
        return replay(bundle, trainer=checked.settings["trainer"], **made)
    except (TypeError, ValueError) as error:
        raise blamed(error, checked.plain, composed.origins) from error
