"""No test knows the insides: it reads no private name of trainkit, and replaces none."""

import ast
from pathlib import Path

import pytest

import trainkit

ROOT = Path(__file__).parent
PACKAGE = Path(trainkit.__file__).parent
# Private names of torch and Ignite, by which tests see what is left behind; trainkit sets them too.
OF_OTHERS = {
    "_process_function", "_post_accumulate_grad_hooks", "_dispatch", "_repr_html_", "_schema",
    "_parameters", "_version",
}  # fmt: skip


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_names() -> set[str]:
    """Every private name that trainkit defines: attributes, functions, classes, constants."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return {name for name in found if is_private(name)} - OF_OTHERS


PRIVATE = private_names()


def uses(path: Path) -> list[str]:
    """The lines of a test that use one of them, other than on `self`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in PRIVATE:
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trainkit"):
            found += [f"line {node.lineno}: {a.name}" for a in node.names if is_private(a.name)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
            names = [t.rpartition(".")[2] for t in texts if isinstance(t, str)]
            found += [f"line {node.lineno}: {name}" for name in names if name in PRIVATE]
    return found


def test_trainkit_has_private_names() -> None:
    assert len(PRIVATE) > 500


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_test_reads_no_private_name(path: Path) -> None:
    assert uses(path) == []
