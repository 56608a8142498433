"""The public page: sorted, complete, and every name is really there."""

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import trainkit

ROOT = Path(__file__).parents[1]

FOLDERS = (
    "data",
    "engines",
    "handlers",
    "losses",
    "models",
    "rundir",
    "schedules",
    "screen",
    "stats",
    "writers",
)


def test_all_is_sorted_and_every_name_can_be_imported() -> None:
    assert trainkit.__all__ == sorted(set(trainkit.__all__))
    for name in trainkit.__all__:
        assert getattr(trainkit, name).__name__ == name


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_hands_on_sorted_names_that_exist(folder: str) -> None:
    module = import_module(f"trainkit.{folder}")
    assert list(module.__all__) == sorted(module.__all__, key=lambda n: (not n.isupper(), n))
    for name in module.__all__:
        assert hasattr(module, name), name


@pytest.mark.parametrize("folder", ["handlers", "writers"])
def test_every_monitor_and_writer_is_on_the_page(folder: str) -> None:
    module = import_module(f"trainkit.{folder}")
    wanted = {name for name in module.__all__ if name.endswith(("Monitor", "Writer"))}
    assert wanted <= set(trainkit.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Monitr'"):
        trainkit.Monitr  # noqa: B018


def test_every_module_has_a_docstring_and_says_what_is_public() -> None:
    for path in sorted(Path(trainkit.__file__).parent.rglob("*.py")):
        text = path.read_text()
        assert text.startswith('"""'), path
        assert "__all__" in text or path.name == "__init__.py", path


def test_importing_the_page_loads_no_torch() -> None:
    code = "import sys, trainkit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_page_of_public_names_is_up_to_date() -> None:
    script = ROOT / "docs" / "public_names.py"
    made = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True
    ).stdout
    assert (ROOT / "docs" / "public_names.md").read_text() == made, (
        f"python {script.relative_to(ROOT)} > docs/public_names.md"
    )


@pytest.mark.parametrize("name", trainkit.__all__)
def test_every_public_name_has_an_example_that_runs(name: str) -> None:
    # pytest runs all of them: --doctest-modules.
    assert ">>> " in (inspect.getdoc(getattr(trainkit, name)) or "")
