"""The schema that every config is checked against, and what Hydra is told before it composes."""

from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, field, fields, make_dataclass
from datetime import datetime
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainkit.config.errors import ConfigError
from trainkit.config.sources import experiments, project_configs
from trainkit.settings import CheckpointSettings, MonitorSettings, TrainerSettings

__all__ = ["register"]


def _open(settings: type) -> Any:
    """The same dataclass, not frozen: OmegaConf makes a frozen one read-only."""
    parts: list[tuple[str, Any, Any]] = []
    for part in fields(settings):
        default = (
            field(default=part.default)
            if part.default is not NO_DEFAULT
            else field(default_factory=part.default_factory)  # type: ignore[arg-type]
        )
        parts.append((part.name, part.type, default))
    return make_dataclass(settings.__name__, parts)


_Trainer, _Monitor, _Checkpoint = map(_open, (TrainerSettings, MonitorSettings, CheckpointSettings))


@dataclass
class RunConfig:
    """Every key at the top of a config; what is `Any` is checked where it is instantiated."""

    model: Any = MISSING
    data: Any = MISSING
    loss: Any = None
    optimizer: Any = MISSING
    scheduler: Any = None
    metrics: Any = None
    engine: Any = None
    samples: dict[str, Any] = field(default_factory=dict)
    trainer: _Trainer = field(default_factory=_Trainer)  # type: ignore[valid-type]
    monitor: _Monitor = field(default_factory=_Monitor)  # type: ignore[valid-type]
    checkpoint: _Checkpoint = field(default_factory=_Checkpoint)  # type: ignore[valid-type]


def register(chosen: str = "") -> None:
    """Tell Hydra the schema, the experiments, and the resolvers that `configs/config.yaml` uses.

    Args:
        chosen: The command line: an experiment file that cannot be read only matters to a run
            that wants it.

    Raises:
        ConfigError: A chosen experiment file is not YAML.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=RunConfig)
    for experiment in experiments():
        try:
            node = OmegaConf.load(experiment.path)
        except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
            if experiment.name in chosen:
                reason = " ".join(str(error).split())
                raise ConfigError(f"{experiment.path} is not YAML: {reason}") from error
            continue
        group, _, name = f"experiment/{experiment.name}".rpartition("/")
        store.store(group=group, name=name, node=node, package="_global_", provider="trainkit")
    # Under a resolver of its own `now` is the same in every part of one run's path.
    started = datetime.now().astimezone()
    for name, resolver in {
        "trainkit.run_name": _run_name,
        "trainkit.started": lambda: started.strftime("%Y-%m-%d_%H-%M-%S"),
        "trainkit.project_configs": lambda: [str(p) for p in (project_configs(),) if p],
    }.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def _run_name(choices: Any) -> str:
    """The experiment's name; without one that of the model."""
    return str(choices.get("experiment") or choices.get("model") or "default")
