"""The arguments of `trainkit run`, read once before Hydra reads them, for errors on one line."""

import re
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from trainkit.config.errors import ConfigError, nearest
from trainkit.config.sources import experiments, groups

__all__ = ["Arguments", "read_arguments"]


@dataclass(frozen=True)
class Arguments:
    """What matters of them before a config is composed.

    Args:
        experiments: What was written behind `experiment=`; a sweep has several, perhaps patterns.
        choices: The overrides that choose an option of a group, as written.
        config_dir: Of `--config-dir`.
    """

    experiments: tuple[str, ...]
    choices: tuple[str, ...]
    config_dir: Path | None


def read_arguments(arguments: Sequence[str]) -> Arguments:
    """Read flags and overrides.

    Raises:
        ConfigError: A flag does not exist, or an override cannot be read or makes no sense.
    """
    for argument in arguments:
        if re.match(r"--?experiment(=|$)", argument):
            raise ConfigError(f"there is no flag {argument}: write +experiment=NAME")
    parser = get_args_parser()
    parser.error = lambda message: _refuse(parser, message)  # type: ignore[method-assign]
    given = parser.parse_args(list(arguments))
    config_dir = Path(given.config_dir).resolve() if given.config_dir else None
    known = {"experiment", *groups(config_dir)}
    chosen: list[str] = []
    values: list[str] = []
    # For completion and for help an override may be unfinished.
    reader = OverridesParser.create()
    helping = given.shell_completion or given.help or given.hydra_help
    for text in () if helping else given.overrides:
        override = _parsed(reader, text)
        if override.key_or_group not in known:
            _check_plain(override)
            continue
        if override.is_delete():
            continue
        _check_choice(override)
        if not override.is_sweep_override():
            chosen.append(text)
        if override.key_or_group == "experiment":
            values.append(str(text.partition("=")[2]))
    if len(values) > 1:
        raise ConfigError(
            f"experiment is chosen twice ({', '.join(values)}); leave one of them out"
        )
    names = re.findall(r"[^\s,()\[\]'\"]+", values[0]) if values else []
    return Arguments(tuple(names), tuple(chosen), config_dir)


def _refuse(parser: ArgumentParser, message: str) -> NoReturn:
    flags = [flag for action in parser._actions for flag in action.option_strings]
    unknown = re.search(r"unrecognized arguments: (\S+)", message)
    if unknown:
        near = nearest(unknown[1], [flag for flag in flags if flag.startswith("--")])
        raise ConfigError(f"there is no flag {unknown[1]}{near}")
    raise ConfigError(message)


def _parsed(reader: OverridesParser, text: str) -> Override:
    try:
        (override,) = reader.parse_overrides([text])
    except HydraException as error:
        known = any(experiment.name == text for experiment in experiments())
        mend = (
            f"did you mean +experiment={text}?"
            if known
            else "write key=value (+key=value adds one, ~key removes one); a value with a space, a "
            "comma or an accent needs quotes twice: key='\"value\"'"
        )
        raise ConfigError(f"cannot read the override {text!r}: {mend}") from error
    if not override.key_or_group:
        raise ConfigError(f"the override {text!r} has no key: write key=value")
    return override


def _check_choice(override: Override) -> None:
    value = override.value()
    if override.is_sweep_override() or isinstance(value, str | list):
        return
    group, text = override.key_or_group, override.get_value_element_as_str()
    options = [source.name for source in groups().get(group, ())]
    raise ConfigError(
        f"on the command line: {group} is a group, got {text}: choose one of {', '.join(options)}"
    )


def _check_plain(override: Override) -> None:
    if override.key_or_group in ("hydra.run.dir", "hydra.sweep.dir") and override.value() == "":
        raise ConfigError(f"on the command line: {override.key_or_group} is empty; name a folder")
