"""What may change when a run is resumed, and what has changed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from trainkit.config.errors import ConfigError
from trainkit.config.sources import relative
from trainkit.masking import MASK

__all__ = ["changes_since", "check_resumable"]

# With another value of these the state of the run means nothing, or the value would be ignored:
# the learning rate is part of the optimizer's state.
_FIXED = (
    "model", "data", "loss", "optimizer", "scheduler", "engine", "trainer.seed",
    "trainer.accumulation_steps", "trainer.epoch_length",
)  # fmt: skip
# Where the same data lie now.
_MOVED = ("data.path",)
# These change nothing of the run.
_IGNORED = ("trainer.resume", "trainer.progress_bar", "sweep", "name")


def check_resumable(directory: Path) -> None:
    """Whether the command line can resume this run.

    Raises:
        ConfigError: There is no such folder or no run in it, or it was made from Python objects.
    """
    if not directory.is_dir():
        raise ConfigError(f"resume: there is no folder {relative(directory)!r}")
    if not (directory / "run.json").is_file():
        raise ConfigError(f"resume: {relative(directory)!r} holds no run: it has no run.json")
    if not (directory / "config.yaml").is_file():
        raise ConfigError(
            f"resume: {relative(directory)!r} has no config.yaml: a run that was made from Python "
            "objects is resumed by the same program, with run(..., resume=True)"
        )


def changes_since(directory: Path, config: Mapping[str, Any]) -> list[str]:
    """What is to be otherwise than it was so far, as overrides.

    Args:
        directory: Of the run.
        config: With which it is to go on, resolved.

    Raises:
        ConfigError: Something has changed with which the run cannot go on; shows the difference.
    """
    file = directory / "config.yaml"
    if not file.is_file():
        return []
    try:
        before = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"resume: {relative(file)} cannot be read: {error}") from error
    was, now = (dict(_leaves("", each)) for each in (before, config))
    # A value that was masked cannot be compared.
    differ = [
        key
        for key in {**was, **now}
        if was.get(key) != now.get(key) and MASK not in str(was.get(key)) and not _is(key, _IGNORED)
    ]
    refused = [key for key in differ if _is(key, _FIXED) and key not in _MOVED]
    if refused:
        shown = "; ".join(f"{key} was {was.get(key)!r}, is {now.get(key)!r}" for key in refused[:5])
        more = f" (and {len(refused) - 5} more)" if len(refused) > 5 else ""
        raise ConfigError(
            f"resume: the run cannot go on with this: {shown}{more}; trainkit run --from "
            f"{relative(directory)} begins a new run"
        )
    return [f"{key}={now.get(key)}" for key in differ]


def _is(key: str, names: tuple[str, ...]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(f"{key}.{name}" if key else str(name), inner)
    else:
        yield key, value
