"""Monitors as a mapping: added, replaced and taken away; each gets what its parameters name."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from torch import nn

from trainkit import (
    GradientMonitor,
    LossMonitor,
    MemoryWriter,
    Moment,
    Monitor,
    Sampler,
    WeightMonitor,
    attach_monitors,
)
from trainkit.handlers.parts import CHECKLIST, check_monitors


class Run:
    """A trainer of a linear model with a validation evaluator, and what was written."""

    def __init__(self, **options: Any) -> None:
        self.model = nn.Linear(2, 1)
        self.sgd = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.writer = MemoryWriter()
        self.trainer, self.evaluator = Engine(self.step), Engine(self.evaluate)
        self.trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda: self.evaluator.run([torch.ones(3, 2)])
        )
        self.attached = attach_monitors(
            self.trainer,
            **{
                "model": self.model, "optimizers": self.sgd, "writer": self.writer,
                "evaluators": self.evaluator, "loss_fn": nn.MSELoss(),
            } | options,
        )  # fmt: skip

    def evaluate(self, engine: Engine, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y_pred = self.model(x)
        return {"loss": y_pred.square().mean(), "y_pred": y_pred, "y": torch.zeros_like(y_pred)}

    def step(self, engine: Engine, x: torch.Tensor) -> dict[str, torch.Tensor]:
        self.sgd.zero_grad()
        found = self.evaluate(engine, x)
        found["loss"].backward()
        self.sgd.step()
        return {name: value.detach() for name, value in found.items()}

    def go(self) -> dict[str, list[int]]:
        with self.attached:
            self.trainer.run([torch.ones(3, 2)] * 4, max_epochs=1)
        return {tag: [step for step, _ in points] for tag, points in self.writer.scalars.items()}


def sections(tags: Any) -> set[str]:
    return {tag.partition("/")[0] for tag in tags}


class Own(Monitor):
    """Writes `own/<what>` and keeps what it was given."""

    def __init__(self, writer: Any, every: Any = 1, what: str = "x", **more: Any) -> None:
        super().__init__(writer, every)
        self.what, self.every = what, every

    def moments(self) -> Any:
        return {Moment.ITERATION_COMPLETED: self.end}

    def end(self, engine: Engine) -> None:
        self.writer.write_scalars(engine.state.iteration, {f"own/{self.what}": 1.0})


def test_one_is_added_and_shares_the_sampling() -> None:
    found = Run(monitors={"own": Own, "other": partial(Own, what="y")}, every=2).go()
    assert found["own/x"] == found["own/y"] == [1, 2, 4]
    assert {"loss", "gradients", "tensors.weights.norm"} <= sections(found)


@pytest.mark.parametrize("nothing", [None, False])
def test_one_is_taken_away(nothing: Any) -> None:
    everything = sections(Run().go())
    found = sections(Run(monitors={"gradients": nothing}).go())
    assert everything - found == {
        s for s in everything if s == "gradients" or s.startswith("tensors.gradients.")
    }


@pytest.mark.parametrize("name", [name for name in CHECKLIST if name != "predictions"])
def test_a_keyword_switches_one_off_as_the_mapping_does(name: str) -> None:
    by_keyword, by_mapping = Run(**{name: False}), Run(monitors={name: None})
    assert list(by_keyword.attached.monitors) == list(by_mapping.attached.monitors)
    assert by_keyword.go().keys() == by_mapping.go().keys()
    assert list(Run(**{name: True}).attached.monitors) == list(Run().attached.monitors)


def test_predictions_alone_are_taken_away_and_not_calibration() -> None:
    loss_fn = nn.BCEWithLogitsLoss()
    both = Run(loss_fn=loss_fn).attached.monitors
    left = Run(loss_fn=loss_fn, monitors={"predictions": None}).attached.monitors
    assert both.keys() - left.keys() == {"train/PredictionMonitor", "validation/PredictionMonitor"}
    assert "validation/CalibrationMonitor" in left


def test_one_is_replaced_and_what_it_binds_stays() -> None:
    run = Run(monitors={"weights": partial(WeightMonitor, include=["bias"])}, include=["weight"])
    tags = run.go()
    assert {t for t in tags if t.startswith("tensors.weights.norm/")} == {
        "tensors.weights.norm/bias"
    }
    assert {t for t in tags if t.startswith("tensors.gradients.norm/")} == {
        "tensors.gradients.norm/weight"
    }


def test_an_instance_is_attached_as_it_is() -> None:
    writer = MemoryWriter()
    run = Run(monitors={"own": Own(writer, 3)})
    assert "own/x" not in run.go()
    assert [step for step, _ in writer.scalars["own/x"]] == [1, 3]


def test_each_gets_what_its_parameters_name() -> None:
    got: dict[str, Any] = {}

    class Asking:
        def __init__(
            self, writer: Any, sampler: Any, every: Any, model: Any, models: Any, optimizers: Any,
            optimizer: Any, trainer: Any, evaluators: Any, loss_fn: Any, detail: Any, include: Any,
            exclude: Any, histograms_every: Any, scaler: Any, output_transform: Any, kind: Any,
            data: Any, unknown: int = 3,
        ) -> None:  # fmt: skip
            got.update({k: v for k, v in locals().items() if k not in ("self", "got")})

        def attach(self, engine: Engine) -> None:
            got["engine"] = engine

    def transform(output: Any) -> Any:
        return output

    loss_fn = nn.MSELoss()
    run = Run(
        monitors={"asking": Asking}, loss_fn=loss_fn, detail="module", include=["weight"],
        exclude=["bias"], histograms_every=7, output_transform={"trainer": transform},
        known={"data": "the data"},
    )  # fmt: skip
    assert isinstance(got["sampler"], Sampler)
    assert got == {
        "writer": run.writer, "sampler": run.attached.sampler, "every": run.attached.sampler,
        "model": run.model, "models": {"model": run.model}, "optimizers": run.sgd,
        "optimizer": run.sgd, "trainer": run.trainer, "evaluators": {"validation": run.evaluator},
        "loss_fn": loss_fn, "detail": "module", "include": ["weight"], "exclude": ["bias"],
        "histograms_every": 7, "scaler": None, "output_transform": transform, "kind": "values",
        "data": "the data", "unknown": 3, "engine": run.trainer,
    }  # fmt: skip


def test_one_that_needs_what_there_is_not_is_refused_with_what_there_is() -> None:
    class Needing(Own):
        def __init__(self, writer: Any, batchsize: int) -> None:
            super().__init__(writer)

    with pytest.raises(TypeError, match=r"monitors\.mine: Needing needs batchsize.*model, models"):
        Run(monitors={"mine": Needing})


def test_with_several_optimizers_there_is_no_single_one() -> None:
    class One(Own):
        def __init__(self, writer: Any, optimizer: Any) -> None:
            super().__init__(writer)

    model = nn.Linear(2, 1)
    sgd = {name: torch.optim.SGD([p], lr=0.1) for name, p in model.named_parameters()}
    with pytest.raises(TypeError, match="One needs optimizer"):
        Run(monitors={"mine": One}, model=model, optimizers=sgd)


class Passes:
    """For evaluators; no subclass of `Monitor`."""

    engines: ClassVar[Any] = "evaluators"
    attached: ClassVar[list[tuple[Engine, Engine]]] = []

    def __init__(self, writer: Any, trainer: Engine) -> None:
        self.writer, self.trainer = writer, trainer

    def attach(self, engine: Engine) -> None:
        self.attached.append((engine, self.trainer))
        engine.add_event_handler(Events.COMPLETED, self.write)

    def write(self) -> None:
        self.writer.write_scalars(self.trainer.state.iteration, {"own/pass": 1.0})


def test_one_for_evaluators_is_made_for_each_with_its_writer() -> None:
    writers = {name: MemoryWriter() for name in ("train", "validation", "test")}
    engines = {name: Engine(lambda e, b: {}) for name in ("validation", "test")}
    Passes.attached.clear()
    run = Run(monitors={"own": Passes}, evaluators=engines, writer=writers)
    assert Passes.attached == [(engine, run.trainer) for engine in engines.values()]
    run.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: engines["test"].run([0]))
    run.go()
    assert [step for step, _ in writers["test"].scalars["own/pass"]] == [1, 2, 3, 4]
    assert "own/pass" not in writers["train"].scalars


@pytest.mark.parametrize(
    ("engines", "made"),
    [
        (("trainer",), ["trainer"]),
        (("evaluators",), ["train", "validation", "test"]),
        (("trainer", "evaluators"), ["trainer", "validation", "test"]),
        (("trainer", "evaluators", "train"), ["trainer", "train", "validation", "test"]),
        (("test",), ["test"]),
    ],
)
def test_a_class_says_for_which_engines_it_is(engines: Any, made: list[str]) -> None:
    names = {"train": Engine(lambda e, b: {}), "validation": Engine(lambda e, b: {}),
             "test": Engine(lambda e, b: {})}  # fmt: skip
    found: list[tuple[Engine, Engine | None]] = []

    class Both:
        def __init__(self, trainer: Engine | None) -> None:
            self.trainer = trainer

        def attach(self, engine: Engine) -> None:
            found.append((engine, self.trainer))

    Both.engines = engines  # type: ignore[attr-defined]
    run = Run(monitors={"both": Both}, evaluators=names)
    known = {id(run.trainer): "trainer", **{id(e): name for name, e in names.items()}}
    assert [known[id(engine)] for engine, _ in found] == made
    for engine, trainer in found:
        alone = engine is run.trainer and engines != ("trainer",)
        assert trainer is (None if alone else run.trainer)


def test_one_for_an_engine_that_there_is_not_is_said(caplog: pytest.LogCaptureFixture) -> None:
    class Elsewhere(Own):
        engines = ("tset",)

    run = Run(monitors={"mine": Elsewhere})
    line = "the monitor mine is left out: it is for tset, and there is trainer, validation"
    assert line in caplog.messages
    assert not any("Elsewhere" in name for name in run.attached.monitors)


def test_a_handler_of_ignites_is_taken_off_with_the_others() -> None:
    handlers: list[Any] = []

    class Averaging(EMAHandler):
        def attach(self, engine: Engine, *args: Any, **options: Any) -> None:
            super().attach(engine, *args, **options)
            handlers.append(self)

        def detach(self, engine: Engine) -> None:
            handlers.append(engine)

    run = Run(monitors={"ema": partial(Averaging, momentum=0.1)})
    run.go()
    assert handlers == [run.attached.monitors["train/Averaging"], run.trainer]
    assert "train/Averaging: no Monitor" in run.attached.report()


def test_two_of_one_class_are_both_in_the_report() -> None:
    run = Run(monitors={"own": Own, "encoder": partial(Own, what="y")})
    run.go()
    assert "train/Own: 1 tag written" in run.attached.report()
    assert "train/encoder: 1 tag written" in run.attached.report()


def test_a_fault_in_one_ends_it_and_not_the_training() -> None:
    class Faulty(Own):
        def end(self, engine: Engine) -> None:
            raise RuntimeError("mine")

    run = Run(monitors={"faulty": Faulty})
    assert run.go()["weights/global_norm"] == [1, 2, 3, 4]
    assert str(run.attached.failures["train/Faulty"]) == "mine"


def test_one_that_cannot_be_made_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def broken(writer: Any) -> Any:
        raise RuntimeError("no disk")

    run = Run(monitors={"mine": broken})
    assert "broken is left out: RuntimeError: no disk" in caplog.messages
    assert "weights/global_norm" in run.go()


@pytest.mark.parametrize(
    ("monitors", "text"),
    [
        ([GradientMonitor], "monitors must be a mapping from name to monitor"),
        ({"mine": 3}, r"monitors\.mine must be a monitor class.*got int"),
        ({"mine": True}, r"monitors\.mine: true stands for one of losses"),
        ({"mine": lambda writer: 3}, r"monitors\.mine must make something with attach\(engine\)"),
    ],
)
def test_what_is_no_monitor_is_refused(monitors: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        Run(monitors=monitors)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"gradient": False}, "no argument 'gradient'; nearest: gradients"),
        ({"kurtosis": Own}, r"another monitor goes into monitors=\{'kurtosis': ...\}"),
        ({"gradients": Own}, "gradients must be True or False"),
    ],
)
def test_a_wrong_keyword_is_refused(option: Mapping[str, Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        Run(**option)


def test_a_wrong_option_of_one_is_said_with_its_name() -> None:
    with pytest.raises(ValueError, match=r"monitors\.own: detail must be one of .*'modul'"):
        Run(monitors={"own": partial(WeightMonitor, detail="modul")})


def test_a_misspelt_name_to_take_away_is_said(caplog: pytest.LogCaptureFixture) -> None:
    check_monitors({"gradeints": None})
    check_monitors({"kurtosis": None, "gradients": None})
    assert caplog.messages == [
        "monitors.gradeints: there is no such monitor to take away; nearest: gradients"
    ]


def test_a_kind_that_is_bound_needs_no_loss() -> None:
    from trainkit import PredictionMonitor

    run = Run(loss_fn=None, monitors={"predictions": partial(PredictionMonitor, kind="values")})
    assert "predictions/mean" in run.go()


def test_the_losses_of_a_part_without_every_iteration_are_sampled() -> None:
    assert Run(monitors={"losses": LossMonitor}, every=3).go()["loss/total"] == [1, 3]
