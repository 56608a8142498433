"""Names of sub-runs and evaluators never lead out of the folder of the run."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from trainkit import attach_monitors
from trainkit.writers import (
    EventFileWriter,
    MemoryWriter,
    PrefixWriter,
    SeveralWriter,
    existing_runs,
    open_writer,
    subrun,
)

BAD = ["../x", "../../x", "/tmp/x", "..", ".", "", " ", "a/b", "a\\b", "a\0b", "a\nb", "x" * 256,
       "CON", "nul.txt", "c:x", "x.", "é" * 200, "a\ud800"]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_such_a_name_is_refused_everywhere(tmp_path: Path, name: str) -> None:
    run = tmp_path / "one" / "two" / "run"
    for writer in (
        open_writer(run),
        EventFileWriter(run),
        MemoryWriter(),
        SeveralWriter(EventFileWriter(run)),
        PrefixWriter(MemoryWriter(), "p"),
    ):
        with pytest.raises(ValueError, match="the name of a sub-run must"):
            subrun(writer, name)
        if hasattr(writer, "subrun"):
            with pytest.raises(ValueError, match="the name of a sub-run must"):
                writer.subrun(name)
        writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert not [path for path in run.iterdir() if path.is_dir()]


@pytest.mark.parametrize("name", BAD)
def test_such_an_evaluator_is_refused_before_anything_is_made(tmp_path: Path, name: str) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for writer in (tmp_path / "run", MemoryWriter()):
        with pytest.raises(ValueError, match="the name of an evaluator must"):
            attach_monitors(
                Engine(lambda engine, batch: batch), model=model, optimizers=optimizer,
                writer=writer, evaluators={name: Engine(lambda engine, batch: batch)},
                predictions=None,
            )  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["validation", "val-2", "train.small", "Prüfung", "测试", "a b"])
def test_other_names_are_folders(tmp_path: Path, name: str) -> None:
    with_it = EventFileWriter(tmp_path)
    with_it.subrun(name)
    with_it.close()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [name]


def test_a_symbolic_link_is_not_written_through(tmp_path: Path) -> None:
    outside, run = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    run.mkdir()
    (run / "validation").symlink_to(outside)
    writer = EventFileWriter(run)
    with pytest.raises(ValueError, match="symbolic link"):
        writer.subrun("validation")
    writer.close()
    assert not list(outside.iterdir())


def test_a_folder_that_holds_a_run_already_is_known(tmp_path: Path) -> None:
    assert existing_runs(tmp_path / "none") == []
    assert existing_runs(tmp_path) == []
    for part in ("train", "validation"):
        open_writer(tmp_path / part).close()
    (tmp_path / "checkpoints").mkdir()
    assert existing_runs(tmp_path) == [tmp_path / "train", tmp_path / "validation"]
    assert existing_runs(str(tmp_path / "train")) == [tmp_path / "train"]


@pytest.mark.parametrize(
    ("value", "written"),
    [(Fraction(1, 4), 0.25), (Decimal("0.5"), 0.5), (np.float16(2), 2.0), (True, 1.0)],
)
def test_every_real_number_is_written(value: Any, written: float) -> None:
    memory = MemoryWriter()
    memory.write_scalars(1, {"a": value})
    assert memory.scalars == {"a": [(1, written)]}


@pytest.mark.parametrize("value", [1j, np.complex64(1j), np.str_("1"), np.datetime64(0, "s")])
def test_nothing_else_is_a_number(value: Any) -> None:
    with pytest.raises(TypeError, match="must be a 0-d tensor or a number"):
        MemoryWriter().write_scalars(1, {"a": value})


def test_a_number_beyond_float64_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        MemoryWriter().write_scalars(1, {"a": 10**400})
