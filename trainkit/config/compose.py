"""Run Hydra with all its features, and turn its tracebacks into one-line errors."""

import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException

from trainkit.config.chosen_by import circle, may_be_chosen, who_chose
from trainkit.config.command_line import Arguments, read_arguments
from trainkit.config.errors import ConfigError, nearest, noted
from trainkit.config.from_run import FROM_RUN
from trainkit.config.hydra_errors import dotted, explained, not_utf8
from trainkit.config.inside_hydra import composed_once
from trainkit.config.origins import COMMAND_LINE, Origins, line_of
from trainkit.config.replaced_parts import replaced_groups, said
from trainkit.config.run_title import heading
from trainkit.config.schema import defaults, registered
from trainkit.config.sources import Source, experiments, groups, never_used, relative
from trainkit.config.sweeping import SweepJob, begin_sweep, hide_secrets, job_of
from trainkit.masking import masked, masked_override

__all__ = ["Composed", "Job", "compose_and_run", "explained_error"]


@dataclass(frozen=True)
class Composed:
    """What one run is to be.

    Args:
        config: As Hydra composed it, without Hydra's own part.
        directory: Where the run goes; Hydra has made it.
        chosen: Whether the user said where.
        overrides: Those of the command line, as they are recorded: without secrets.
        origins: Where each key was set.
        never_used: Chosen `group/option` → a line about a file of the user's that lost this name.
        notes: What to tell the user, a line each.
        sweep: Of a sweep, which of its jobs this is.
        heading: What to print first.
        resume: The run that is in the folder goes on.
    """

    config: DictConfig
    directory: Path
    chosen: bool
    overrides: list[str]
    origins: Origins
    never_used: dict[str, str]
    notes: tuple[str, ...] = ()
    sweep: SweepJob | None = None
    heading: str = ""
    resume: bool = False


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
    earlier = given.earlier
    members = groups(given.config_dir)
    named = [*experiments(), *([earlier.source] if earlier else [])]
    lost = never_used(given.config_dir)
    begun = False  # a job has begun: errors from here on are not Hydra's
    several = "experiment" in given.swept
    begin_sweep(given.swept)

    def task(config: DictConfig) -> None:
        nonlocal begun
        begun = True
        settings = HydraConfig.get()
        choices = {str(group): str(option) for group, option in settings.runtime.choices.items()}
        # Unresolved: an override may hold an interpolation.
        overrides: Any = OmegaConf.to_container(settings.overrides, resolve=False)
        experiment = choices.get("experiment", "")
        options = defaults()
        replaced = list(replaced_groups(overrides["task"], nodes, options))
        written = [o for o in overrides["task"] if not (earlier and FROM_RUN in o)]
        notes = []
        if earlier:
            written.insert(0, f"--from {earlier.directory}")
            notes.append(f"trained again from {relative(earlier.directory)}")
            notes += earlier.left_behind(config, written)
        else:
            shown = next((s.shown for s in named if s.name == experiment), "")
            notes += said(overrides["task"], nodes, options, shown)
        if settings.output_subdir is not None:
            for file in (Path(settings.runtime.output_dir) / settings.output_subdir).glob("*.yaml"):
                hide_secrets(file)
        recorded = [masked_override(override) for override in written]
        place = relative(earlier.directory) if earlier else ""
        sweep = settings.mode == RunMode.MULTIRUN
        job(
            Composed(
                config=config,
                directory=Path(settings.runtime.output_dir),
                chosen=any(
                    o.startswith(("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir"))
                    for o in overrides["hydra"]
                ),
                overrides=recorded,
                origins=Origins(overrides["task"], choices, members, named, replaced),
                never_used={
                    name: line
                    for name, line in lost.items()
                    if choices.get(name.rpartition("/")[0]) == name.rpartition("/")[2]
                },
                notes=tuple(notes),
                sweep=job_of(int(settings.job.num), overrides["task"]) if sweep else None,
                heading=heading(config, experiment, recorded, place),
            )
        )

    with (
        registered(given.experiments, earlier=earlier, several=several) as nodes,
        _called_as("trainkit run", given.hydra),
        composed_once(arguments, nodes.values()),
        # Hydra says by itself that there is no such package, not as a line of ours.
        redirect_stderr(io.StringIO()) if given.package else nullcontext(),
        _without_secrets() if given.shows else nullcontext(),
    ):
        try:
            hydra.main(
                version_base="1.3", config_path="pkg://trainkit.configs", config_name="config"
            )(task)()
        except SystemExit as leaving:  # after --help, --info and similar flags
            if leaving.code and not begun and given.package:
                near = nearest(given.package, [k for k in _keys(given.choices) if k.count(".") < 2])
                raise ConfigError(f"--package: there is no {given.package!r}{near}") from leaving
            if leaving.code:
                raise
        except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
            asked = {name: line for name, line in lost.items() if may_be_chosen(name, given)}
            raise ConfigError(noted(explained_error(error, given), asked)) from error
        except RecursionError as error:
            raise ConfigError(circle(members, given)) from error
        except OSError as error:  # of the run's folder
            if begun:
                raise
            raise ConfigError(
                f"cannot make a folder for the run, {error.filename}: {error.strerror}; "
                "hydra.run.dir=... chooses another"
            ) from error


@contextmanager
def _called_as(name: str, arguments: Sequence[str]) -> Iterator[None]:
    """Call Hydra as a command, and restore what it changes in the process.

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


@contextmanager
def _without_secrets() -> Iterator[None]:
    """Print what was printed inside at the end, with secrets masked."""
    text = io.StringIO()
    try:
        with redirect_stdout(text):
            yield
    finally:
        print(masked(text.getvalue()), end="", flush=True)


def explained_error(error: Exception, given: Arguments) -> str:
    """One line for what Hydra raised: where, what, and the nearest right name."""
    members = groups(given.config_dir)
    named = {f"{group}/{s.name}": s for group, sources in members.items() for s in sources}
    named |= {f"experiment/{source.name}": source for source in experiments()}
    if given.earlier:
        named[f"experiment/{FROM_RUN}"] = given.earlier.source

    def where(file: str, key: str) -> str:
        if file == "command line":
            return f"{COMMAND_LINE}: "
        source = named.get(file)
        if source is None:
            return ""
        path = key.split(".")
        group = file.rpartition("/")[0].split("/")
        inside = path[len(group) :] if path[: len(group)] == group else path
        line = line_of(source.path, inside) if key else 0
        return f"{source.shown}:{line}: " if line else f"{source.shown}: "

    def chosen(option: str, inside: str) -> str:
        return who_chose(option, inside, given)

    choices = {group: [source.name for source in sources] for group, sources in members.items()}
    choices["experiment"] = [source.name for source in experiments()]
    if isinstance(error, UnicodeDecodeError):
        return _holding(error.object, named.values(), error.start) + not_utf8(error)
    kind = re.match(r"Unsupported type in defaults : (\w+)", str(error))
    if kind:
        return _with_odd_defaults(kind[1], named, given)
    said = explained(error, choices, lambda: _keys(given.choices), where, chosen)
    unread = (
        re.search(r"'(\$\{.*)'$", said) if isinstance(error.__cause__, GrammarParseError) else None
    )
    return _holding(unread[1].encode(), named.values()) + said if unread else said


def _holding(text: bytes, sources: Iterable[Source], offset: int = 0) -> str:
    """`FILE:LINE: ` of the first file with this text, where an error does not name its file."""
    for source in sources:
        content = source.path.read_bytes()
        start = content.find(text)
        if start >= 0:
            line = content.count(b"\n", 0, start + offset) + 1
            return f"{source.shown}:{line}: "
    return ""


def _with_odd_defaults(kind: str, named: Mapping[str, Source], given: Arguments) -> str:
    """Which file has a defaults list with something else than options in it; the chosen first."""
    likely = [choice.lstrip("+").replace("=", "/") for choice in given.choices]
    said = "each item of a defaults list is an option: group: option, or override /group: option"
    for name in sorted(named, key=lambda name: name not in likely):
        try:
            content = yaml.safe_load(named[name].path.read_bytes())
        except (yaml.YAMLError, UnicodeDecodeError):
            continue
        items = content.get("defaults") if isinstance(content, dict) else None
        for item in items if isinstance(items, list) else ():
            if not isinstance(item, str | dict):
                line = line_of(named[name].path, ["defaults"])
                return f"{named[name].shown}:{line}: {said}, got {item!r}"
    return f"{said}, got a value of type {kind}"


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
