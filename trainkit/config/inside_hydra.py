"""Methods of Hydra 1.3 that are replaced while a command runs, because it has no hook there."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.types import Override

from trainkit.config.errors import ConfigError
from trainkit.config.sweeping import begin_sweep, hide_secrets

__all__ = ["before_each_composition", "composed_once", "jobs_are_noted"]


@contextmanager
def before_each_composition(prepare: Callable[[Sequence[str]], None]) -> Iterator[None]:
    """Call `prepare` with the overrides each time that Hydra composes: once per job of a sweep.

    Raises:
        ConfigError: What was composed does not hold trainkit's config.
    """
    original = ConfigLoaderImpl.load_configuration

    def load(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], *a: Any, **k: Any
    ) -> Any:
        prepare(overrides)
        config = original(self, config_name, overrides, *a, **k)
        if config_name is not None and not {"trainer", "name"} <= set(config):
            raise ConfigError(
                f"the config {config_name} (--config-name) lacks trainkit's own: begin it with "
                "defaults: [config, _self_]"
            )
        return config

    ConfigLoaderImpl.load_configuration = load  # type: ignore[method-assign]
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = original  # type: ignore[method-assign]


@contextmanager
def composed_once(
    arguments: Sequence[str], experiments: Iterable[Container[str]]
) -> Iterator[None]:
    """Spare the composition that Hydra makes only to read `hydra.mode` from it.

    Composing is most of what is waited for before a run's first line. Hydra looks itself where
    somebody may have set the mode.

    Args:
        arguments: Of the command line.
        experiments: As they are written.
    """
    elsewhere = ("--config-", "-cn", "-cp", "-cd")
    set_here = any(
        each.startswith(elsewhere) or ("hydra" in each and "hydra.run." not in each)
        for each in arguments
    )
    original = Hydra.get_mode
    if not set_here and not any("hydra" in each for each in experiments):
        Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = original  # type: ignore[method-assign]


@contextmanager
def jobs_are_noted() -> Iterator[None]:
    """Note the jobs of a sweep before the first, and mask the secrets in its `multirun.yaml`."""
    # Imported here, because Hydra loads the module again with its plugins.
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    split, batch = BasicSweeper.split_arguments, BasicSweeper.get_job_batch

    def split_arguments(overrides: list[Override], size: int | None) -> list[list[list[str]]]:
        batches = split(overrides, size)
        jobs = [job for each in batches for job in each]
        keys = [override.get_key_element() for override in overrides]
        begin_sweep([key for key in keys if _differs(key, jobs)], len(jobs))
        return batches

    def get_job_batch(self: Any) -> Sequence[Sequence[str]]:
        if self.config is not None:  # Hydra has just written the file
            hide_secrets(Path(self.config.hydra.sweep.dir) / "multirun.yaml")
        return batch(self)

    sweeper: Any = BasicSweeper
    sweeper.split_arguments, sweeper.get_job_batch = staticmethod(split_arguments), get_job_batch
    try:
        yield
    finally:
        sweeper.split_arguments, sweeper.get_job_batch = staticmethod(split), batch


def _differs(key: str, jobs: Sequence[Sequence[str]]) -> bool:
    return len({text for job in jobs for text in job if text.startswith(f"{key}=")}) > 1
