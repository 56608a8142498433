"""From a composed config to a run."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainkit.config.errors import ConfigError
from trainkit.config.sources import experiments, groups
from trainkit.config.targets import check_targets
from trainkit.settings import CheckpointSettings, MonitorSettings, TrainerSettings

__all__ = ["reserve", "run_config"]

_SETTINGS = {
    "trainer": TrainerSettings,
    "monitor": MonitorSettings,
    "checkpoint": CheckpointSettings,
}


def run_config(
    config: DictConfig, *, directory: Path, overrides: Sequence[str], choices: Mapping[str, str]
) -> Any:
    """Check a composed config, instantiate its parts, and run it.

    Args:
        config: As Hydra composed it, without its own part.
        directory: Of this run.
        overrides: Those of the command line.
        choices: Group → chosen option, for messages that name a file.

    Returns:
        The `RunResult`.

    Raises:
        ConfigError: The user can mend it; nothing was trained.
    """
    plain = _resolved(config)

    def where(key: str) -> str:
        return _where(key, overrides, choices)

    settings = {name: _settings(name, plain, where) for name in _SETTINGS}
    parts = {k: v for k, v in plain.items() if k not in _SETTINGS and v is not None}
    for key in ("model", "data", "optimizer"):
        if not isinstance(parts.get(key), dict):
            raise ConfigError(f"{where(key)}{key} must be chosen, got {parts.get(key)!r}")
    # Only now: torch takes longer to load than all mistakes above take to find.
    check_targets(parts, where)
    from trainkit.run import run
    from trainkit.runs import seed_everything

    seed_everything(settings["trainer"].seed)
    built = {key: _instantiated(key, value, where) for key, value in parts.items()}
    try:
        return run(
            **built,
            **settings,
            directory=directory,
            config=OmegaConf.to_yaml(config, resolve=True),
            overrides=list(overrides),
            hparams=_hparams(plain),
        )
    except (TypeError, ValueError) as error:
        if any(note.startswith("run: ") for note in getattr(error, "__notes__", ())):
            raise
        raise ConfigError(_one_line(error)) from error


def reserve(directory: Path) -> Path:
    """The folder itself, or with a number behind it where another run got there first.

    Two runs of one experiment can begin in the same second.
    """
    candidate, number = directory, 1
    while True:
        candidate.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(candidate / "run.log", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            number += 1
            candidate = directory.with_name(f"{directory.name}_{number}")
        else:
            return candidate


def _resolved(config: DictConfig) -> dict[str, Any]:
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ConfigError(f"{missing[0]} has no value; set it: {missing[0]}=...")
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(plain, dict)  # noqa: S101
    return {str(key): value for key, value in plain.items()}


def _settings(name: str, plain: dict[str, Any], where: Any) -> Any:
    try:
        return _SETTINGS[name](**plain[name])
    except (TypeError, ValueError) as error:
        key = next((word for word in str(error).split() if word.startswith(f"{name}.")), name)
        raise ConfigError(f"{where(key)}{_one_line(error)}") from error


def _instantiated(key: str, value: Any, where: Any) -> Any:
    if not isinstance(value, dict):
        return value
    try:
        return instantiate(value, _convert_="all")
    except HydraException as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        full = str(error).rpartition("full_key: ")[2].split()
        inner = full[0] if full and "full_key" in str(error) else ""
        node = ".".join(part for part in (key, inner) if part)
        text = _one_line(cause)
        raise ConfigError(
            text if text.startswith(node) else f"{where(node)}{node}: {text}"
        ) from error


def _hparams(plain: Mapping[str, Any]) -> dict[str, bool | float | str]:
    """What the HPARAMS table shows: every number, switch and name in the config."""
    found: dict[str, bool | float | str] = {}

    def walk(key: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                if name not in ("_partial_", "_convert_", "_recursive_", "_args_"):
                    walk(f"{key}.{name}" if key else str(name), inner)
        elif isinstance(value, bool | int | float | str):
            found[key.removesuffix("._target_")] = value

    walk("", {k: v for k, v in plain.items() if k not in ("samples", "metrics", "monitor")})
    return found


def _where(key: str, overrides: Sequence[str], choices: Mapping[str, str]) -> str:
    """Where a key was set: on the command line, in the experiment, or in an option's file."""
    for override in overrides:
        name = override.split("=")[0].lstrip("+~")
        if name == key or (name and key.startswith(f"{name}.") and name not in choices):
            return "on the command line: "
    path = key.replace("]", "").replace("[", ".").split(".")
    chosen = choices.get("experiment")
    for source in experiments():
        if source.name == chosen and _holds(source.path, path):
            return f"{_shown(source.path)}: "
    group = path[0]
    for source in groups().get(group, ()):
        if source.name == choices.get(group) and _holds(source.path, path[1:]):
            return f"{_shown(source.path)}: "
    return ""


def _holds(file: Path, path: list[str]) -> bool:
    value = yaml.safe_load(file.read_text(encoding="utf-8"))
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
