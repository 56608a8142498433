"""Where options and experiments come from: the installed package and the user's own folder."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

__all__ = [
    "Source",
    "experiments",
    "first_line",
    "groups",
    "never_used",
    "primary_config",
    "project_configs",
    "relative",
    "shadowed_module",
]


@dataclass(frozen=True)
class Source:
    """One YAML file that can be chosen.

    Args:
        name: What to write on the command line.
        path: The file.
        root: The folder of all of its kind.
        own: Whether it is the user's and not trainkit's.
    """

    name: str
    path: Path
    root: Path
    own: bool

    @property
    def shown(self) -> str:
        """How a message names the file."""
        if not self.own:
            return f"trainkit's {self.path.relative_to(self.root.parent).as_posix()}"
        return relative(self.path)


def relative(path: Path | str) -> str:
    """The path for messages: relative to the working folder if it is inside."""
    path, here = Path(path), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


@cache
def _packaged(package: str) -> Path:
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ImportError(f"{package} is not installed; install trainkit again")
    return Path(next(iter(found.submodule_search_locations)))


def _own(name: str) -> Path | None:
    """The user's own `configs` or `experiments`, if there is one in the working folder."""
    folder = Path.cwd() / name
    return folder if folder.is_dir() and folder != _packaged(f"trainkit.{name}") else None


def project_configs() -> Path | None:
    """The user's own `configs`, if there is one in the working folder."""
    return _own("configs")


def primary_config() -> Path:
    """The file that every run begins with."""
    return _packaged("trainkit.configs") / "config.yaml"


def groups(config_dir: Path | None = None) -> dict[str, list[Source]]:
    """Every group with its options, trainkit's first; an own one of the same name is shadowed.

    Args:
        config_dir: A further folder, between trainkit's and the project's own.
    """
    found: dict[str, dict[str, Source]] = {}
    for source in _sources(_packaged("trainkit.configs"), config_dir, project_configs()):
        group, _, name = source.name.rpartition("/")
        if group and not name.startswith("_"):
            source = replace(source, name=name)
            found.setdefault(group, {}).setdefault(name, source)
    return {group: list(members.values()) for group, members in sorted(found.items())}


def experiments() -> list[Source]:
    """Every experiment, trainkit's first; an own one of the same name is shadowed."""
    found: dict[str, Source] = {}
    for source in _sources(_packaged("trainkit.experiments"), _own("experiments")):
        found.setdefault(source.name, source)
    return list(found.values())


def _sources(packaged: Path, *others: Path | None) -> Iterator[Source]:
    for root in (packaged, *others):
        for path in sorted(root.rglob("*.yaml")) if root else ():
            assert root is not None  # noqa: S101
            name = path.relative_to(root).with_suffix("").as_posix()
            yield Source(name, path, root, own=root != packaged)


def never_used(config_dir: Path | None = None) -> dict[str, str]:
    """`group/option` or `experiment/name` → a line on the file that lost the name to another.

    Args:
        config_dir: A further folder, between trainkit's and the project's own.
    """
    configs = _sources(_packaged("trainkit.configs"), config_dir, project_configs())
    named = [(source.name, source) for source in configs]
    results = _sources(_packaged("trainkit.experiments"), _own("experiments"))
    named += [(f"experiment/{source.name}", source) for source in results]
    winners: dict[str, Source] = {}
    lines: dict[str, str] = {}
    for name, source in named:
        winner = winners.setdefault(name, source)
        if winner.path != source.path:
            taken = f"{winner.shown} has the same name and is used; rename yours"
            lines.setdefault(name, f"{source.shown} is never used: {taken}")
    return lines


def shadowed_module(target: str) -> str:
    """A line on a module of the user's that lost its name to one that is installed; or nothing.

    The working folder is searched last, so that no file in it can take the place of a module that
    Python, torch or trainkit needs.

    Args:
        target: A dotted name.
    """
    name = target.partition(".")[0]
    own = next((p for p in (Path.cwd() / f"{name}.py", Path.cwd() / name) if p.exists()), None)
    if own is None or name == "trainkit" or not (own.is_file() or any(own.glob("*.py"))):
        return ""
    found = sys.modules.get(name)
    home = getattr(found, "__file__", None) or next(iter(getattr(found, "__path__", ())), None)
    if found is None or (home and Path(home).is_relative_to(Path.cwd()) and _is_own(Path(home))):
        return ""
    whose = "Python's own" if name in sys.stdlib_module_names else "an installed"
    return f"{relative(own)} is never used: {whose} module {name!r} has that name; rename yours"


def _is_own(path: Path) -> bool:
    # A virtual environment in the working folder is not user code.
    return not {"site-packages", "dist-packages"} & set(path.parts)


def first_line(path: Path) -> str:
    """The comment that a YAML file begins with, without its `#`; empty if it has none.

    Example:
        >>> first_line(_packaged("trainkit.experiments") / "digits.yaml").split(":")[0]
        'Handwritten digits'
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            text = line.lstrip("# ").strip()
            # Skip Hydra's own header line.
            if not line.startswith("#") or (text and not text.startswith("@package")):
                return text if line.startswith("#") else ""
    return ""
