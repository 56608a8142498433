import torch

from trainkit.writers import BackgroundWriter, MemoryWriter, SeveralWriter
from trainkit.writers.protocol import Scalars
from trainkit.writers.sinks.latest_values import LatestValues


def test_sees_what_passes_through_the_background() -> None:
    newest, memory = LatestValues("loss/total", "monitor/"), MemoryWriter()
    writer = BackgroundWriter(SeveralWriter(memory, newest))
    tags = ("gradients/non_finite", "tensors.gradients.norm/w", "loss/total")
    for step, row in enumerate([[0, 1, 2.5], [0, float("nan"), 2.0], [3, float("inf"), 1.5]], 1):
        writer.write_scalars(step, Scalars(tags, torch.tensor(row)))
        writer.write_scalars(step, {"monitor/every": step, "loss/mse": torch.tensor(0.5)})
    writer.close()
    assert newest.values == {"loss/total": 1.5, "monitor/every": 3}
    assert newest.non_finite == {"tensors.gradients.norm/w": 2, "gradients/non_finite": 3}
    assert memory.scalars["loss/mse"] == [(1, 0.5), (2, 0.5), (3, 0.5)]


def test_behind_a_front_in_the_same_thread() -> None:
    newest = LatestValues("a")
    writer = SeveralWriter(newest)
    writer.write_scalars(1, {"a": 2.0, "b": torch.tensor(float("-inf"))})
    writer.flush()
    assert (newest.values, newest.non_finite) == ({"a": 2.0}, {"b": 1})
