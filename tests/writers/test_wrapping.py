from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.handlers import TensorboardLogger

from tests.writers.reading import accumulated, raw_scalars
from trainkit.writers import (
    BackgroundWriter,
    EventFileWriter,
    Histogram,
    Histograms,
    IgniteLoggerWriter,
    MemoryWriter,
    PrefixWriter,
    Scalars,
    SeveralWriter,
    Writer,
    subrun,
)


def write_everything(writer: Writer) -> None:
    ones = torch.ones(1, 2, dtype=torch.int64)
    edges = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    moments = torch.tensor([[0.5, 1.5, 2.0, 2.5]], dtype=torch.float64)
    writer.write_scalars(1, {"a": torch.tensor(1.0), "b": 2})
    writer.write_scalars(1, Scalars(("c",), torch.tensor([3.0])))
    writer.write_histograms(1, Histograms(("h",), ones, edges, moments, ones[:, 0]))
    writer.write_histograms(1, {"i": Histogram(ones[0], edges, moments[0], ones[0, 0])})
    writer.write_texts(1, {"t": "text"})
    writer.write_images(1, {"p": torch.zeros(2, 2)})
    writer.write_hparams(1, {"lr": 0.1})
    writer.flush()


def check_everything(memory: MemoryWriter, prefix: str = "") -> None:
    assert memory.scalars == {
        prefix + tag: [(1, value)] for tag, value in (("a", 1.0), ("b", 2.0), ("c", 3.0))
    }
    assert set(memory.histograms) == {prefix + "h", prefix + "i"}
    for ((step, histogram),) in memory.histograms.values():
        assert step == 1
        assert histogram.counts.tolist() == [1, 1]
        assert histogram.moments.tolist() == [0.5, 1.5, 2.0, 2.5]
    assert memory.texts == {prefix + "t": [(1, "text")]}
    assert memory.images[prefix + "p"][0][1].shape == (1, 1, 2, 2)
    assert memory.hparams == {prefix + "lr": 0.1}


def test_memory_keeps_everything() -> None:
    memory = MemoryWriter()
    write_everything(memory)
    check_everything(memory)
    memory.write_scalars(2, {"a": 5.0})
    assert memory.scalars["a"] == [(1, 1.0), (2, 5.0)]
    memory.close()
    assert memory.scalars["a"] == [(1, 1.0), (2, 5.0)]


def test_a_prefix_stands_before_every_tag() -> None:
    memory = MemoryWriter()
    writer = PrefixWriter(memory, "validation")
    write_everything(writer)
    writer.close()
    check_everything(memory, "validation/")


def test_a_prefix_does_not_close_what_is_not_its_own(tmp_path: Path) -> None:
    inner = EventFileWriter(tmp_path)
    PrefixWriter(inner, "p").close()
    inner.write_scalars(1, {"a": 1.0})
    inner.close()
    assert raw_scalars(tmp_path) == {"a": [(1, 1.0)]}


def test_several_get_everything_also_from_the_background() -> None:
    for wrap in (lambda w: w, BackgroundWriter):
        memories = MemoryWriter(), MemoryWriter()
        writer: Any = wrap(SeveralWriter(*memories))
        write_everything(writer)
        subrun(writer, "validation").write_scalars(1, {"a": 1.0})
        writer.close()
        for memory in memories:
            check_everything(memory)
            assert memory.subruns["validation"].scalars == {"a": [(1, 1.0)]}


class Broken(MemoryWriter):
    def write_scalars(self, step: int, scalars: Any) -> None:
        raise OSError("broken")


def test_one_that_fails_does_not_keep_it_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory = MemoryWriter()
    writer = SeveralWriter(Broken(), memory)
    for step in (1, 2):
        writer.write_scalars(step, {"a": 1.0})
    assert memory.scalars == {"a": [(1, 1.0), (2, 1.0)]}
    assert isinstance(writer.failing, OSError)
    writer.close()
    failed, closed = (record.getMessage() for record in caplog.records)
    assert "OSError: broken" in failed
    assert "lost: 2 steps between 1 and 2" in closed


def test_a_wrong_value_is_refused_by_all_of_several() -> None:
    memory = MemoryWriter()
    writer = SeveralWriter(MemoryWriter(), memory)
    with pytest.raises(TypeError, match="complex") as caught:
        writer.write_scalars(1, {"a": 1j})  # type: ignore[dict-item]
    assert len(caught.value.__notes__) == 1


def test_a_subrun_of_a_writer_that_knows_none_is_a_prefix() -> None:
    class Verbs:
        """Only what the protocol asks for."""

        def __init__(self) -> None:
            self.written: list[Any] = []

        def write_scalars(self, step: int, scalars: Any) -> None:
            self.written.append((step, dict(scalars)))

        def flush(self) -> None: ...

        def close(self) -> None: ...

    verbs = Verbs()
    subrun(verbs, "validation").write_scalars(1, {"a": 1.0})  # type: ignore[arg-type]
    assert verbs.written == [(1, {"validation/a": 1.0})]


@pytest.mark.parametrize("wrap", [lambda writer: writer, BackgroundWriter])
def test_ignites_tensorboard_logger_is_a_writer(tmp_path: Path, wrap: Any) -> None:
    """The same tags and values as from our own file, beside what the logger itself writes."""
    with TensorboardLogger(log_dir=tmp_path / "logger") as logger:
        writer = wrap(IgniteLoggerWriter(logger))
        write_everything(writer)
        subrun(writer, "validation").write_scalars(2, {"a": 4.0})
        writer.close()
        logger.writer.add_scalar("own", 1.0, 1)
    own = EventFileWriter(tmp_path / "file")
    write_everything(own)
    own.close()
    expected, found = raw_scalars(tmp_path / "file"), raw_scalars(tmp_path / "logger")
    assert found == expected | {"validation/a": [(2, 4.0)], "own": [(1, 1.0)]}
    theirs, ours = accumulated(tmp_path / "logger"), accumulated(tmp_path / "file")
    for read, tags in (("Histograms", "hi"), ("Images", "p"), ("Tensors", "t")):
        for tag in tags:
            (one,), (other,) = getattr(theirs, read)(tag), getattr(ours, read)(tag)
            assert vars(one) | {"wall_time": 0} == vars(other) | {"wall_time": 0}


def test_mlflow_logger_is_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    from ignite.handlers import MLflowLogger
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with MLflowLogger(tracking_uri=(tmp_path / "runs").as_uri()) as logger:
        writer = BackgroundWriter(IgniteLoggerWriter(logger))
        write_everything(writer)
        writer.write_scalars(2, {"tensors.weights.norm/0:[é]": torch.tensor(float("nan"))})
        writer.close()
        run = MlflowClient().get_run(logger.active_run.info.run_id)
    expected = {"a": 1.0, "b": 2.0, "c": 3.0, "h/mean": 1.0, "h/min": 0.5, "h/max": 1.5}
    assert expected.items() <= run.data.metrics.items()
    assert run.data.metrics["tensors.weights.norm/0____"] != 0.0
    assert run.data.params == {"lr": "0.1"}


def test_some_other_logger_is_refused() -> None:
    with pytest.raises(TypeError, match=r"TensorboardLogger.*got object"):
        IgniteLoggerWriter(object())
