"""Hydra with all that it can do, and without its tracebacks."""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainkit.config.arguments import Arguments, read_arguments
from trainkit.config.errors import ConfigError
from trainkit.config.explaining import dotted, explained
from trainkit.config.origins import COMMAND_LINE, Origins, line_of
from trainkit.config.schema import register
from trainkit.config.sources import experiments, groups

__all__ = ["Composed", "Job", "compose_and_run"]


@dataclass(frozen=True)
class Composed:
    """What one run is to be.

    Args:
        config: As Hydra composed it, without Hydra's own part.
        directory: Where the run goes; Hydra has made it.
        chosen: Whether the user said where.
        overrides: Those of the command line.
        origins: Where each key was set.
    """

    config: DictConfig
    directory: Path
    chosen: bool
    overrides: list[str]
    origins: Origins


Job = Callable[[Composed], None]


def compose_and_run(arguments: Sequence[str], job: Job) -> None:
    """Let Hydra read the arguments and call `job` once, or once per point of a sweep.

    Args:
        arguments: Of Hydra: overrides and flags.
        job: What to do with a composed config; not called for `--cfg`, `--info` and `--help`.

    Raises:
        ConfigError: The config cannot be composed.
    """
    given = read_arguments(arguments)
    register(given.experiments)
    members = groups(given.config_dir)

    def task(config: DictConfig) -> None:
        settings = HydraConfig.get()
        choices = {str(group): str(option) for group, option in settings.runtime.choices.items()}
        # Unresolved: an override may hold an interpolation.
        overrides: Any = OmegaConf.to_container(settings.overrides, resolve=False)
        job(
            Composed(
                config=config,
                directory=Path(settings.runtime.output_dir),
                chosen=any(
                    o.startswith(("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir"))
                    for o in overrides["hydra"]
                ),
                overrides=overrides["task"],
                origins=Origins(overrides["task"], choices, members, experiments()),
            )
        )

    with _called_as("trainkit run", arguments):
        try:
            hydra.main(
                version_base="1.3", config_path="pkg://trainkit.configs", config_name="config"
            )(task)()
        except SystemExit as leaving:  # after --help, --info and the like
            if leaving.code:
                raise
        except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
            raise ConfigError(_explained(error, given)) from error
        except OSError as error:  # training has its own: these are of the run's folder
            raise ConfigError(f"cannot use {error.filename}: {error.strerror}") from error


@contextmanager
def _called_as(name: str, arguments: Sequence[str]) -> Iterator[None]:
    """Call Hydra as a command; what it changes in the process is put back.

    It reads `sys.argv`, raises instead of printing where its variable is set, and sets logging up.
    """
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = [name, *arguments], "1"
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
        sys.argv = before[0]
        if before[1] is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = before[1]


def _explained(error: Exception, given: Arguments) -> str:
    members = groups(given.config_dir)
    named = {f"{group}/{s.name}": s for group, sources in members.items() for s in sources}
    named |= {f"experiment/{source.name}": source for source in experiments()}

    def where(file: str, key: str) -> str:
        if file == "command line":
            return f"{COMMAND_LINE}: "
        if not key:
            return _who_chose(file, given)
        source = named.get(file)
        if source is None:
            return ""
        path = key.split(".")
        group = file.rpartition("/")[0].split("/")
        inside = path[len(group) :] if path[: len(group)] == group else path
        line = line_of(source.path, inside)
        return f"{source.shown}:{line}: " if line else f"{source.shown}: "

    choices = {group: [source.name for source in sources] for group, sources in members.items()}
    choices["experiment"] = [source.name for source in experiments()]
    return explained(error, choices, lambda: _keys(given.choices), where)


def _who_chose(option: str, given: Arguments) -> str:
    """Where `group/option` was chosen; an empty option is any."""
    group, _, name = option.rpartition("/")
    for override in given.choices:
        if re.match(rf"\+*{re.escape(group)}(@[\w.]*)?={re.escape(name)}$", override):
            return f"{COMMAND_LINE}: "
    asks = re.compile(rf"\W{re.escape(group)}(@[\w.]*)?\s*:\s*{re.escape(name) if name else ''}")
    for source in experiments():
        if any(fnmatchcase(source.name, pattern) for pattern in given.experiments):
            lines = source.path.read_text(encoding="utf-8").splitlines()
            for number, line in enumerate(lines, start=1):
                if asks.search(line):
                    return f"{source.shown}:{number}: "
    return ""


def _keys(choices: Sequence[str]) -> list[str]:
    """Every key of the config with these choices, dotted; of the default one if they are wrong."""
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_module("trainkit.configs", version_base="1.3"):
        for tried in (list(choices), []):
            try:
                composed = compose("config", overrides=tried, return_hydra_config=True)
            except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError):
                continue
            return sorted(dotted(OmegaConf.to_container(composed)))
    return []
