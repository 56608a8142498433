"""The schema that every config is checked against, and what Hydra is told before it composes."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from omegaconf.errors import GrammarParseError, OmegaConfBaseException

from trainkit.config.errors import ConfigError
from trainkit.config.from_run import FROM_RUN, EarlierRun
from trainkit.config.hydra_errors import not_utf8, not_yaml
from trainkit.config.inside_hydra import before_each_composition, jobs_are_noted
from trainkit.config.origins import line_of
from trainkit.config.replaced_parts import default_options, replaced_groups, without
from trainkit.config.sources import Source, experiments, primary_config, project_configs
from trainkit.config.sweeping import job_folder
from trainkit.settings import CheckpointSettings, MonitorSettings, SweepSettings, TrainerSettings

__all__ = ["TOP_KEYS", "defaults", "registered"]


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


_Trainer, _Monitor, _Checkpoint, _Sweep = map(
    _open, (TrainerSettings, MonitorSettings, CheckpointSettings, SweepSettings)
)


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
    handlers: dict[str, Any] = field(default_factory=dict)
    sinks: dict[str, Any] = field(default_factory=dict)
    name: str | None = None
    sweep: _Sweep = field(default_factory=_Sweep)  # type: ignore[valid-type]
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


def defaults() -> dict[str, str | None]:
    """Group → the option that is chosen where nobody chooses."""
    found = OmegaConf.to_container(OmegaConf.load(primary_config()), resolve=False)
    items = default_options(found["defaults"] if isinstance(found, dict) else [])
    return {group: option for group, option in items.items() if "/" not in group}


@contextmanager
def registered(
    chosen: Sequence[str] = (), *, earlier: EarlierRun | None = None, several: bool = False
) -> Iterator[dict[str, DictConfig]]:
    """Tell Hydra the schema, the experiments, and the resolvers that `configs/config.yaml` uses.

    Args:
        chosen: Names (or patterns) of the experiments that will be used: a file that cannot be
            read only matters to a run that wants it.
        earlier: A run whose config is used as an experiment.
        several: Whether a sweep goes over experiments.

    Returns:
        The experiments by name, as they are written.

    Raises:
        ConfigError: A chosen experiment file is not a YAML mapping.
    """
    Plugins.instance().register(_ProjectConfigs)
    store = ConfigStore.instance()
    store.store(name="schema", node=RunConfig)
    nodes: dict[str, DictConfig] = {} if earlier is None else {FROM_RUN: earlier.config}
    for experiment in experiments():
        wanted = any(fnmatchcase(experiment.name, pattern) for pattern in chosen)
        try:
            nodes[experiment.name] = _loaded(experiment)
        except ConfigError:
            if wanted:
                raise
    _store(nodes)
    # A resolver of our own, so that the time is the same in all parts of the path.
    started = datetime.now().astimezone()
    name = "several" if several else "" if earlier is None else earlier.experiment
    resolvers: dict[str, Callable[..., Any]] = {
        "trainkit.run_name": lambda choices: name or _run_name(choices),
        "trainkit.started": lambda: started.strftime("%Y-%m-%d_%H-%M-%S"),
        "trainkit.named": _named,
        "trainkit.job_folder": job_folder,
    }
    for key, resolver in resolvers.items():
        OmegaConf.register_new_resolver(key, resolver, replace=True)
    options = defaults()

    def drop_replaced(overrides: Sequence[str]) -> None:
        # Each job of a sweep replaces its own options.
        groups = list(replaced_groups(overrides, nodes, options))
        _store({name: without(node, groups) for name, node in nodes.items()} if groups else nodes)

    with before_each_composition(drop_replaced), jobs_are_noted():
        yield nodes


def _store(nodes: dict[str, DictConfig]) -> None:
    """Register these experiments instead of all earlier ones in this process."""
    store = ConfigStore.instance()
    store.repo["experiment"] = {}
    for path, node in nodes.items():
        group, _, name = f"experiment/{path}".rpartition("/")
        store.store(group=group, name=name, node=node, package="_global_", provider="trainkit")


def _loaded(experiment: Source) -> Any:
    try:
        node = OmegaConf.load(experiment.path)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{experiment.shown}:{line}: {not_utf8(error)}") from error
    except GrammarParseError as error:
        key = str(error.full_key or "")
        line = line_of(experiment.path, key.split("."))
        at = f"{experiment.shown}:{line}" if line else experiment.shown
        raise ConfigError(f"{at}: {key} has a ${{...}} that cannot be read") from error
    except (yaml.YAMLError, OmegaConfBaseException, OSError) as error:
        raise ConfigError(not_yaml(error, str(experiment.path))) from error
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{experiment.shown}: an experiment is a mapping of keys, not a list")
    _check_header(experiment)
    return node


def _check_header(experiment: Source) -> None:
    """Refuse a package header: Hydra would ignore it silently."""
    text = experiment.path.read_text(encoding="utf-8-sig")
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"#\s*@package\b\s*(.*)", line)
        if header and header[1].strip() != "_global_":
            raise ConfigError(
                f"{experiment.shown}:{number}: an experiment sets keys of the whole config, got "
                f"{line.strip()!r}: write # @package _global_, or leave the line out"
            )
        if line.strip() and not line.startswith("#"):
            return


def _run_name(choices: Any) -> str:
    """The experiment's name; without one that of the model."""
    return str(choices.get("experiment") or choices.get("model") or "default")


def _named(name: Any) -> str:
    """What a run's name adds to that of its folder.

    Raises:
        ValueError: It holds something that not every disk takes.
    """
    if name is None:
        return ""
    text = str(name)
    if not re.fullmatch(r"\w[\w.+=,-]{0,63}", text, re.ASCII):
        safe = re.sub(r"[^\w.+=,-]+", "-", text, flags=re.ASCII).strip("-.+=,")[:64]
        mend = f"; did you mean {safe}?" if safe else ""
        raise ValueError(
            "name must be at most 64 letters, digits and _ . + = , - of ASCII, beginning with a "
            f"letter or digit, got {text!r}{mend}"
        )
    return f"_{text}"
