import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trainkit.writers import (
    BackgroundWriter,
    EventFileWriter,
    Histograms,
    MemoryWriter,
    PrefixWriter,
    Scalars,
    SeveralWriter,
    Writer,
)
from trainkit.writers.step import to_host as reading
from trainkit.writers.step import transfer
from trainkit.writers.step.pending import Gathering
from trainkit.writers.step.to_host import read_step
from trainkit.writers.step.transfer import read, read_packed, wire


class Operations(TorchDispatchMode):
    """Every operation that torch runs in this thread, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.names.append(name)
        came = [a for a in args if isinstance(a, torch.Tensor) and a.device.type != "cpu"]
        arrived = isinstance(out, torch.Tensor) and out.device.type == "cpu"
        if name in ("_local_scalar_dense", "nonzero") or (
            name in ("_to_copy", "copy_") and came and arrived
        ):
            self.reads += 1
        return out


def write_much(writer: Writer, step: int, device: str) -> None:
    """Forty calls of one step, as the monitors make them, with a value of each kind."""
    for i in range(10):
        values = torch.full((5,), float(i), device=device)
        writer.write_scalars(step, {f"one/{i}": values[0], f"half/{i}": values[1].bfloat16()})
        writer.write_scalars(step, Scalars([f"bulk/{i}/{j}" for j in range(5)], values))
        writer.write_scalars(step, {f"number/{i}": 1.0})
        writer.write_histograms(step, {f"raw/{i}": values})
    counts = torch.ones(3, 4, dtype=torch.int64, device=device)
    moments = torch.ones(3, 4, dtype=torch.float64, device=device)
    edges = torch.arange(5, dtype=torch.float64, device=device)
    writer.write_histograms(step, Histograms(("x", "y", "z"), counts, edges, moments, counts[:, 0]))
    writer.write_images(step, {"image": torch.ones(3, 5, 5, device=device)})


def test_writing_reads_no_device_and_packs_once_a_step(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU nothing can be read from a device; what would read one must not run at all."""
    # As if it were another device:
    monkeypatch.setattr(reading, "in_main_memory", lambda gathering: False)
    monkeypatch.setattr(transfer, "read", transfer.read_packed)
    writer = EventFileWriter(tmp_path)
    write_much(writer, 0, "cpu")
    with Operations() as writing:
        write_much(writer, 1, "cpu")
    assert writing.names.count("cat") == 1  # step 0 was read
    with Operations() as flushing:
        writer.flush()
    assert flushing.names.count("cat") == 1
    waiting = {"_local_scalar_dense", "nonzero", "equal", "bincount", "unique", "masked_select"}
    assert not waiting & {*writing.names, *flushing.names}
    writer.close()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", [EventFileWriter])
def test_one_read_a_step_on_cuda(tmp_path: Any, kind: Any) -> None:
    writer = kind(tmp_path)
    write_much(writer, 0, "cuda")
    writer.flush()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with Operations() as writing:
            write_much(writer, 1, "cuda")
        assert writing.reads == 0
        with Operations() as flushing:
            writer.flush()
        assert flushing.reads == 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    writer.close()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda memory: memory,
        BackgroundWriter,
        lambda memory: BackgroundWriter(SeveralWriter(memory)),
        lambda memory: PrefixWriter(memory, "p"),
        SeveralWriter,
    ],
)
def test_writing_needs_no_host_read_through_any_writer(wrap: Any) -> None:
    writer = wrap(MemoryWriter())
    with Operations() as writing:
        for step in range(3):
            write_much(writer, step, "cpu")
    assert "_local_scalar_dense" not in writing.names
    writer.close()


def test_nothing_that_torch_keeps_is_touched(tmp_path: Any) -> None:
    """Random state, gradients, flags and versions of what is written stay as they are."""
    weight = torch.nn.Parameter(torch.ones(3))
    loss = (weight**2).sum()
    state, version = torch.get_rng_state(), weight._version
    writer = EventFileWriter(tmp_path)
    with torch.set_grad_enabled(True):
        writer.write_scalars(1, {"loss": loss, "weight": weight[0]})
        writer.write_histograms(1, {"weight": weight})
        writer.flush()
        assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert weight._version == version
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [2.0, 2.0, 2.0]
    writer.close()


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_any_gradient_mode(mode: Any) -> None:
    memory = MemoryWriter()
    with mode():
        memory.write_scalars(1, {"a": torch.tensor(1.0), "b": torch.tensor(2.0)})
        memory.write_histograms(1, {"h": torch.ones(2)})
    assert memory.scalars == {"a": [(1, 1.0)], "b": [(1, 2.0)]}


@pytest.mark.parametrize("packed", [True, False])
def test_tensors_travel_together_and_arrive_as_they_were(packed: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [
        torch.rand(2, generator=generator),
        torch.randint(0, 255, (1, 3, 5), generator=generator, dtype=torch.uint8),
        torch.rand(2, 2, generator=generator, dtype=torch.float64).t(),
        torch.tensor([2**62 + 1]),
        torch.empty(0, 7),
        torch.tensor(-5, dtype=torch.int32),
        torch.rand(4, 6, generator=generator)[:, ::2],
    ]
    how = read_packed if packed else read
    for found, expected in zip(how(tensors), tensors, strict=True):
        assert found.flags.aligned
        np.testing.assert_array_equal(found, expected.numpy(), strict=True)


def test_only_what_does_not_travel_is_converted() -> None:
    for dtype in (torch.float64, torch.float32, torch.int64, torch.int32):
        values = torch.ones(2, dtype=dtype)
        assert wire(values) is values
    assert wire(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32
    assert wire(torch.ones(2, dtype=torch.bool)).dtype == torch.int32


def test_bulk_tensors_are_handed_over_not_copied() -> None:
    values = torch.ones(2)
    gathering = Gathering(1)
    gathering.keep_scalars(Scalars(("a", "b"), values))
    values.fill_(3.0)
    assert read_step(gathering).scalars == {"a": 3.0, "b": 3.0}


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([3.0, 1.0, 2.0, 5.0], {"a": 3.0, "d": 5.0}),
        ([3.0, torch.nan, 2.0, -torch.inf], {"a": 3.0, "b": torch.nan}),
        ([1.0, 1.0, torch.inf, 0.0], {"b": 1.0, "c": torch.inf}),
    ],
)
def test_only_the_largest_are_written_and_nan_before_all(
    values: list[float], kept: dict[str, float]
) -> None:
    writer = MemoryWriter()
    for place in (writer, PrefixWriter(writer, "under")):
        place.write_scalars(1, Scalars("abcd", torch.tensor(values), largest=2))
    for prefix in ("", "under/"):
        found = {t: writer.scalars[f"{prefix}{t}"][0][1] for t in kept}
        assert found == pytest.approx(kept, nan_ok=True)
    assert len(writer.scalars) == 2 * len(kept)


def test_what_is_left_to_compute_is_computed_by_who_reads(tmp_path: Any) -> None:
    memory, calls = MemoryWriter(), []

    def finish(x: Any, y: Any) -> Any:
        calls.append(threading.current_thread().name)
        return np.stack([x.sum((-1, -2)), y.max(-1)], axis=-1)

    parts = [torch.ones(2, 3, dtype=torch.bfloat16), torch.tensor([5, 7])]
    scalars = Scalars(("sum", "max"), parts, finish=finish)
    writer = BackgroundWriter(memory)
    PrefixWriter(writer, "p").write_scalars(1, scalars)
    assert not calls
    writer.close()
    assert calls == ["trainkit-writer"]
    assert memory.scalars == {"p/sum": [(1, 6.0)], "p/max": [(1, 7.0)]}
    # Who knows nothing of it reads the values as those of any mapping.
    assert {tag: float(value) for tag, value in scalars.items()} == {"sum": 6.0, "max": 7.0}


@pytest.mark.parametrize("fault", [lambda x: 1 / 0, lambda x: x[:, :1]])
def test_what_cannot_be_computed_is_left_out_and_told(
    fault: Any, caplog: pytest.LogCaptureFixture
) -> None:
    writer = MemoryWriter()
    writer.write_scalars(1, Scalars(("bad", "worse"), torch.ones(3), finish=fault))
    writer.write_scalars(1, {"good": 1.0})
    assert writer.scalars == {"good": [(1, 1.0)]}
    assert "bad" in caplog.text
