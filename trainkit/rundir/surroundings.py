"""What of a run's surroundings is otherwise now: packages, code, machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trainkit.rundir.capture import capture

__all__ = ["changed_surroundings"]

_MOST = 8  # packages that are named


def changed_surroundings(run: Path) -> list[str]:
    """What differs now from what a run has captured, a line each; empty: nothing.

    Args:
        run: Its folder, with `environment.json` and, if its code was in a repository, `git.txt`.
    """
    with TemporaryDirectory() as directory:
        capture(Path(directory))
        before, now = (_environment(each) for each in (run, Path(directory)))
        return [*_differences(before, now), *_code(run, Path(directory))]


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    if not before:
        yield "the run has no environment.json: packages and machine are not compared"
        return
    if before.get("python") != now["python"]:
        yield f"Python: {_short(before.get('python'))} then, {_short(now['python'])} now"
    was, is_now = before.get("packages", {}), now["packages"]
    changed = [name for name in {**was, **is_now} if was.get(name) != is_now.get(name)]
    shown = [f"{n} {was.get(n, 'absent')} → {is_now.get(n, 'absent')}" for n in changed[:_MOST]]
    if changed:
        more = f", and {len(changed) - _MOST} more" if len(changed) > _MOST else ""
        yield f"packages: {', '.join(shown)}{more}"
    for key in ("processor", "platform", "cpus", "threads", "devices"):
        then, today = before.get("machine", {}).get(key), now["machine"][key]
        if then != today:
            yield f"machine: {key} was {then!r}, is {today!r}"


def _code(run: Path, now: Path) -> Iterator[str]:
    then, today = (_read(each / "git.txt") for each in (run, now))
    if not then and not today:
        return
    commits = [text.partition("\n")[0].removeprefix("commit ")[:12] for text in (then, today)]
    if commits[0] != commits[1]:
        yield f"code: commit {commits[0] or 'unknown'} then, {commits[1] or 'unknown'} now"
    if _read(run / "git.diff") != _read(now / "git.diff"):
        yield "code: the uncommitted changes are not the same (git.diff)"


def _environment(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads(_read(folder / "environment.json"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _short(python: Any) -> str:
    return str(python).split(" ")[0]
