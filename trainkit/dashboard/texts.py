"""The page TEXT: how the run ended, and how it was started."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["OUTCOME", "ending_text", "starting_texts"]

# TensorBoard sorts by tag: the number keeps the order.
OUTCOME = "about/1_outcome"

# Distributions whose versions change what a training computes.
_PACKAGES = ("torch", "numpy", "pytorch-ignite", "trainkit", "numba")


def starting_texts(folder: Path, config: str, model: str) -> dict[str, str]:
    """What is known when a run starts, in Markdown, by tag.

    Args:
        folder: Of the run: `overrides.txt`, `git.txt` and `environment.json` are read where they
            are there.
        config: Resolved, YAML; empty: left out.
        model: From `model_table`.
    """
    environment = _environment(folder / "environment.json")
    texts = {
        OUTCOME: "The run has not ended yet.",
        "about/2_command": _command(environment, _read(folder / "overrides.txt")),
        "about/3_code": _code(_read(folder / "git.txt"), (folder / "git.diff").exists()),
        "about/4_environment": _machine(environment),
        "about/5_model": model,
        "about/6_config": _block(config, "yaml") if config else "",
    }
    return {tag: text for tag, text in texts.items() if text}


def ending_text(
    status: str,
    reason: str,
    *,
    alarms: Sequence[str] = (),
    values: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
) -> str:
    """How a run ended and why, in Markdown.

    Args:
        status: `completed`, `interrupted`, `failed` or `diverged`.
        reason: In words.
        alarms: What should be looked at first, a line each.
        values: `best`, `last`, `test` → part of the data → metric → value.

    Example:
        >>> print(ending_text("diverged", "the loss is NaN", alarms=["lower the learning rate"]))
        **Diverged:** the loss is NaN
        <BLANKLINE>
        - lower the learning rate
    """
    parts = [f"**{status.capitalize()}:** {reason}"]
    if alarms:
        parts.append("\n".join(f"- {' '.join(alarm.split())}" for alarm in alarms))
    rows = [
        f"| {when} | {part} | {', '.join(f'{name} {value:.4g}' for name, value in found.items())} |"
        for when, by_part in (values or {}).items()
        for part, found in by_part.items()
        if found
    ]
    if rows:
        parts.append("| when | data | values |\n|---|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _command(environment: Mapping[str, Any], overrides: str) -> str:
    command = environment.get("command") or []
    parts = [_block(" ".join(map(str, command)))] if command else []
    if environment.get("folder"):
        parts.append(f"in `{environment['folder']}`")
    if overrides.strip():
        parts.append("Overrides:\n\n" + _block(overrides))
    return "\n\n".join(parts)


def _code(state: str, changed: bool) -> str:
    if not state:
        return ""
    note = "There were uncommitted changes: `git.diff` in the folder of the run has them."
    return _block(state) + (f"\n\n{note}" if changed else "")


def _machine(environment: Mapping[str, Any]) -> str:
    machine, packages = environment.get("machine") or {}, environment.get("packages") or {}
    rows = [("python", str(environment.get("python", "")).split(" ")[0])]
    rows += [(name, str(packages[name])) for name in _PACKAGES if name in packages]
    rows += [(str(key), str(value)) for key, value in machine.items() if value]
    shown = [f"| {key} | {value} |" for key, value in rows if value]
    return "| | |\n|---|---|\n" + "\n".join(shown) if environment else ""


def _environment(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(_read(path) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _block(text: str, language: str = "") -> str:
    # A fence that is longer than any in the text.
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
