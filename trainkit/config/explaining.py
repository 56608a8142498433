"""One line for what Hydra and OmegaConf say on many."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import yaml
from hydra.errors import MissingConfigException

from trainkit.config.errors import ConfigError, nearest
from trainkit.config.sources import relative

__all__ = ["dotted", "explained"]

# What OmegaConf calls a type → what it is.
_KINDS = {
    "Integer": "a whole number",
    "Float": "a number",
    "Boolean": "true or false",
    "String": "text",
}


def explained(
    error: BaseException,
    choices: Mapping[str, Iterable[str]],
    keys: Callable[[], Iterable[str]],
    where: Callable[[str, str], str],
) -> str:
    """What was wrong, where, and the nearest right name.

    Args:
        error: What was raised while composing.
        choices: Every group with its options.
        keys: Makes every key that exists, dotted; called only if one was wrong.
        where: `(file, key)` → `FILE:LINE: ` or the like, for a message's start; the file is
            Hydra's name of it (`experiment/digits`), or `command line`; without a key it is the
            option (`model/cnn`) that somebody chose.
    """
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    if isinstance(error, ConfigError):
        return str(error)
    text = "\n".join(str(part) for part in chain)
    broken = next((part for part in chain if isinstance(part, yaml.YAMLError)), None)
    if broken is not None:
        mark = getattr(broken, "problem_mark", None)
        at = f"{relative(mark.name)}:{mark.line + 1}: " if mark else ""
        return f"{at}this is not YAML: {getattr(broken, 'problem', None) or broken}"
    found = (
        _option(text, choices, where)
        or _key(text, keys, where, choices)
        or _value(text, where)
        or (_missing(text) if isinstance(error, MissingConfigException) else "")
    )
    return found or " ".join(str(chain[-1]).split())


def dotted(value: Any, prefix: str = "") -> Iterator[str]:
    """Every key of nested mappings.

    Example:
        >>> list(dotted({"trainer": {"seed": 0}}))
        ['trainer', 'trainer.seed']
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{prefix}{name}"
            yield from dotted(inner, f"{prefix}{name}.")


def _option(
    text: str, choices: Mapping[str, Iterable[str]], where: Callable[[str, str], str]
) -> str:
    """A group or an option that is not there, or is chosen twice."""
    twice = re.search(r"Multiple values for ([\w/@.]+)\. To override a value use '([^']+)'", text)
    if twice:
        choice = twice[2].removeprefix("override ")
        return (
            f"{where(choice.replace(': ', '/'), '')}{twice[1]} is chosen already: write it without "
            f"the plus on the command line, and 'override /{choice}' in an experiment's defaults"
        )
    missing = re.search(r"(?:Could not find|Could not load) '([\w./-]+)'", text)
    if missing:
        group, _, option = missing[1].rpartition("/")
        available = re.search(r"Available options in '[^']*':\n((?:\t\S+\n?)+)", text)
        options = choices.get(group) or (available[1].split() if available else ())
        if not options:
            return f"there is no group {group or option!r}{nearest(group or option, choices)}"
        what = "experiment" if group == "experiment" else f"option of {group}"
        return f"{where(missing[1], '')}there is no {what} {option!r}{nearest(option, options)}"
    wanted = re.search(r"Could not override '([\w.@/]+)'\. ?(No match in the defaults list)?", text)
    if wanted and wanted[1] == "experiment":
        return "experiment is added, not overridden: write +experiment=NAME with a plus"
    if wanted and wanted[2]:
        asked = wanted[1].partition("@")[0]
        return f"{where(f'{asked}/', '')}there is no group {asked!r}{nearest(asked, choices)}"
    group_like = re.search(r"config group '([^']+)' does not exist", text)
    if group_like:
        return f"there is no group {group_like[1]!r}{nearest(group_like[1], choices)}"
    return ""


def _key(
    text: str,
    keys: Callable[[], Iterable[str]],
    where: Callable[[str, str], str],
    choices: Mapping[str, Iterable[str]],
) -> str:
    """A key that is not there."""
    wrong = (
        re.search(r"Could not override '([^']+)'", text)
        or re.search(r"Could not delete from config. '([^']+)' does not exist", text)
        or re.search(r"not in '\w+'\n\s*full_key: (\S+)", text)
        or re.search(r"Interpolation key '([^']+)' not found", text)
    )
    if not wrong:
        return ""
    key, known = wrong[1], list(keys())
    parent, dot, name = key.rpartition(".")
    while parent and parent not in known and "." in parent:  # a whole branch is not there
        parent, _, name = parent.rpartition(".")
    siblings = [k for k in known if k.rpartition(".")[0] == parent]
    if not siblings or (parent and parent not in known):
        first = key.split(".")[0]
        tops = [*(k for k in known if "." not in k), *choices]
        siblings = [f"{k}{key[len(first) :]}" for k in tops] if dot else tops
        near = nearest(first, tops)
        if near.startswith("; did"):
            return f"{_place(text, key, where)}there is no key {key!r}{near}"
    elsewhere = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
    near = nearest(name, siblings)
    if not near.startswith("; did") and elsewhere:
        near = f"; did you mean {elsewhere[0]}?"
    return f"{_place(text, key, where)}there is no key {key!r}{near}"


def _value(text: str, where: Callable[[str, str], str]) -> str:
    """A value of the wrong type."""
    lines = text.splitlines()
    full = re.search(r"full_key: (\S*)", text)
    if not full:
        return ""
    key = full[1].rstrip(",")
    wrong = re.search(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", text)
    boolean = re.search(r"Value '(.*)' is not a valid bool", text)
    merged = re.search(r"Merge error: (\w+) is not a subclass of (\w+)Settings. value: (.*)", text)
    if merged:
        key = merged[2].lower()
        said = f"must be a mapping, got {merged[3]}"
    elif wrong:
        said = f"must be {_KINDS.get(wrong[2], wrong[2])}, got {wrong[1]!r}"
    elif boolean:
        said = f"must be true or false, got {boolean[1]!r}"
    elif "is not Optional" in text:
        said = "cannot be null"
    elif "is not a ListConfig" in text:
        said = "must be a list"
    elif "does not support deletion" in text:
        said = "cannot be removed; set it instead"
    else:
        at = next(i for i, line in enumerate(lines) if "full_key:" in line)
        said = " ".join(lines[max(at - 1, 0)].split())
    return f"{_place(text, key, where)}{key} {said}"


def _place(text: str, key: str, where: Callable[[str, str], str]) -> str:
    file = re.search(r"In '([\w./-]+)'", text)
    if file and file[1] not in ("config", "hydra/config"):
        return where(file[1], key)
    return where("command line" if _is_override(text) else "", key)


def _is_override(text: str) -> bool:
    return "Could not override" in text or "Error merging override" in text


def _missing(text: str) -> str:
    primary = re.search(r"Cannot find primary config '([^']+)'", text)
    if primary:
        return f"there is no config {primary[1]!r} for --config-name; trainkit's own is config"
    return ""
