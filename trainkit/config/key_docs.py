"""Explain a config key with the docstring of the function or class that takes it."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from trainkit.config.annotations import described
from trainkit.config.check_targets import locate
from trainkit.config.errors import ConfigError
from trainkit.settings import (
    CheckpointSettings,
    MonitorSettings,
    SweepSettings,
    TrainerSettings,
)

__all__ = ["Meaning", "documented", "meaning"]

_SETTINGS: dict[str, type] = {
    "trainer": TrainerSettings,
    "monitor": MonitorSettings,
    "checkpoint": CheckpointSettings,
    "sweep": SweepSettings,
}
_TOP = {
    "model": "What is trained: a module, or several by name.",
    "data": "Training, validation and test data: `trainkit.data.Data`.",
    "loss": "What is minimized, called with (y_pred, y); null where the engine has its own.",
    "optimizer": "A torch optimizer, `_partial_`: its parameters come in the run; several by name.",
    "scheduler": "One of `trainkit.schedules` or of torch's, `_partial_`.",
    "metrics": "Ignite metrics by name, for training, validation and test data.",
    "engine": "The way of training: it makes trainer and evaluator.",
    "samples": "Tag -> function that makes a picture or a text to show after evaluations.",
    "sinks": "Where the numbers go beside the event files, by name: JSON lines, MLflow, W&B, ...",
    "handlers": "Anything with attach(engine), or a function that takes the trainer, by name.",
    "trainer": "The loop: how long, where, and how gradients are treated.",
    "monitor": "What is watched, how often, and at what cost.",
    "checkpoint": "Which states of the run are kept.",
    "sweep": "What `trainkit run --multirun` does.",
    "name": "What you call the run: at the end of its folder's name, and on the screen.",
}
_SPECIAL = {
    "_target_": "The class or function that is called: a dotted name; any that is importable.",
    "_partial_": "true: it is called later, when the run has what is missing.",
}


# Parts of a mapping that one argument takes.
_INSIDE = {
    ("trainkit.losses.Losses", "weight"): "Its share in the total loss; 0 leaves it out.",
    ("trainkit.losses.Losses", "loss"): "Called with (y_pred, y): a 0-d tensor.",
    ("trainkit.optimizers.parameter_groups", "weight_decay"): "Of the parameters of this group.",
    ("trainkit.optimizers.parameter_groups", "lr"): "Of the parameters of this group.",
}


@dataclass(frozen=True)
class Meaning:
    """What is known of a key.

    Args:
        text: In words; empty where nobody has written any.
        kind: What values it takes, as far as that is written down.
        owner: What takes it.
    """

    text: str = ""
    kind: str = ""
    owner: str = ""


def meaning(key: str, config: Mapping[str, Any]) -> Meaning:
    """What a key means, by the nearest thing above it that is called or that has settings.

    Args:
        key: Dotted.
        config: Plain, composed.
    """
    top, *rest = key.split(".")
    if top in _SETTINGS and rest and (rest[0] != "parts" or len(rest) == 1):
        kind = _SETTINGS[top]
        hints = get_type_hints(kind)
        text = documented(kind).get(rest[0], "")
        return Meaning(text, described(hints.get(rest[0], Any)).replace("None", "null"), "")
    if not rest:
        return Meaning(_TOP.get(key, ""))
    node: Any = config
    owner, name = "", ""
    for i, part in enumerate((top, *rest)):
        if isinstance(node, Mapping) and "_target_" in node and i:
            owner, name = str(node["_target_"]), part
        node = node.get(part) if isinstance(node, Mapping) else None
    if rest[-1] in _SPECIAL:
        return Meaning(_SPECIAL[rest[-1]], "", owner)
    try:
        function = locate(owner) if owner else None
    except ConfigError:
        function = None
    if function is None:
        return Meaning(_summary(node) if top == "monitor" else "", "", owner)
    if name != rest[-1]:
        inside = _INSIDE.get(
            (owner, rest[-1]), f"A part of {name}: {documented(function).get(name, '')}"
        )
        return Meaning(inside, "", owner)
    return Meaning(documented(function).get(name, ""), _kind(function, name), owner)


def _summary(node: Any) -> str:
    """The first sentence about what a node makes."""
    try:
        made = locate(str(node["_target_"]))
    except (ConfigError, KeyError, TypeError):
        return ""
    return " ".join((inspect.getdoc(made) or "").partition("\n\n")[0].split())


def documented(function: Any) -> dict[str, str]:
    """The parameters that a docstring explains, in Google's form; those of base classes too.

    Example:
        >>> documented(TrainerSettings)["epochs"]
        'Passes over the training data.'
    """
    found: dict[str, str] = {}
    places = function.__mro__ if inspect.isclass(function) else (function,)
    for place in places:
        for holder in (
            (place, getattr(place, "__init__", None)) if inspect.isclass(place) else (place,)
        ):
            text = inspect.getdoc(holder) or ""
            found = {**_arguments(text), **found}
    return found


def _arguments(docstring: str) -> dict[str, str]:
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", docstring, re.MULTILINE)
    if not section:
        return {}
    lines = section[1].splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    found: dict[str, list[str]] = {}
    last = ""
    for line in lines:
        entry = re.match(rf"[ ]{{{indent}}}(\*{{0,2}}\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)", line)
        if entry:
            last = entry[1].lstrip("*")
            found[last] = [entry[2]]
        elif last and line.strip():
            found[last].append(line.strip())
    return {name: _plain(" ".join(parts)) for name, parts in found.items()}


def _plain(text: str) -> str:
    """Without the markup of torch's documentation."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", text)
    # The default of the config is the one that counts.
    text = re.sub(r"\s*\([Dd]efault:?\s*(?:\([^)]*\)|[^()])*\)", "", text)
    text = text.replace("``", "`").replace("`_", "`")
    return re.sub(r"\s+", " ", text).strip()


def _kind(function: Any, name: str) -> str:
    try:
        hints = get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except Exception:  # annotations are user code
        return ""
    return described(hints[name]).replace("None", "null") if name in hints else ""
