"""Mistakes in a config that the user can mend, said on one line."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import OmegaConfBaseException

__all__ = ["ConfigError", "explained", "nearest"]


class ConfigError(Exception):
    """A mistake in a config; its text is one line that says where it is and what to do."""


def nearest(name: str, options: Iterable[str]) -> str:
    """`; did you mean ...?` with the nearest right names, or the choice, or nothing.

    Example:
        >>> nearest("epoch", ["epochs", "seed"])
        '; did you mean epochs?'
    """
    names = list(options)
    close = get_close_matches(name, names, n=2, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return (
        f"; there is {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}" if names else ""
    )


def explained(error: BaseException, choices: dict[str, list[str]], keys: list[str]) -> str:
    """One line for an error of Hydra's or OmegaConf's.

    Args:
        error: What was raised while composing.
        choices: Every group with its options.
        keys: Every key that exists, dotted.
    """
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    text = "\n".join(str(cause) for cause in causes)
    for explain in (_unknown_option, _unknown_key, _wrong_value, _grammar):
        found = explain(error, text, choices, keys)
        if found:
            return found
    return " ".join(str(error).split())


def _where(text: str) -> str:
    file = re.search(r"In '([\w./-]+)'", text)
    if not file or file[1] == "config":
        return ""
    group, _, name = file[1].rpartition("/")
    if group == "experiment":
        return f"experiments/{name}.yaml: "
    return f"configs/{file[1]}.yaml: " if group else ""


def _unknown_option(
    error: BaseException, text: str, choices: dict[str, list[str]], keys: list[str]
) -> str:
    if "Multiple values for" in text:
        group = re.search(r"Multiple values for ([\w/]+)", text)
        return f"{group[1] if group else 'a group'} is chosen twice; leave one of them out"
    missing = re.search(r"(?:Could not find|Could not load) '([\w./-]+)'", text)
    if missing:
        group, _, option = missing[1].rpartition("/")
        what = "experiment" if group == "experiment" else f"option of {group}"
        if group not in choices:
            return f"there is no group {group or option!r}{nearest(group or option, choices)}"
        return f"there is no {what} {option!r}{nearest(option, choices[group])}"
    wanted = re.search(r"Could not override '([\w.@/]+)'\.", text)
    if wanted and wanted[1].replace("@", ".") == "experiment":
        return "experiment is added, not overridden: write +experiment=NAME with a plus"
    found = re.search(r"Could not override '([\w./@]+)'. No match in the defaults list", text)
    if found:
        return f"there is no group {found[1]!r}{nearest(found[1], choices)}"
    if isinstance(error, MissingConfigException):
        return " ".join(str(error).split())
    return ""


def _unknown_key(
    error: BaseException, text: str, choices: dict[str, list[str]], keys: list[str]
) -> str:
    wrong = re.search(r"Could not override '([^']+)'", text)
    if not wrong:
        wrong = re.search(r"Key '([^']+)' (?:is )?not in ", text)
        full = re.search(r"full_key: (\S+)", text)
        if not wrong:
            return ""
        key = full[1] if full else wrong[1]
    else:
        key = wrong[1]
    parent, _, name = key.rpartition(".")
    if not parent and key in choices:
        return f"{key} is a group: choose one of {', '.join(choices[key])}"
    siblings = [
        k[len(parent) + 1 :] if parent else k
        for k in keys
        if k.startswith(f"{parent}." if parent else "") and "." not in k[len(parent) + 1 :]
    ]
    if not parent:
        siblings = sorted({k.split(".")[0] for k in keys})
    where = _where(text) or ("on the command line: " if "Could not override" in text else "")
    close = get_close_matches(name, siblings, n=1, cutoff=0.6)
    elsewhere = [k for k in keys if k.rpartition(".")[2] == name]
    if not close and elsewhere:
        return f"{where}there is no key {key!r}; did you mean {elsewhere[0]}?"
    return f"{where}there is no key {key!r}{nearest(name, siblings)}"


def _wrong_value(
    error: BaseException, text: str, choices: dict[str, list[str]], keys: list[str]
) -> str:
    full = re.search(r"full_key: (\S+)", text)
    if not full:
        return ""
    lines = [
        line.strip()
        for line in text.split("\n")
        if line.strip()
        and not re.match(r"\s*(full_key|object_type|reference_type|In ')", line)
        and not line.startswith(("Error merging", "Error setting"))
    ]
    return f"{_where(text)}{full[1]}: {lines[-1] if lines else text}"


def _grammar(
    error: BaseException, text: str, choices: dict[str, list[str]], keys: list[str]
) -> str:
    if isinstance(error, OverrideParseException):
        return (
            f"cannot read the override {error.override!r}: write key=value "
            "(+key=value adds one, ~key removes one; quote values with spaces or commas)"
        )
    if isinstance(error, (ConfigCompositionException, HydraException, OmegaConfBaseException)):
        return f"{_where(text)}{' '.join(text.splitlines()[-1].split())}"
    return ""
