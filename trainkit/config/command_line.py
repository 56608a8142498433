"""The arguments of `trainkit run`, read once before Hydra reads them, for errors on one line."""

import re
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override
from hydra.errors import HydraException

from trainkit.config.errors import SYNONYMS, ConfigError, nearest
from trainkit.config.from_run import FROM_RUN, EarlierRun, earlier_run
from trainkit.config.schema import defaults
from trainkit.config.sources import experiments, groups, primary_config
from trainkit.masking import remember_override

__all__ = ["Arguments", "read_arguments"]


# Sections of the keys that people give as flags.
_PLACES = {
    "lr": "optimizer.lr",
    "weight_decay": "optimizer.weight_decay",
    "batch_size": "data.batch_size",
    "name": "name",
    "every": "monitor.every",
} | {
    name: f"trainer.{name}"
    for name in ("epochs", "max_iterations", "seed", "device", "amp", "clip_grad_norm")
}


@dataclass(frozen=True)
class Arguments:
    """What matters of them before a config is composed.

    Args:
        experiments: What was written behind `experiment=`; a sweep has several, perhaps patterns.
        choices: The overrides that choose an option of a group, as written.
        config_dir: Of `--config-dir`.
        earlier: The run of `--from`.
        swept: The keys that have several values.
        package: The part of the config that `--cfg` shows.
        shows: Whether the config is to be shown and nothing is to be run.
        hydra: What Hydra is given.
    """

    experiments: tuple[str, ...]
    choices: tuple[str, ...]
    config_dir: Path | None
    earlier: EarlierRun | None = None
    swept: tuple[str, ...] = ()
    package: str | None = None
    shows: bool = False
    hydra: tuple[str, ...] = ()


def read_arguments(arguments: Sequence[str]) -> Arguments:
    """Read flags and overrides.

    Raises:
        ConfigError: A flag does not exist, or an override cannot be read or makes no sense.
    """
    for argument in arguments:
        if re.match(r"--?experiment(=|$)", argument):
            raise ConfigError(f"there is no flag {argument}: write +experiment=NAME")
    directory, rest = _taken_out("--from", arguments)
    parser = get_args_parser()
    parser.error = lambda message: _refuse(parser, message)  # type: ignore[method-assign]
    given = parser.parse_args(rest)
    if given.experimental_rerun:
        raise ConfigError("--experimental-rerun would read a pickle; --from RUN_DIR trains again")
    place = given.config_path
    if place and not (Path(place).is_absolute() or "://" in place):
        raise ConfigError(
            f"--config-path takes the place of trainkit's own folder and must be absolute, got "
            f"{place!r}; --config-dir {place} adds a folder"
        )
    config_dir = Path(given.config_dir).resolve() if given.config_dir else None
    _check_config_dir(config_dir, given.config_name)
    _check_config_name(given.config_name, config_dir)
    known = {"experiment", *groups(config_dir)}
    chosen: list[str] = []
    values: list[str] = []
    swept: list[str] = []
    # For completion and for help an override may be unfinished.
    reader = OverridesParser.create()
    helping = given.shell_completion or given.help or given.hydra_help
    for text in () if helping else given.overrides:
        override = _parsed(reader, text)
        remember_override(text)
        if override.is_sweep_override():
            swept.append(str(override.key_or_group))
            own_sweeper = any(each.startswith("hydra/sweeper=") for each in given.overrides)
            if not own_sweeper and not override.is_discrete_sweep():
                raise ConfigError(
                    f"on the command line: {text} needs a Hydra plug-in that searches; list the "
                    f"values: {override.key_or_group}=0.1,0.01"
                )
        if override.key_or_group not in known:
            _check_plain(override)
            continue
        if override.is_delete():
            continue
        _check_choice(override, config_dir)
        if not override.is_sweep_override():
            chosen.append(text)
        if override.key_or_group == "experiment":
            values.append(str(text.partition("=")[2]))
    if len(values) > 1:
        raise ConfigError(
            f"experiment is chosen twice ({', '.join(values)}); leave one of them out"
        )
    names = re.findall(r"[^\s,()\[\]'\"]+", values[0]) if values else []
    earlier = None if directory is None else earlier_run(directory, defaults())
    if earlier is not None and not helping:
        if values:
            raise ConfigError(f"--from takes a run's own config: leave +experiment={values[0]} out")
        earlier.check_secrets(given.overrides)
        rest.append(f"+experiment={FROM_RUN}")
        chosen.append(f"+experiment={FROM_RUN}")
        names = [FROM_RUN]
    return Arguments(
        experiments=tuple(names),
        choices=tuple(chosen),
        config_dir=config_dir,
        earlier=earlier,
        swept=tuple(swept),
        package=given.package,
        shows=bool(given.cfg or given.info or given.help),
        hydra=tuple(rest),
    )


def _taken_out(flag: str, arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The value of a flag that is not Hydra's, and the other arguments.

    Raises:
        ConfigError: It has no value, or two.
    """
    values: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == flag:
            values.append(next(waiting, ""))
        elif argument.startswith(f"{flag}="):
            values.append(argument.removeprefix(f"{flag}="))
        else:
            rest.append(argument)
    if "" in values or any(value.startswith("--") for value in values):
        raise ConfigError(f"{flag} needs the folder of a run: trainkit run {flag} RUN_DIR")
    if len(values) > 1:
        raise ConfigError(f"{flag} is given twice ({', '.join(values)}); leave one of them out")
    return (values[0] if values else None), rest


def _check_config_dir(folder: Path | None, name: str | None) -> None:
    """A config that trainkit's own hides would not be used, without a word."""
    if folder is None or not (folder / f"{name or 'config'}.yaml").is_file():
        return
    if (folder / "overrides.txt").is_file():
        raise ConfigError(
            f"--config-dir: {folder.name} is the folder of a run; to train again from its config: "
            f"trainkit run --from {folder}"
        )
    if (primary_config().parent / f"{name or 'config'}.yaml").is_file():
        raise ConfigError(
            f"--config-dir: {name or 'config'}.yaml in {folder} would not be used: trainkit's own "
            "has the same name; call yours otherwise and choose it with --config-name"
        )


def _check_config_name(name: str | None, config_dir: Path | None) -> None:
    """What it names takes the place of the whole config: an option or an experiment cannot."""
    group, _, option = (name or "").removesuffix(".yaml").rpartition("/")
    own = config_dir is not None and (config_dir / f"{option}.yaml").is_file()
    if not group and not own and option in {source.name for source in experiments()}:
        raise ConfigError(
            f"--config-name takes the place of the whole config, and {name} is an experiment: "
            f"write +experiment={option}"
        )
    if any(source.name == option for source in groups(config_dir).get(group, ())):
        raise ConfigError(
            f"--config-name takes the place of the whole config, and {name} is an option of "
            f"{group}: write {group}={option}"
        )


def _refuse(parser: ArgumentParser, message: str) -> NoReturn:
    flags = [flag for action in parser._actions for flag in action.option_strings]
    unknown = re.search(r"unrecognized arguments: (\S+)", message)
    if unknown:
        key = _meant(unknown[1])
        if key:
            raise ConfigError(f"there is no flag {unknown[1]}: a value has no dashes: {key}=...")
        known = [flag for flag in flags if flag.startswith("--")]
        near = nearest(unknown[1], [*known, "--from"])
        raise ConfigError(f"there is no flag {unknown[1]}{near}")
    raise ConfigError(message)


def _meant(flag: str) -> str:
    """The key that is meant where a value is given as a flag; empty if none comes to mind."""
    name = flag.lstrip("-").partition("=")[0].replace("-", "_")
    if "." in name:
        return name
    return _PLACES.get(SYNONYMS.get(name, name), "")


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


def _check_choice(override: Override, config_dir: Path | None) -> None:
    value: object = override.value()
    group = override.key_or_group
    sources = experiments() if group == "experiment" else groups(config_dir).get(group, ())
    options = [source.name for source in sources]
    if isinstance(value, Glob):
        _check_glob(group, value, options)
    if group == "experiment" and isinstance(value, list):
        text = ",".join(map(str, value))
        raise ConfigError(
            f"on the command line: experiments cannot be mixed, got [{text}]: choose one; "
            f"--multirun +experiment={text} runs one after the other"
        )
    if isinstance(value, ChoiceSweep):  # the sweep has no folder yet
        what = "experiment" if group == "experiment" else f"option of {group}"
        for each in value.list:
            if isinstance(each, str) and each not in options:
                raise ConfigError(
                    f"on the command line: there is no {what} {each!r}{nearest(each, options)}"
                )
    if isinstance(value, str) and value.strip("/") != value:
        what = "experiment" if group == "experiment" else f"option of {group}"
        near = nearest(value.strip("/"), options)
        raise ConfigError(f"on the command line: there is no {what} {value!r}{near}")
    if override.is_sweep_override() or isinstance(value, str | list):
        return
    text = override.get_value_element_as_str()
    raise ConfigError(
        f"on the command line: {group} is a group, got {text}: choose one of {', '.join(options)}"
    )


def _check_glob(group: str, wanted: Glob, options: Iterable[str]) -> None:
    names = list(options)
    if not wanted.filter(names):
        patterns = ", ".join(wanted.include)
        what = "experiment" if group == "experiment" else f"option of {group}"
        raise ConfigError(
            f"on the command line: no {what} matches glob({patterns}){nearest(patterns, names)}"
        )


def _check_plain(override: Override) -> None:
    if override.key_or_group in ("hydra.run.dir", "hydra.sweep.dir") and override.value() == "":
        raise ConfigError(f"on the command line: {override.key_or_group} is empty; name a folder")
