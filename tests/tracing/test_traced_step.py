"""The producer of the first value that is not finite, at sixteen sites in four kinds of steps."""

from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from tests.tracing.sites import SITES, Case, Network, healthy_attention, identity
from trainkit.engines import supervised_trainer
from trainkit.tracing import StepReport, traced_step

KINDS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"amp": "bf16"},
    "scaler": {"amp": "fp16"},
    "accumulation": {"accumulation_steps": 2},
}


def batch(n: int = 6) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 4, generator=g), torch.randint(0, 3, (n,), generator=g)


def traced(
    case: Case, x: Tensor | None = None, target: Tensor | None = None, **kind: Any
) -> StepReport:
    torch.manual_seed(0)
    model = Network(case.site, case.head)
    make = case.optimizer or (lambda p: torch.optim.SGD(p, lr=0.1))
    optimizer = make(model.parameters())
    loss_fn = case.loss or nn.CrossEntropyLoss()
    trainer = supervised_trainer(model, optimizer, loss_fn, device="cpu", **kind)
    inputs, y = batch()
    inputs = inputs if x is None else x
    y = y if target is None else target
    steps = kind.get("accumulation_steps", 1)
    reports = []

    def step(engine: Engine, given: Any) -> Any:
        made: dict[str, Any] = {}

        def once() -> Any:
            made["output"] = trainer._process_function(engine, given)
            return made["output"]

        reports.append(
            traced_step(
                once, models={"model": model}, loss_fn=loss_fn, optimizers={"": optimizer},
                batch=given, iteration=engine.state.iteration, scaled="amp" in kind,
            )
        )  # fmt: skip
        return made["output"]

    Engine(step).run([(inputs, y)] * steps)
    return next((r for r in reports if r.first is not None), reports[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SITES)
def test_sites(name: str, kind: str) -> None:
    case = SITES[name]
    report = traced(case, **KINDS[kind])
    if kind == "scaler" and case.phase != "forward":
        # A scaler skips the step, and lowers its factor: such gradients are no fault.
        assert report.first is None or report.first.phase in ("forward", case.phase)
        return
    assert report.first is not None
    half = kind == "scaler" and name == "overflow of a product"  # 1e38 is too much already
    assert report.first.place == ("site" if half else case.place), report.line()
    if case.phase:
        assert report.first.phase == case.phase, report.line()
    if case.rows:
        assert report.first.rows == (2,), report.line()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("site", [identity, healthy_attention])
def test_a_healthy_step(site: Any, kind: str) -> None:
    report = traced(Case(site, "", ""), **KINDS[kind])
    assert report.first is None, report.line()
    places = [(call.phase, call.place) for call in report.calls]
    assert places[:4] == [("forward", p) for p in ("body", "site", "after", "head")]
    assert ("backward", "site") in places


def test_what_is_given_with_the_batch() -> None:
    x, _ = batch()
    x[4, 1] = torch.nan
    report = traced(Case(identity, "", ""), x)
    assert report.first is not None
    assert (report.first.phase, report.first.place) == ("given", "batch")
    assert report.first.rows == (4,)
    assert report.found_in == "the loss"


@pytest.mark.parametrize("name", ["root at zero", "Adam without eps"])
def test_rows_of_weights_and_gradients_are_no_samples(name: str) -> None:
    """The batch has as many samples as the weights have rows."""
    x, _ = batch()
    y = torch.randint(0, 3, (4,))
    case = SITES[name]
    report = traced(case, x[:4], y)
    assert report.first is not None
    assert report.first.rows == ()


def test_the_chain_shows_extremes_by_definition() -> None:
    report = traced(SITES["log of zero"])
    torch.manual_seed(0)
    model = Network(identity)
    y = model.body(batch()[0])
    call = report.calls[0]
    assert (call.place, call.kind, call.bad) == ("body", "Linear", 0)
    assert call.least == pytest.approx(float(y.detach().min()))
    assert call.most == pytest.approx(float(y.detach().max()))
    site = report.calls[1]
    assert (site.place, site.bad) == ("site", 4)
