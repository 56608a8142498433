"""What a run was started with: its config, the code's state, the environment."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import torch

from trainkit.masking import masked, masked_override
from trainkit.rundir.atomic_write import replace_atomically

__all__ = ["capture"]


def capture(
    directory: Path, config: str = "", overrides: Sequence[str] = (), project: Path | None = None
) -> None:
    """Write `config.yaml`, `overrides.txt`, `git.txt`, `git.diff` and `environment.json`.

    Left out: environment variables (they hold secrets) and, where there is no repository or no
    git, the two git files. The diff is against HEAD; untracked files are listed, not copied.
    Secrets are masked in all of them (`trainkit.masking`), so that a diff may not apply.

    Args:
        directory: The folder of the run.
        config: The resolved config, YAML.
        overrides: Those of the command line.
        project: A folder in the repository that the code comes from; the current one.
    """
    if config:
        _write(directory / "config.yaml", masked(config))
    lines = [f"{masked_override(override)}\n" for override in overrides]
    _write(directory / "overrides.txt", "".join(lines))
    _write(directory / "environment.json", json.dumps(_environment(), indent=2) + "\n")
    _capture_git(directory, project or Path.cwd())


def _write(path: Path, text: str) -> None:
    """Whole or not at all: a run that was killed here is resumed by what stands in these files."""
    content = text.encode("utf-8", "backslashreplace")
    replace_atomically(path, lambda file: file.write(content))


def _environment() -> dict[str, object]:
    devices = [
        torch.cuda.get_device_name(i)
        for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    ]
    return {
        "command": [masked_override(argument) for argument in sys.argv],
        "folder": str(Path.cwd()),
        "python": sys.version,
        "machine": {
            "host": platform.node(),
            "platform": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "devices": devices,
        },
        "packages": dict(_packages(tuple(sys.path))),
    }


@cache
def _packages(path: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Name and version of each distribution; reading them takes a fifth of a second.

    Args:
        path: Where Python looks for them, so that another path is looked at anew.
    """
    found = {str(d.metadata["Name"]): d.version for d in distributions(path=list(path))}
    return tuple(sorted(found.items(), key=lambda item: item[0].lower()))


def _capture_git(directory: Path, project: Path) -> None:
    commit = _git(project, "rev-parse", "HEAD")
    if commit is None:
        return
    branch = (_git(project, "rev-parse", "--abbrev-ref", "HEAD") or "").strip()
    changes = _git(project, "status", "--porcelain") or ""
    _write(directory / "git.txt", f"commit {commit.strip()}\nbranch {branch}\n\n{changes}")
    difference = _git(project, "diff", "HEAD", "--no-color", "--no-ext-diff")
    if difference:
        _write(directory / "git.diff", masked(difference))


def _git(project: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(project), *arguments],  # noqa: S607
            capture_output=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", errors="replace")
