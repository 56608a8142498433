"""The arrows of DESIGN.md: which part of the package may import which."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import trainkit

PACKAGE = Path(trainkit.__file__).parent


def arrows() -> dict[str, set[str]]:
    """Room or file → what it may import, from the table in DESIGN.md."""
    text = (PACKAGE.parent / "DESIGN.md").read_text()
    table = text.split("| room | may import |")[1].split("\n\n")[0]
    found = {}
    for line in table.splitlines()[2:]:
        rooms, targets = (re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|"))
        found.update({room: set(targets) for room in rooms})
    return found


ARROWS = arrows()


def part_of(module: str) -> str:
    """`handlers` of `trainkit.handlers.monitors.gradients`."""
    return module.split(".")[1] if "." in module else ""


def imported_modules(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(str(node.module))
    return {name for name in found if name.split(".")[0] == "trainkit"}


def sources() -> list[Path]:
    return sorted(
        path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem[0] != "_"
    )


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_arrows(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    allowed = ARROWS[part] | {part} | ARROWS.get(path.relative_to(PACKAGE).as_posix(), set())
    for module in imported_modules(path):
        inside = module.removeprefix("trainkit.").removeprefix("trainkit")
        assert any(inside == name or inside.startswith(f"{name}.") for name in allowed), (
            f"{part} may import {sorted(allowed)}, not {module}"
        )


def test_the_table_names_rooms_that_exist() -> None:
    assert len(ARROWS) > 20
    for room in ARROWS.keys() | set().union(*ARROWS.values()):
        path = PACKAGE / room.replace(".", "/") if "/" not in room else PACKAGE / room
        assert path.exists() or path.with_suffix(".py").exists(), room


@pytest.mark.parametrize("absent", ["hydra", "omegaconf", "tensorboard", "sklearn", "matplotlib"])
def test_importing_trainkit_does_not_load(absent: str) -> None:
    code = f"import sys, trainkit; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", ["hydra", "omegaconf"])
def test_only_config_and_cli_know_hydra(module: str) -> None:
    knowing = {
        path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if (
            isinstance(node, ast.Import) and any(a.name.split(".")[0] == module for a in node.names)
        )
        or (isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == module)
    }
    assert knowing <= {"config", "cli"}


def test_every_folder_of_the_package_is_in_the_wheel() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    folders = {
        ".".join(("trainkit", *path.parent.relative_to(PACKAGE).parts))
        for path in PACKAGE.rglob("__init__.py")
    }
    mapped = {"trainkit.configs", "trainkit.experiments"}
    assert set(project["tool"]["setuptools"]["packages"]) == folders | mapped
