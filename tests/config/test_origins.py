"""Where a key was set: which line, which file, or the command line."""

from pathlib import Path

import pytest

from trainkit.config.origins import Origins, line_of
from trainkit.config.sources import Source

FILES = {
    "configs/model/base.yaml": "# base\n_target_: mine.Net\nwidth: 16\nlayers: [1, 2]\n",
    "configs/model/heir.yaml": "# heir\ndefaults:\n  - base\n  - _self_\ndepth: 2\n",
    "experiments/one.yaml": "# one\nmodel:\n  depth: 3\n  parts:\n    a: 1\n",
    "experiments/two.yaml": "# two\ndefaults:\n  - one\n  - override /model: heir\n",
}


@pytest.fixture
def origins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Origins:
    monkeypatch.chdir(tmp_path)
    sources = {}
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        sources[path.stem] = Source(path.stem, path, tmp_path / name.split("/")[0], own=True)
    return Origins(
        ["model.layers=[3]", "+model.extra.x=1", "model=heir", "+experiment=two"],
        {"model": "heir", "model@other.net": "base", "experiment": "two"},
        {"model": [sources["base"], sources["heir"]]},
        [sources["one"], sources["two"]],
    )


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ("model.width", "configs/model/base.yaml:3: "),
        ("model._target_", "configs/model/base.yaml:2: "),
        ("model.depth", "experiments/one.yaml:3: "),
        ("model.parts.a", "experiments/one.yaml:5: "),
        ("model.layers", "on the command line: "),
        ("model.layers[0]", "on the command line: "),
        ("model.extra.x", "on the command line: "),
        ("model.extra", "on the command line: "),
        ("other.net.width", "configs/model/base.yaml:3: "),
        ("other.net.layers[1]", "configs/model/base.yaml:4: "),
        ("model.nowhere", ""),
        ("nowhere", ""),
    ],
)
def test_where(key: str, where: str, origins: Origins) -> None:
    assert origins.where(key) == where


def test_layers(origins: Origins) -> None:
    assert origins.older("model.width", than="model.depth")
    assert origins.older("model.depth", than="model.layers")
    assert not origins.older("model.width", than="model._target_")
    assert not origins.older("model.nowhere", than="model.layers")
    assert origins.newest(["model.width", "model.depth"]) == ["model.depth"]
    assert origins.newest(["nowhere"]) == []


def test_a_file_that_is_not_yaml_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [1\n")
    assert line_of(tmp_path / "x.yaml", ["a"]) == 0
    assert line_of(tmp_path / "missing.yaml", ["a"]) == 0
