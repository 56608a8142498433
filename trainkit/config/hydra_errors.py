"""Turn errors of Hydra and OmegaConf, which have many lines, into one line."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import MissingConfigException
from omegaconf.basecontainer import BaseContainer

from trainkit.config.errors import SYNONYMS, ConfigError, nearest
from trainkit.config.sources import relative

__all__ = ["dotted", "explained", "nearest_key", "not_utf8", "not_yaml"]

# Name of a type in OmegaConf → plain name.
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
    chosen: Callable[[str, str], str] = lambda option, inside: "",
) -> str:
    """What was wrong, where, and the nearest right name.

    Args:
        error: What was raised while composing.
        choices: Every group with its options.
        keys: Makes every key that exists, dotted; called only if one was wrong.
        where: `(file, key)` → `FILE:LINE: ` or the like, for a message's start; the file is
            Hydra's name of it (`experiment/digits`), or `command line`; without a key the file
            alone.
        chosen: `(option, file)` → the same of who chose this option (`model/cnn`), perhaps that
            file.
    """
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    if isinstance(error, ConfigError):
        return str(error)
    text = "\n".join(str(part) for part in chain)
    several = re.match(r"Ambiguous value for argument '(\S+)'", text)
    if several:
        return (
            f"{where('command line', '')}{several[1]} has several values: add --multirun to run "
            "with each, or put them into [...] if they are one list"
        )
    unread = re.search(r"Error parsing override '(.*)'$", text, re.MULTILINE)
    if unread:
        return f"cannot read the override {unread[1]!r}: write key=value"
    broken = next((part for part in chain if isinstance(part, yaml.YAMLError)), None)
    if broken is not None:
        mark = getattr(broken, "problem_mark", None)
        return not_yaml(broken, mark.name if mark else getattr(broken, "name", ""))
    found = (
        _option(text, choices, chosen)
        or _key(text, keys, where, choices)
        or _value(text, where)
        or _list(text, where)
        or (_missing(text) if isinstance(error, MissingConfigException) else "")
    )
    return found or " ".join(str(chain[-1]).split())


def not_utf8(error: UnicodeDecodeError) -> str:
    """What to say of a file in another encoding."""
    byte = error.object[error.start]
    return f"the byte 0x{byte:02x} is not UTF-8: save the file as UTF-8"


def not_yaml(error: BaseException, file: str) -> str:
    """What to say of a file that is no YAML: where, and why."""
    mark, at = getattr(error, "problem_mark", None), ""
    reason = " ".join(str(getattr(error, "problem", None) or error).split())
    if isinstance(error, yaml.reader.ReaderError):
        reason = f"the character 0x{error.character:02x} has no place in a text"
        with suppress(OSError):
            before = Path(file).read_bytes().decode(errors="replace")[: error.position]
            at = f"{relative(file)}:{before.count(chr(10)) + 1}: "
    elif mark is not None:
        at = f"{relative(file)}:{mark.line + 1}: "
    elif file:
        at = f"{relative(file)}: "
    return f"{at}this is not YAML: {reason}"


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
    text: str, choices: Mapping[str, Iterable[str]], chosen: Callable[[str, str], str]
) -> str:
    """A group or an option that is not there, or is chosen twice."""
    found_in = re.search(r"In '([\w./-]+)'", text)
    inside = found_in[1] if found_in else ""
    twice = re.search(r"Multiple values for ([\w/@.]+)\. To override a value use '([^']+)'", text)
    if twice:
        choice = twice[2].removeprefix("override ")
        return (
            f"{chosen(choice.replace(': ', '/'), inside)}{twice[1]} is chosen already: write it "
            f"without the plus on the command line, and 'override /{choice}' in an experiment's "
            "defaults"
        )
    missing = re.search(r"(?:Could not find|Could not load) '([\w./-]+)'", text)
    if missing:
        group, _, option = missing[1].rpartition("/")
        whole = missing[1].partition("/")[0]
        if group not in choices and whole in choices:  # a slash in the option's name
            group, option = whole, missing[1].removeprefix(f"{whole}/")
        place = chosen(missing[1], inside)
        available = re.search(r"Available options in '[^']*':\n((?:\t\S+\n?)+)", text)
        options = choices.get(group) or (available[1].split() if available else ())
        if not options:
            return place + _no_group(group or option, choices)
        what = "experiment" if group == "experiment" else f"option of {group}"
        return f"{place}there is no {what} {option!r}{nearest(option, options)}"
    wanted = re.search(r"Could not override '([\w.@/]+)'\. ?(No match in the defaults list)?", text)
    if wanted and wanted[1] == "experiment":
        return "experiment is added, not overridden: write +experiment=NAME with a plus"
    if wanted and wanted[2]:
        asked = wanted[1].partition("@")[0]
        return chosen(f"{asked}/", inside) + _no_group(asked, choices)
    group_like = re.search(r"config group '([^']+)' does not exist", text)
    return _no_group(group_like[1], choices) if group_like else ""


def _no_group(group: str, choices: Mapping[str, Iterable[str]]) -> str:
    absolute = group.removeprefix("experiment/")
    if absolute != group and absolute in choices:
        return f"in an experiment a group begins with a slash: write /{absolute}, got {absolute}"
    if group in choices:
        option = next(iter(choices[group]), "OPTION")
        return f"{group} is not in the defaults list: add an option with a plus, +{group}={option}"
    return f"there is no group {group!r}{nearest(group, choices)}"


def _key(
    text: str,
    keys: Callable[[], Iterable[str]],
    where: Callable[[str, str], str],
    choices: Mapping[str, Iterable[str]],
) -> str:
    """A key that is not there, or is there already."""
    there = re.search(r"An item is already at '([^']+)'", text)
    if there:
        place = where("command line", there[1])
        return f"{place}{there[1]} is there already: write it without the plus"
    wrong = (
        re.search(r"Could not override '([^']+)'", text)
        or re.search(r"Could not delete from config. '([^']+)' does not exist", text)
        or re.search(r"not in '\w+'\n\s*full_key: (\S+)", text)
        or re.search(r"Interpolation key '([^']+)' not found", text)
    )
    if not wrong:
        return ""
    key = wrong[1]
    return f"{_place(text, key, where)}there is no key {key!r}{nearest_key(key, keys(), choices)}"


def nearest_key(key: str, keys: Iterable[str], choices: Iterable[str]) -> str:
    """What to say behind a key that does not exist: the nearest that does.

    Args:
        key: Dotted.
        keys: Those that exist.
        choices: Groups that may be chosen from.
    """
    known, choices = list(keys), [group for group in choices if group != key]
    if key in known and "." in key:  # a dot does not go down in YAML
        *above, last = key.split(".")
        nested = "".join(f"{part}: {{" for part in above) + f"{last}: ..." + "}" * len(above)
        return f"; in a file write it nested: {nested}"
    parent, _, name = key.rpartition(".")
    while "." in parent and parent not in known:  # a whole branch is missing
        parent, _, name = parent.rpartition(".")
    siblings = [k for k in known if k.rpartition(".")[0] == parent]
    if siblings and not parent:
        siblings += choices
    leaf = key.rpartition(".")[2]
    elsewhere = [k for k in known if k.rpartition(".")[2] in (leaf, SYNONYMS.get(leaf))]
    if key.startswith(("checkpoint.", "sweep.")):  # of a state that is kept nothing else speaks
        elsewhere = []
        if "every" in (leaf, SYNONYMS.get(leaf)):
            return "; a state is saved after each evaluation: trainer.evaluate_every"
    # `trainer.lr`, `learning_rate`: it is in another group.
    likely = ("trainer", "optimizer", "data")
    elsewhere.sort(key=lambda k: (*(not k.startswith(f"{group}.") for group in likely), len(k)))
    if parent in ("handlers", "sinks") and not siblings:  # a mapping that is empty
        near = f": no {parent} are chosen; {parent}=OPTION chooses one: trainkit list {parent}"
    elif parent in known and not siblings:
        near = f": {parent} is a single value"
    elif siblings:
        near = nearest(name, siblings)
    else:
        first = key.partition(".")[0]
        near = nearest(first, [*(k for k in known if "." not in k), *choices])
        if near.startswith("; did"):
            return near
    exact = not parent and any(k.endswith(f".{leaf}") for k in elsewhere)  # `seed`: no `sweep`
    if elsewhere and key.count(".") < 2 and (exact or near.startswith("; there")):
        return f"; did you mean {elsewhere[0]}?"
    # Arguments of a target may be added; settings may not.
    closed = key.partition(".")[0] in ("trainer", "monitor", "checkpoint", "sweep")
    closed = closed and not key.startswith("monitor.parts.")
    if parent and siblings and near.startswith("; there") and not closed:
        near += f"; +{key}=... adds it"
    return near


def _value(text: str, where: Callable[[str, str], str]) -> str:
    """A value of the wrong type."""
    lines = text.splitlines()
    full = re.search(r"full_key: (\S*)", text)
    if not full:
        return ""
    key = full[1].rstrip(",")
    wrong = re.search(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", text)
    boolean = re.search(r"Value '(.*)' is not a valid bool", text)
    unset = re.search(r"Environment variable '(\w+)' not found", text)
    resolver = re.search(r"Unsupported interpolation type (\S+)", text)
    grammar = re.search(r"(?:at input|alternative at|expecting|mismatched).*'(.*)'", text)
    raised = re.search(r"(?:TypeError|ValueError) raised while resolving interpolation: (.*)", text)
    mapping = re.search(r"Cannot assign (\w+) to Dict", text)
    merged = re.search(r"Merge error: (\w+) is not a subclass of (\w+)Settings. value: (.*)", text)
    if raised and raised[1].startswith("name "):
        return raised[1]
    if mapping:
        said = f"must be a mapping, got a value of type {mapping[1]}"
    elif merged:
        key = merged[2].lower()
        said = f"must be a mapping, got {merged[3]}"
    elif wrong:
        said = f"must be {_KINDS.get(wrong[2], wrong[2])}, got {wrong[1]!r}"
    elif boolean:
        said = f"must be true or false, got {boolean[1]!r}"
    elif unset:
        said = f"needs the environment variable {unset[1]!r}, which is not set"
    elif resolver:
        near = nearest(resolver[1], sorted(BaseContainer._resolvers))
        said = f"asks for a resolver {resolver[1]!r} that is not there{near}"
    elif "Recursive interpolation" in text:
        said = "refers to itself"
    elif grammar:
        said = f"has a ${{...}} that cannot be read: {grammar[1]!r}"
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


def _list(text: str, where: Callable[[str, str], str]) -> str:
    wrong = re.search(r"Invalid defaults list in '([^']+)', (.*)", text)
    return f"{where(wrong[1], 'defaults')}{wrong[2]}" if wrong else ""


def _missing(text: str) -> str:
    primary = re.search(r"Cannot find primary config '([^']+)'", text)
    if primary:
        return f"there is no config {primary[1]!r} for --config-name; trainkit's own is config"
    return ""
