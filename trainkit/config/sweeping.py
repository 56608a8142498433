"""Sweeps: their jobs, what differs between them, and the names of their folders."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from trainkit.masking import masked_config, masked_override

__all__ = ["SweepJob", "begin_sweep", "hide_secrets", "job_folder", "job_of"]

_LONGEST = 80


@dataclass(frozen=True)
class SweepJob:
    """One run of a sweep.

    Args:
        number: From 0 on, as in the name of its folder.
        total: How many there are, where that is known.
        differs: The overrides in which it differs from the others.
        short: The same, without what stands in front of the last dot of each key.
    """

    number: int
    total: int | None
    differs: tuple[str, ...]
    short: tuple[str, ...]

    @property
    def heading(self) -> str:
        """`2/4 optimizer.lr=0.1`."""
        of = f"/{self.total}" if self.total else ""
        return " ".join([f"{self.number + 1}{of}", *self.differs])


@dataclass(frozen=True)
class _Sweep:
    """Args: keys: what differs between jobs; total: how many there are."""

    keys: tuple[str, ...] = ()
    total: int | None = None


# Of this process: Hydra makes the sweeper itself and hands nothing on to the jobs.
_sweep = _Sweep()


def begin_sweep(keys: Iterable[str], total: int | None = None) -> None:
    """Note what the jobs from now on differ in."""
    global _sweep
    _sweep = _Sweep(tuple(key.lstrip("+~") for key in keys), total)


def job_of(number: int, overrides: Sequence[str]) -> SweepJob:
    """The job with this number and these overrides, secrets masked."""
    differs = {}
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if key in _sweep.keys:
            differs[key] = masked_override(override.lstrip("+"))
    names = [key.rpartition(".")[2] for key in differs]
    short = [
        text[len(key) - len(name) :] if names.count(name) == 1 else text
        for name, (key, text) in zip(names, differs.items(), strict=True)
    ]
    return SweepJob(number, _sweep.total, tuple(differs.values()), tuple(short))


def job_folder(number: int, overrides: Sequence[str]) -> str:
    """The name of a job's folder: `0_lr=0.1_dropout=0.5`, in characters that every disk takes."""
    name = "_".join([str(number), *job_of(number, overrides).short])
    safe = re.sub(r"[^A-Za-z0-9._=+,-]+", "-", re.sub(r"[\"'\[\](){} ]+", "", name))
    return safe[:_LONGEST].rstrip("-_.,")


def hide_secrets(path: Path) -> None:
    """Mask the secrets in a file that Hydra wrote."""
    if not path.is_file():
        return
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    hidden = masked_config(content)
    if hidden != content:
        path.write_text(yaml.safe_dump(hidden, sort_keys=False), encoding="utf-8")
