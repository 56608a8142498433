"""Where options and experiments come from: the installed package and the user's own folder."""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

__all__ = [
    "Source",
    "experiments",
    "first_line",
    "groups",
    "options",
    "project_configs",
    "shadowed",
]


@dataclass(frozen=True)
class Source:
    """One YAML file that can be chosen.

    Args:
        name: What to write on the command line.
        path: The file.
        own: Whether it is the user's and not trainkit's.
    """

    name: str
    path: Path
    own: bool


@cache
def _packaged(package: str) -> Path:
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ImportError(f"{package} is not installed; install trainkit again")
    return Path(next(iter(found.submodule_search_locations)))


def project_configs() -> Path | None:
    """The user's own `configs`, if there is one in the working folder."""
    folder = Path.cwd() / "configs"
    return folder if folder.is_dir() and folder != _packaged("trainkit.configs") else None


def groups() -> dict[str, list[Source]]:
    """Every group with its options, trainkit's first; an own one of the same name is shadowed."""
    found: dict[str, dict[str, Source]] = {}
    for root, own in ((_packaged("trainkit.configs"), False), (project_configs(), True)):
        for path in sorted(root.rglob("*.yaml")) if root else ():
            group = path.parent.relative_to(root).as_posix() if root else ""
            if group != "." and not path.stem.startswith("_"):
                source = Source(path.stem, path, own)
                found.setdefault(group, {}).setdefault(path.stem, source)
    return {group: list(members.values()) for group, members in sorted(found.items())}


def options(group: str) -> list[str]:
    """The names of a group's options."""
    return [source.name for source in groups().get(group, ())]


def experiments() -> list[Source]:
    """Every experiment, trainkit's first; an own one of the same name is shadowed."""
    packaged = _packaged("trainkit.experiments")
    folder = Path.cwd() / "experiments"
    found: dict[str, Source] = {}
    for root, own in ((packaged, False), (folder, True)):
        if not root.is_dir() or (own and root == packaged):
            continue
        for path in sorted(root.rglob("*.yaml")):
            name = path.relative_to(root).with_suffix("").as_posix()
            found.setdefault(name, Source(name, path, own))
    return list(found.values())


def shadowed() -> list[str]:
    """Own files that cannot be chosen, because trainkit has one of that name."""
    names = []
    own_configs, own_experiments = project_configs(), Path.cwd() / "experiments"
    for own, packaged in (
        (own_configs, _packaged("trainkit.configs")),
        (own_experiments, _packaged("trainkit.experiments")),
    ):
        if own is None or not own.is_dir() or own == packaged:
            continue
        for path in sorted(own.rglob("*.yaml")):
            if (packaged / path.relative_to(own)).exists():
                names.append(path.relative_to(Path.cwd()).as_posix())
    return names


def first_line(path: Path) -> str:
    """The comment that a YAML file begins with, without its `#`; empty if it has none.

    Example:
        >>> first_line(_packaged("trainkit.experiments") / "digits.yaml").split(":")[0]
        'Handwritten digits'
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        line = file.readline()
    return line.lstrip("# ").strip() if line.startswith("#") else ""
