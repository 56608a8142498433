"""What is silent otherwise is said: once, in one line that tells what to do."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events, RemovableEventHandle, create_supervised_trainer
from torch import Tensor, nn

from trainkit import MemoryWriter, ThroughputMonitor, attach_monitors
from trainkit.handlers.monitors import gradients


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "trainkit"]


def data(n: int) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(8, 4), torch.zeros(8, dtype=torch.long))] * n


def model_and_trainer() -> tuple[nn.Module, torch.optim.Optimizer, Engine]:
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return model, optimizer, create_supervised_trainer(model, optimizer, nn.CrossEntropyLoss())


# --- the optimizer ----------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 10])
def test_an_optimizer_that_is_not_the_one_that_steps(
    every: int, caplog: pytest.LogCaptureFixture
) -> None:
    model, used, trainer = model_and_trainer()
    given, writer = torch.optim.SGD(model.parameters(), lr=0.2), MemoryWriter()
    attached = attach_monitors(
        trainer, model=model, optimizers=given, writer=writer, predictions=None, every=every
    )
    said: list[int] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: said.append(len(lines(caplog))))
    trainer.run(data(50))
    (line,) = lines(caplog)
    assert line == (
        "gradients, updates and hyperparameters are left out: in the first 3 iterations the "
        "optimizer that was given, SGD(lr=0.2, 2 parameters), did not step, but SGD(lr=0.1, 2 "
        "parameters, the same ones) did. Pass the optimizer whose step() is called as optimizers="
    )
    assert said[:4] == [0, 0, 1, 1]
    assert "train/UpdateMonitor: nothing written so far" in attached.report()
    assert not any(tag.startswith(("updates", "hyperparameters")) for tag in writer.scalars)
    hooks = (used._optimizer_step_pre_hooks, given._optimizer_step_pre_hooks)
    assert not any(hooks)


def test_the_right_optimizers_in_place_of_one(caplog: pytest.LogCaptureFixture) -> None:
    model, other = nn.Linear(4, 3), nn.Linear(4, 3)
    slow = torch.optim.SGD(model.parameters(), lr=0.1)
    fast = torch.optim.SGD(other.parameters(), lr=0.1)

    def step(engine: Engine, batch: Tensor) -> None:
        for one, network in ((fast, other), (slow, model)):
            if one is fast or engine.state.iteration % 7 == 0:
                network(batch).sum().backward()
                one.step()

    trainer, writer = Engine(step), MemoryWriter()
    attach_monitors(
        trainer, model={"slow": model, "fast": other}, optimizers={"slow": slow, "fast": fast},
        writer=writer, losses=False, predictions=None, every=5,
    )  # fmt: skip
    trainer.run(torch.randn(20, 2, 4))
    assert lines(caplog) == []
    assert [at for at, _ in writer.scalars["updates/slow/global_ratio"]] == [7, 14]


@pytest.mark.parametrize("iterations", [4, 130])
def test_steps_that_never_come(iterations: int, caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine: Engine, batch: tuple[Tensor, Tensor]) -> float:
        loss = model(batch[0]).sum()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad  # type: ignore[operator]
        return loss.item()

    trainer = Engine(step)
    attach_monitors(
        trainer, model=model, optimizers=optimizer, writer=MemoryWriter(), predictions=None
    )
    trainer.run(data(iterations))
    (line,) = lines(caplog)
    assert (
        f"in the first {min(iterations, 100)} iterations the optimizer that was given, SGD(" in line
    )
    assert "did not step, nor did any other" in line


# --- the folder -------------------------------------------------------------------------------


def test_a_folder_that_holds_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        model, optimizer, trainer = model_and_trainer()
        with attach_monitors(
            trainer, model=model, optimizers=optimizer, writer=tmp_path / "mine", predictions=None
        ):
            trainer.run(data(2))
    (line,) = lines(caplog)
    assert line.startswith(
        f"writer='{tmp_path}/mine' already holds a run (event files in {tmp_path}"
    )
    # What it tells to write can be pasted.
    pasted = re.search(r"""writer=(f"[^"]+"), or""", line)
    assert pasted is not None
    assert eval(pasted[1], {"time": __import__("time")}).startswith(f"{tmp_path}/mine/20")


# --- what is odd about a model ----------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError, TypeError, ValueError, KeyError])
def test_a_monitor_that_cannot_be_attached_to_an_odd_model_is_left_out(
    error: type[Exception], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(*_: Any, **__: Any) -> None:
        raise error("what a model")

    monkeypatch.setattr(gradients, "TensorHistograms", odd)
    model, optimizer, trainer = model_and_trainer()
    writer = MemoryWriter()
    attached = attach_monitors(
        trainer, model=model, optimizers=optimizer, writer=writer, predictions=None
    )
    trainer.run(data(3))
    (line,) = lines(caplog)
    assert line.startswith(f"GradientMonitor is left out: {error.__name__}: ")
    assert f"train/GradientMonitor: left out, because of {error.__name__}(" in attached.report()
    assert len(writer.scalars["updates/global_ratio"]) == 3
    assert not attached.failures


def test_a_monitor_that_fails_while_it_is_attached_leaves_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Odd(ThroughputMonitor):
        def attach(self, engine: Engine) -> RemovableEventHandle:
            super().attach(engine)
            raise RuntimeError("what an engine")

    model, optimizer, trainer = model_and_trainer()
    attached = attach_monitors(
        trainer, model=model, optimizers=optimizer, writer=MemoryWriter(), predictions=None,
        monitors={"throughput": Odd},
    )  # fmt: skip
    trainer.run(data(3))
    assert lines(caplog) == ["Odd is left out: RuntimeError: what an engine"]
    attached.remove()
    assert not any(
        handler.__module__.startswith("trainkit")
        for handlers in trainer._event_handlers.values()
        for handler, _, _ in handlers
    )


def test_the_report_says_what_was_written_and_when(caplog: pytest.LogCaptureFixture) -> None:
    model, optimizer, trainer = model_and_trainer()
    writer = MemoryWriter()
    attached = attach_monitors(
        trainer, model=model, optimizers=optimizer, writer=writer, predictions=None, every=4
    )
    assert all(line.endswith(": nothing written so far") for line in attached.report().splitlines())
    trainer.run(data(6))
    report = dict(line.split(": ", 1) for line in attached.report().splitlines())
    assert report["train/LossMonitor"] == "1 tag written, last at iteration 6"
    found = [tag for tag in writer.scalars if "update" in tag]
    assert report["train/UpdateMonitor"] == f"{len(found)} tags written, last at iteration 4"
    assert report["train/HyperparameterMonitor"] == "2 tags written, last at iteration 6"
    assert repr(attached).splitlines()[0] == "AttachedMonitors:"
    attached.remove()
    assert "UpdateMonitor" in attached.report()
