"""Compose a config for `trainkit help KEY` and `trainkit list GROUP=OPTION`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainkit.config.command_line import read_arguments
from trainkit.config.compose import explained_error
from trainkit.config.errors import ConfigError
from trainkit.config.hydra_errors import dotted
from trainkit.config.origins import Origins
from trainkit.config.schema import registered
from trainkit.config.sources import experiments, groups

__all__ = ["Shown", "look_up", "options_with"]


@dataclass(frozen=True)
class Shown:
    """A composed config.

    Args:
        config: Plain, interpolations as they are written.
        origins: Where each key was set.
    """

    config: dict[str, Any]
    origins: Origins

    def names(self) -> list[str]:
        """Every key, dotted."""
        return list(dotted(self.config))

    def value(self, key: str) -> Any:
        """What a key holds.

        Raises:
            KeyError: There is no such key.
        """
        value: Any = self.config
        for part in key.split("."):
            if not isinstance(value, dict):
                raise KeyError(key)
            value = value[part]
        return value


def look_up(overrides: Sequence[str]) -> Shown:
    """Compose a config with these overrides, without running anything.

    Raises:
        ConfigError: It cannot be composed.
    """
    given = read_arguments(overrides)
    GlobalHydra.instance().clear()
    try:
        with (
            registered(given.experiments),
            initialize_config_module("trainkit.configs", version_base="1.3"),
        ):
            config = compose("config", overrides=list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise ConfigError(explained_error(error, given)) from error
    chosen = {str(group): str(option) for group, option in config.hydra.runtime.choices.items()}
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)  # noqa: S101
    del plain["hydra"]
    origins = Origins(overrides, chosen, groups(), experiments())
    return Shown({str(key): value for key, value in plain.items()}, origins)


def options_with(key: str) -> list[str]:
    """`group=option` of every option that has this key, where the default config has not."""
    group, _, _ = key.partition(".")
    found = []
    for source in groups().get(group, ()):
        try:
            shown = look_up([f"{group}={source.name}"])
        except ConfigError:
            continue
        if key in shown.names():
            found.append(f"{group}={source.name}")
    return found
