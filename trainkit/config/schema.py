"""The schema that every config is checked against, and what Hydra is told before it composes."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, field, fields, make_dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

import yaml
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainkit.config.errors import ConfigError
from trainkit.config.explaining import not_utf8
from trainkit.config.sources import Source, experiments, project_configs
from trainkit.settings import CheckpointSettings, MonitorSettings, TrainerSettings

__all__ = ["TOP_KEYS", "register"]


def _open(settings: type) -> Any:
    """The same dataclass, not frozen: OmegaConf makes a frozen one read-only."""
    parts: list[tuple[str, Any, Any]] = []
    for part in fields(settings):
        default = (
            field(default=part.default)
            if part.default is not NO_DEFAULT
            else field(default_factory=part.default_factory)
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


class _ProjectConfigs(SearchPathPlugin):
    """Options of the user's own `./configs`, behind all others."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        folder = project_configs()
        if folder is not None:
            search_path.append(provider="project", path=f"file://{folder}")


TOP_KEYS = tuple(part.name for part in fields(RunConfig))


def register(chosen: Sequence[str] = ()) -> None:
    """Tell Hydra the schema, the experiments, and the resolvers that `configs/config.yaml` uses.

    Args:
        chosen: Names (or patterns) of the experiments that will be used: a file that cannot be
            read only matters to a run that wants it.

    Raises:
        ConfigError: A chosen experiment file is not a YAML mapping.
    """
    Plugins.instance().register(_ProjectConfigs)
    store = ConfigStore.instance()
    store.store(name="schema", node=RunConfig)
    # What an earlier call in this process found in another folder.
    store.repo["experiment"] = {}
    for experiment in experiments():
        wanted = any(fnmatchcase(experiment.name, pattern) for pattern in chosen)
        try:
            node = _loaded(experiment)
        except ConfigError:
            if wanted:
                raise
            continue
        group, _, name = f"experiment/{experiment.name}".rpartition("/")
        store.store(group=group, name=name, node=node, package="_global_", provider="trainkit")
    # Under a resolver of its own `now` is the same in every part of one run's path.
    started = datetime.now().astimezone()
    resolvers: dict[str, Callable[..., Any]] = {
        "trainkit.run_name": lambda choices: _run_name(choices, chosen),
        "trainkit.started": lambda: started.strftime("%Y-%m-%d_%H-%M-%S"),
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def _loaded(experiment: Source) -> Any:
    try:
        node = OmegaConf.load(experiment.path)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{experiment.shown}:{line}: {not_utf8(error)}") from error
    except (yaml.YAMLError, OmegaConfBaseException, OSError) as error:
        reason = " ".join(str(getattr(error, "problem", "") or error).split())
        mark = getattr(error, "problem_mark", None)
        at = f"{experiment.shown}:{mark.line + 1}" if mark else experiment.shown
        raise ConfigError(f"{at}: this is not YAML: {reason}") from error
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{experiment.shown}: an experiment is a mapping of keys, not a list")
    return node


def _run_name(choices: Any, chosen: Sequence[str]) -> str:
    """The experiment's name; without one that of the model."""
    if choices.get("experiment"):
        return str(choices["experiment"])
    # A sweep over experiments has a folder too, beside those of its runs.
    return "several" if chosen else str(choices.get("model") or "default")
