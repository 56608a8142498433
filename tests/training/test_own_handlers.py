"""The user's own handlers in a run, from Python and from a config."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping, EMAHandler, TerminateOnNan
from ignite.metrics import RunningAverage
from torch import nn

from tests.training.parts import FULL, go, weights
from tests.writers.reading import raw_scalars
from trainkit.rundir import read_status
from trainkit.settings import TrainerSettings
from trainkit.training import early_stopping


def short(epochs: int = 3) -> TrainerSettings:
    return TrainerSettings(epochs=epochs, progress_bar=False)


class Own:
    """Anything with `attach`."""

    def __init__(self) -> None:
        self.iterations: list[int] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(
            Events.ITERATION_COMPLETED, lambda e: self.iterations.append(e.state.iteration)
        )


def test_all_kinds(tmp_path: Path) -> None:
    own, calls = Own(), []
    averaged: list[Any] = []

    def of_the_trainer(engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, lambda: calls.append("completed"))

    def of_more(
        trainer: Engine, evaluators: dict[str, Engine], model: nn.Module, data: Any
    ) -> None:
        assert set(evaluators) == {"train", "validation", "test"}
        assert len(data.train) == 7
        calls.append(type(model).__name__)
        # Behind the evaluation of the same epoch.
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED,
            lambda: calls.append(evaluators["validation"].state.metrics["accuracy"]),
        )

    class Average(EMAHandler):
        def attach(self, engine: Engine, *args: Any, **options: Any) -> None:
            averaged.append(self.ema_model)
            super().attach(engine, *args, **options)

    result = go(
        tmp_path, trainer=short(2), monitor=FULL,
        handlers={
            "own": own, "average": partial(Average, momentum=0.1), "trainer": of_the_trainer,
            "more": partial(of_more), "nothing": None,
            "smooth": RunningAverage(output_transform=lambda output: output["loss"]),
        },
    )  # fmt: skip
    assert own.iterations == list(range(1, 15))
    assert calls[0] == "Sequential"
    assert calls[2] == result.last["validation"]["accuracy"]
    assert calls[-1] == "completed"
    moved = torch.cat([p.flatten() for p in averaged[0].parameters()])
    last = torch.cat([p.flatten() for p in result.models["model"].parameters()])
    assert not torch.equal(moved, last)
    smooth = raw_scalars(tmp_path / "train")["running/smooth"]
    assert [step for step, _ in smooth][-1] == 14


def test_what_they_do_not_do_changes_nothing(tmp_path: Path) -> None:
    plain = go(tmp_path / "a")
    watched = go(tmp_path / "b", handlers={"own": Own()})
    assert torch.equal(weights(plain), weights(watched))


def test_ignites_early_stopping(tmp_path: Path) -> None:
    stop = partial(EarlyStopping, patience=2, score_function=lambda engine: 0.0)
    result = go(tmp_path, trainer=short(9), handlers={"stop": stop})
    assert result.epochs == 3
    assert read_status(tmp_path / "run.json")["status"] == "completed"


@pytest.mark.parametrize("made", [partial(TerminateOnNan), TerminateOnNan()])
def test_ignites_terminate_on_nan(made: Any, tmp_path: Path) -> None:
    def broken(y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(y_pred, y) * float("nan")

    trainer = TrainerSettings(epochs=9, progress_bar=False, on_non_finite="warn")
    result = go(tmp_path, trainer=trainer, handlers={"stop": made}, loss=broken, metrics=None)
    assert result.iterations == 1


def test_what_a_function_returns_does_not_matter(tmp_path: Path) -> None:
    seen: list[int] = []

    def listen(trainer: Engine) -> Any:
        return trainer.add_event_handler(
            Events.EPOCH_STARTED, lambda: seen.append(trainer.state.epoch)
        )

    go(tmp_path, handlers={"h": listen})
    assert seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("metric", "mode", "epochs"), [("loss", "auto", 4), ("accuracy", "min", 3)]
)
def test_early_stopping(metric: str, mode: str, epochs: int, tmp_path: Path) -> None:
    # No improvement is one that is not better, by the mode of the metric.
    values = {"loss": [3.0, 2.0, 2.5, 2.0, 1.0], "accuracy": [0.5, 0.6, 0.7, 0.1, 0.1]}[metric]
    listeners: list[Any] = []
    trainer = Engine(lambda engine, batch: None)
    early_stopping(trainer, listeners.append, metric=metric, patience=2, mode=mode)

    @trainer.on(Events.EPOCH_COMPLETED)
    def evaluate(engine: Engine) -> None:
        for listener in listeners:
            listener({"validation": {metric: values[engine.state.epoch - 1]}})

    assert trainer.run([0], max_epochs=5).epoch == epochs


def test_in_a_run_it_stops_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    result = go(
        tmp_path,
        trainer=short(9),
        optimizer=partial(torch.optim.SGD, lr=0.0),
        model=nn.Linear(4, 3),
        handlers={"stop": partial(early_stopping, patience=3)},
    )
    assert result.epochs == 4  # one to improve on, and three that do not
    (line,) = [r.getMessage() for r in caplog.records if "early stopping" in r.getMessage()]
    assert "validation loss has not improved for 3 evaluations (best " in line
    assert line.endswith("at iteration 7)")
    assert line in (tmp_path / "run.log").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "f1"}, "handlers.s.metric must be a metric of the validation data, got 'f1'"),
        ({"patience": 0}, "handlers.s.patience must be 1 evaluation or more, got 0"),
        ({"mode": "up"}, "handlers.s.*mode.*'up'"),
    ],
)
def test_early_stopping_is_refused_before_there_is_a_folder(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        go(tmp_path / "r", handlers={"s": partial(early_stopping, **options)})
    assert not (tmp_path / "r").exists()


def test_a_metric_that_evaluations_lack_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    listeners: list[Any] = []
    early_stopping(Engine(lambda e, b: None), listeners.append, metric="f1", patience=1)
    for _ in range(2):
        listeners[0]({"validation": {"loss": 1.0}})
    lines = [r.getMessage() for r in caplog.records if "early stopping" in r.getMessage()]
    assert lines == [
        "early stopping: validation has no 'f1' (it has loss): nothing is stopped by it"
    ]


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (3, r"handlers.h must be something with attach\(engine\), or a function .*got int"),
        (Own, r"handlers.h must be .*got the class Own itself; give Own\(...\)"),
        (partial(lambda trainer, missing: None), r"handlers.h: .* needs missing, which is neither"),
    ],
)
def test_what_is_no_handler_is_refused_before_anything_is_written(
    handler: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=message):
        go(tmp_path / "r", handlers={"h": handler})
    assert not (tmp_path / "r").exists()


class Refuses:
    def attach(self, engine: Engine) -> None:
        raise KeyError("no such part")


def breaks(trainer: Engine) -> None:
    raise OSError(13, "not yours")


class NotMade:
    def __init__(self, model: nn.Module) -> None:
        raise ValueError("too large")

    def attach(self, engine: Engine) -> None: ...


@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        (Refuses(), RuntimeError, " cannot be attached: KeyError: 'no such part'"),
        (breaks, ValueError, r": PermissionError: \[Errno 13\] not yours"),
        (partial(NotMade), ValueError, ": too large"),
    ],
)
def test_one_that_raises_while_it_is_attached_is_named(
    handler: Any, kind: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=f"^handlers.mine{message}"):
        go(tmp_path, handlers={"good": Own(), "mine": handler})
    status = read_status(tmp_path / "run.json")
    assert status["status"] == "failed"
    assert "handlers.mine" in status["reason"]


@pytest.mark.parametrize("options", [{"patience": 0}, {"min_delta": -1}, {"mode": "up"}])
def test_early_stopping_checks_its_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        early_stopping(Engine(lambda e, b: None), lambda listener: None, **options)
