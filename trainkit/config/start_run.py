"""From a composed config to a run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from textwrap import shorten
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainkit.config.check_targets import check_targets
from trainkit.config.compose import Composed
from trainkit.config.error_key import blamed
from trainkit.config.errors import ConfigError, nearest, noted
from trainkit.config.hydra_errors import dotted, explained
from trainkit.config.origins import Origins
from trainkit.config.resuming import changes_since
from trainkit.config.schema import TOP_KEYS
from trainkit.masking import masked_config, remember_secrets
from trainkit.settings import CheckpointSettings, MonitorSettings, SweepSettings, TrainerSettings

__all__ = ["CheckedConfig", "check_config", "made_parts", "run_config"]

_SETTINGS: dict[str, type] = {
    "trainer": TrainerSettings,
    "monitor": MonitorSettings,
    "checkpoint": CheckpointSettings,
}


def run_config(composed: Composed) -> tuple[Any, str]:
    """Check a composed config, instantiate its parts, and run it.

    Args:
        composed: The config, and where it comes from.

    Returns:
        The `RunResult`, and whether its metric is to be `min` or `max`.

    Raises:
        ConfigError: The user can mend it; nothing was trained.
    """
    try:
        return _run(composed)
    except ConfigError as error:
        raise ConfigError(noted(str(error), composed.never_used)) from error


def _run(composed: Composed) -> tuple[Any, str]:
    checked = check_config(composed)
    origins, plain, settings = composed.origins, checked.plain, checked.settings
    from trainkit.dashboard.hyperparameters import choices
    from trainkit.processes.group import broadcast
    from trainkit.rundir import Best, RunDirectory
    from trainkit.training import run

    auto = settings["trainer"].resume == "auto"
    there = auto and RunDirectory(composed.directory).holds_a_run()
    resume = composed.resume or broadcast(there)  # the first process may have begun it already
    overrides = changes_since(composed.directory, plain) if resume else composed.overrides
    print(composed.heading, flush=True)  # loading data may take long
    built = made_parts(checked, origins)
    made = {
        name: _instantiated(f"monitor.parts.{name}", node, plain, origins)
        if isinstance(node, dict)
        else node
        for name, node in checked.monitors.items()
    }
    settings["monitor"] = replace(settings["monitor"], parts=made)
    try:
        result = run(
            **built,
            **settings,
            directory=composed.directory,
            config=OmegaConf.to_yaml(OmegaConf.create(masked_config(plain))),
            overrides=overrides,
            hparams=masked_config(choices(plain)),
            notes=checked.notes,
            name=str(plain["name"] or ""),
            resume=resume,
        )
        return result, Best.of(settings["checkpoint"]).mode
    except (TypeError, ValueError) as error:
        if any(note.startswith("run: ") for note in getattr(error, "__notes__", ())):
            raise
        raise blamed(error, plain, origins) from error


@dataclass(frozen=True)
class CheckedConfig:
    """A config in which all was found to fit that can be seen without torch.

    Args:
        plain: Resolved: plain dicts, lists and values.
        settings: `trainer`, `monitor` and `checkpoint`.
        parts: The nodes of everything else.
        monitors: The nodes of the monitors.
        notes: What to tell the user, a line each.
    """

    plain: dict[str, Any]
    settings: dict[str, Any]
    parts: dict[str, Any]
    monitors: dict[str, Any]
    notes: list[str]


def check_config(composed: Composed) -> CheckedConfig:
    """Check a composed config as far as that goes without loading torch.

    Raises:
        ConfigError: The user can mend it.
    """
    origins = composed.origins
    plain = _resolved(composed)
    settings = {name: _made(name, kind, plain[name], origins) for name, kind in _SETTINGS.items()}
    _made("sweep", SweepSettings, plain.pop("sweep"), origins)  # of all of its runs
    remember_secrets(plain)
    parts = {k: v for k, v in plain.items() if k not in (*_SETTINGS, "name") and v is not None}
    _check_parts(parts, origins)
    monitors = _monitors(plain["monitor"]["parts"], origins)
    # Imported late: loading torch takes longer than finding all errors above.
    notes = [
        *composed.never_used.values(),
        *composed.notes,
        *_without_effect(plain["monitor"], origins),
        *check_targets({**parts, "monitor": {"parts": monitors}}, origins),
    ]
    return CheckedConfig(plain, settings, parts, monitors, notes)


def made_parts(checked: CheckedConfig, origins: Origins) -> dict[str, Any]:
    """Instantiate model, data, loss and so on, with the random numbers of the run's seed.

    Raises:
        ConfigError: One cannot be made.
    """
    from trainkit.rundir import seed_everything

    seed_everything(checked.settings["trainer"].seed)
    return {
        key: _instantiated(key, value, checked.plain, origins)
        for key, value in checked.parts.items()
    }


def _resolved(composed: Composed) -> dict[str, Any]:
    """Plain dicts, lists and values, every interpolation resolved."""
    config, origins = composed.config, composed.origins
    for key in config:
        if key not in TOP_KEYS:
            raise ConfigError(
                f"{origins.where(str(key))}there is no key {str(key)!r}"
                f"{nearest(str(key), [*TOP_KEYS, '+experiment'])}"
            )
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            key = missing[0]
            raise ConfigError(f"{origins.where(key)}{key} has no value; set it: {key}=...")
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        key = str(error.full_key or "")
        keys = list(dotted(OmegaConf.to_container(config)))
        said = explained(error, {}, lambda: keys, lambda file, key: "")
        said = said if said.startswith(f"{key} ") else f"{key}: {said}"
        raise ConfigError(f"{origins.where(key)}{said}") from error
    assert isinstance(plain, dict)  # noqa: S101
    if plain["trainer"]["amp"] == "False":  # `off` without quotes is a switch in YAML
        plain["trainer"]["amp"] = "off"
    return {str(key): value for key, value in plain.items()}


def _without_effect(monitor: Mapping[str, Any], origins: Origins) -> list[str]:
    """A line for each setting of the monitoring that somebody made and that changes nothing."""
    lines = []
    every, budget = "monitor.every", "monitor.budget"
    if monitor["every"] != "auto" and origins.where(budget) and not origins.older(budget, every):
        lines.append(
            f"monitor.budget={monitor['budget']} has no effect: monitor.every={monitor['every']} "
            "says how often; monitor.every=auto keeps a budget"
        )
    if "*" in monitor["exclude"] or not monitor["include"]:
        key = "exclude" if "*" in monitor["exclude"] else "include"
        lines.append(
            f"monitor.{key}={monitor[key]} leaves out every parameter and module: no gradients, "
            "weights, updates and activations are watched"
        )
    return lines


def _made(name: str, kind: type, values: dict[str, Any], origins: Origins) -> Any:
    known = [field.name for field in fields(kind)]
    for key in values:
        if key not in known:
            raise ConfigError(
                f"{origins.where(f'{name}.{key}')}there is no key '{name}.{key}'"
                f"{nearest(key, known)}"
            )
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise blamed(error, {name: values}, origins, name) from error


def _check_parts(parts: Mapping[str, Any], origins: Origins) -> None:
    """Every group is a node with a `_target_`, or a mapping of such."""
    for key in ("model", "data", "optimizer"):
        if parts.get(key) is None:
            raise ConfigError(f"{origins.where(key)}{key} is not chosen; choose one: {key}=...")
    for key, value in parts.items():
        nodes = list(_expected_nodes(key, value))
        if not nodes and key in ("model", "optimizer"):  # an empty file
            nodes = [(key, value)]
        for inner, node in nodes:
            if not isinstance(node, dict) or "_target_" not in node:
                raise ConfigError(
                    f"{origins.where(inner)}{inner} must be a mapping with a _target_, "
                    f"got {shorten(repr(node), 100)}"
                )


def _monitors(parts: dict[str, Any], origins: Origins) -> dict[str, Any]:
    """The nodes of monitors; each waits for what only a run has, whether it says so or not."""
    for name, node in parts.items():
        if isinstance(node, dict) and "_target_" in node:
            node.setdefault("_partial_", True)
        elif node is not None and not isinstance(node, bool):
            key = f"monitor.parts.{name}"
            raise ConfigError(
                f"{origins.where(key)}{key} must be a mapping with a _target_, or null to take the "
                f"monitor away, got {shorten(repr(node), 100)}"
            )
    return parts


def _expected_nodes(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    several = isinstance(value, dict) and "_target_" not in value
    if key == "optimizer" and isinstance(value, dict) and isinstance(value.get("params"), dict):
        yield "optimizer.params", value["params"]  # parameter groups
    bare = several and key in ("model", "optimizer") and bool(value)
    if bare and not any(isinstance(node, dict) for node in value.values()):
        yield key, value  # no mapping of nodes, but one that lacks its _target_
    elif several and key in ("model", "optimizer", "scheduler", "metrics", "samples", "handlers",
                             "sinks"):  # fmt: skip
        yield from ((f"{key}.{name}", node) for name, node in value.items() if node is not None)
    else:
        yield key, value


def _instantiated(key: str, value: Any, plain: Mapping[str, Any], origins: Origins) -> Any:
    try:
        return instantiate(value, _convert_="all")
    except SystemExit as error:
        where = origins.where(f"{key}._target_")
        raise ConfigError(f"{where}{key}: what it names called sys.exit({error.code})") from error
    except HydraException as error:
        cause: BaseException = error
        while isinstance(cause, HydraException) and cause.__cause__ is not None:
            cause = cause.__cause__  # and no further: a part may have said it better
        # Hydra's text ends with the place in the node.
        inner = str(error).rpartition("full_key: ")[2].split() if "full_key: " in str(error) else []
        node = ".".join(part for part in (key, *inner[:1]) if part)
        raise blamed(cause, plain, origins, node) from error
