"""Hydra with all that it can do, and without its tracebacks."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from trainkit.config.errors import ConfigError, explained
from trainkit.config.running import reserve
from trainkit.config.schema import register
from trainkit.config.sources import experiments, groups

__all__ = ["Job", "compose_and_run"]

# The composed config, its folder, its overrides, and group → chosen option.
Job = Callable[[DictConfig, Path, list[str], dict[str, str]], None]


def compose_and_run(arguments: Sequence[str], job: Job) -> None:
    """Let Hydra read the arguments and call `job` once, or once per point of a sweep.

    Args:
        arguments: Of Hydra: overrides and flags.
        job: What to do with a composed config; not called for `--cfg`, `--info` and `--help`.

    Raises:
        ConfigError: The config cannot be composed.
    """
    register(" ".join(arguments))
    last: list[DictConfig] = []

    def task(config: DictConfig) -> None:
        last[:] = [config]
        settings = HydraConfig.get()
        choices = {str(group): str(option) for group, option in settings.runtime.choices.items()}
        directory = Path(settings.runtime.output_dir)
        if not _is_chosen(settings.overrides.hydra):
            directory = reserve(directory)
        job(config, directory, list(settings.overrides.task), choices)

    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["trainkit run", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise instead of printing and leaving
    try:
        hydra.main(version_base="1.3", config_path="pkg://trainkit.configs", config_name="config")(
            task
        )()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explained(error, _choices(), _keys())) from error
    finally:
        sys.argv = before[0]
        if before[1] is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = before[1]


def _is_chosen(overrides: Sequence[str]) -> bool:
    """Whether the user said where the run goes."""
    return any(o.startswith(("hydra.run.dir", "hydra.sweep.")) for o in overrides)


def _choices() -> dict[str, list[str]]:
    found = {group: [source.name for source in members] for group, members in groups().items()}
    found["experiment"] = [source.name for source in experiments()]
    return found


def _keys() -> list[str]:
    """Every key of the default config, dotted, for the nearest right name."""
    from hydra import compose

    try:
        config: Any = OmegaConf.to_container(_composed(compose), resolve=False)
    except (HydraException, OmegaConfBaseException, ValueError):
        return []
    found: list[str] = []

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                key = f"{prefix}{name}"
                found.append(key)
                walk(f"{key}.", inner)

    walk("", config)
    return found


def _composed(compose: Callable[..., DictConfig]) -> DictConfig:
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_module("trainkit.configs", version_base="1.3"):
        config = compose("config")
        with open_dict(config):
            config.pop("hydra", None)
        return config
