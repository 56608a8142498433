"""Training again from a run's config, as if it were an experiment: `run --from RUN_DIR`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainkit.config.errors import ConfigError, nearest
from trainkit.config.replaced_parts import chosen_experiment
from trainkit.config.sources import Source, relative
from trainkit.masking import MASK

__all__ = ["FROM_RUN", "EarlierRun", "earlier_run"]

# What the run's config is called among the experiments.
FROM_RUN = "_from_run"

# Keys that belong to the earlier run and are not taken over.
_OWN = ("name",)


@dataclass(frozen=True)
class EarlierRun:
    """A run whose config is taken up again.

    Args:
        directory: Its folder.
        config: Its `config.yaml`, with a defaults list that takes every option away.
        experiment: What its experiment was called: the new run goes beside it.
    """

    directory: Path
    config: DictConfig
    experiment: str

    @property
    def source(self) -> Source:
        """Its file, as messages name it."""
        return Source(FROM_RUN, self.directory / "config.yaml", self.directory, own=True)

    def check_secrets(self, overrides: Sequence[str]) -> None:
        """What was masked must be given again.

        Raises:
            ConfigError: It is not.
        """
        given = [override.lstrip("+~").partition("=")[0] for override in overrides]
        hidden = [
            key
            for key in _hidden("", OmegaConf.to_container(self.config))
            if not any(f"{key}.".startswith(f"{name}.") for name in given)
        ]
        if hidden:
            again = " ".join(f"{key}=..." for key in hidden)
            raise ConfigError(
                f"{self.source.shown} does not hold the secret {', '.join(hidden)}; give "
                f"{'it' if len(hidden) == 1 else 'them'} again: {again}"
            )

    def left_behind(self, config: DictConfig, overrides: Sequence[str]) -> list[str]:
        """A line where another seed is asked for and the data keep the one of the earlier run.

        Args:
            config: Of the new run.
            overrides: Of the command line.
        """
        given = [override.lstrip("+~").partition("=")[0] for override in overrides]
        kept = OmegaConf.select(config, "data.seed")
        if "trainer.seed" not in given or "data.seed" in given or "data" in given:
            return []
        if kept is None or kept != OmegaConf.select(self.config, "trainer.seed"):
            return []
        return [
            f"data.seed={kept} stays what it was in that run; with data.seed="
            f"{config.trainer.seed} the order of the data changes too"
        ]


def earlier_run(directory: str, defaults: Mapping[str, str | None]) -> EarlierRun:
    """Read the config of a run.

    Args:
        directory: Its folder.
        defaults: Every group, with the option that would be chosen.

    Raises:
        ConfigError: It is not the folder of a run, or its config cannot be read.
    """
    place = Path(directory)
    file = place / "config.yaml"
    if not place.is_dir():
        raise ConfigError(f"--from: there is no folder {directory!r}{_nearest_run(place)}")
    if not file.is_file():
        raise ConfigError(f"--from: {directory!r} is no run: it holds no config.yaml{_runs(place)}")
    try:
        config = OmegaConf.load(file)
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{relative(file)}: this is not YAML: {error}") from error
    if not isinstance(config, DictConfig) or "defaults" in config or "model" not in config:
        raise ConfigError(f"--from: {relative(file)} is not the config of a run")
    content: dict[Any, Any] = {
        "defaults": [{f"override /{group}": None} for group in defaults if "/" not in group],
        **{k: v for k, v in config.items_ex(resolve=False) if k not in _OWN},
    }
    return EarlierRun(place.resolve(), OmegaConf.create(content), _experiment_of(place))


def _experiment_of(place: Path) -> str:
    """By what it was started with; else by the folder that it lies in."""
    try:
        overrides = (place / "overrides.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        overrides = []
    name = chosen_experiment(overrides)
    if name and re.fullmatch(r"[\w./+-]+", name) and ".." not in name:
        return name
    parts = place.resolve().parts
    return parts[parts.index("runs") + 1] if "runs" in parts[:-2] else place.resolve().parent.name


def _hidden(key: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        inner = ((f"{key}.{k}" if key else str(k), v) for k, v in value.items() if k != "defaults")
        return [found for k, v in inner for found in _hidden(k, v)]
    if isinstance(value, list):
        return [key] if any(_hidden(key, item) for item in value) else []
    return [key] if isinstance(value, str) and MASK in value else []


def _nearest_run(place: Path) -> str:
    if "=" in place.name:
        return "; write --from RUN_DIR KEY=VALUE"
    parent = place.parent
    names = [path.name for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    near = nearest(place.name, names)
    return near if near.startswith("; did") else ""


def _runs(place: Path) -> str:
    """The newest run in a folder of runs."""
    found = sorted(place.glob("**/run.json"), key=lambda path: path.stat().st_mtime)
    return f"; its newest run is {relative(found[-1].parent)}" if found else ""
