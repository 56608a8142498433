"""Whatever a program does with its model and optimizer does the same at any moment."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils.checkpoint import checkpoint

from tests.handlers.leftovers import leftovers
from tests.handlers.test_undisturbed import assert_identical
from trainkit import MemoryWriter, attach_monitors


@pytest.fixture(autouse=True)
def _a_program_that_compiles_nothing() -> None:
    """Forget what other tests compiled: a program that compiles has hooks on modules in a step."""
    torch._dynamo.reset()


class Network(nn.Module):
    """With a head that is never called, and one that is tied to the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.act = nn.ReLU()
        self.attention = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.never = nn.Linear(4, 4)
        self.never.weight = self.first.weight
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.act(self.first(x))
        return self.last(hidden + self.attention(hidden.unsqueeze(1)).squeeze(1))


class Program:
    """Trains, and does one odd thing at one moment of the iterations 2 (not sampled) and 3."""

    def __init__(self, odd: Callable[["Program"], object], moment: str, watched: bool) -> None:
        torch.manual_seed(0)
        self.model, self.loss_fn = Network(), nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.odd, self.moment = odd, moment
        self.results: list[Any] = []
        self.trainer = Engine(self.step)
        self.attached = None
        started, completed = Events.ITERATION_STARTED, Events.ITERATION_COMPLETED
        if moment == "before, in handlers before ours":
            self.trainer.add_event_handler(started, lambda: self.happen())
        if moment == "after, in handlers before ours":
            self.trainer.add_event_handler(completed, lambda: self.happen())
        self.writer = MemoryWriter()
        if watched:
            self.attached = attach_monitors(
                self.trainer, model=self.model, optimizers=self.optimizer, loss_fn=self.loss_fn,
                writer=self.writer, every=3, histograms_every=3,
            )  # fmt: skip
        if moment == "before, in handlers behind ours":
            self.trainer.add_event_handler(started, lambda: self.happen())
        if moment == "after, in handlers behind ours":
            self.trainer.add_event_handler(completed, lambda: self.happen())

    def happen(self) -> None:
        if self.trainer.state.iteration in (2, 3):
            self.results.append(self.odd(self))

    def step(self, engine: Engine, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = batch
        self.model.train()
        self.optimizer.zero_grad()
        y_pred = self.model(x)
        loss = self.loss_fn(y_pred, y)
        loss.backward()
        if self.moment == "within":
            self.happen()
        if self.moment == "interrupted" and engine.state.iteration == 3:
            raise KeyboardInterrupt
        self.optimizer.step()
        return {"loss": loss.detach(), "y_pred": y_pred.detach(), "y": y}

    def run(self) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(1)
        data = [
            (torch.randn(5, 4, generator=generator), torch.randint(0, 3, (5,), generator=generator))
            for _ in range(6)
        ]
        try:
            self.trainer.run(data)
        except KeyboardInterrupt:
            assert self.moment == "interrupted"
            self.odd(self)
        return {"weights": self.model.state_dict(), "random": torch.get_rng_state()}


X = torch.linspace(-1, 1, 20).reshape(5, 4)


def in_eval_mode(model: nn.Module, function: Callable[[], Any]) -> Any:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            return function()
    finally:
        for module, training in modes:
            module.training = training


def saved(thing: Any) -> Any:
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def hooks_on(model: nn.Module) -> list[str]:
    """Those on the copy itself: within a step torch may have one for all modules."""
    return [found for found in leftovers(model) if found != "a global forward hook"]


def save(program: Program) -> object:
    other = saved(program.model)
    assert_identical(other.state_dict(), program.model.state_dict())
    assert hooks_on(other) == []
    saved(program.optimizer)
    return saved(list(program.model.parameters()))


def pickled(program: Program) -> object:
    for thing in (program.model, program.optimizer, program.model.first.weight):
        pickle.loads(pickle.dumps(thing))
    return pickle.dumps(program.model.state_dict())


def copied(program: Program) -> object:
    model = copy.deepcopy(program.model)
    copy.deepcopy(program.optimizer)
    copy.deepcopy(program.model.first.weight)
    copy.copy(program.model)
    model(X).sum().backward()  # a copy reports nothing
    assert hooks_on(model) == []
    return model.last.weight.detach().clone()


def scripted(program: Program) -> object:
    small = nn.Sequential(program.model.first, program.model.act)
    return in_eval_mode(program.model, lambda: torch.jit.script(small)(X))


def traced(program: Program) -> object:
    small = nn.Sequential(program.model.first, program.model.act)
    return in_eval_mode(program.model, lambda: torch.jit.trace(small, X)(X))


def functional(program: Program) -> object:
    weights = {name: weight * 2 for name, weight in program.model.named_parameters()}
    return in_eval_mode(program.model, lambda: functional_call(program.model, weights, X))


def mapped(program: Program) -> object:
    return vmap(nn.Sequential(program.model.first, program.model.act))(X).detach()


def checkpointed(program: Program) -> object:
    gradients = []
    small = nn.Sequential(program.model.first, program.model.act)
    for reentrant in (True, False):
        x = X.clone().requires_grad_()
        output: Any = checkpoint(small, x, use_reentrant=reentrant)
        gradients += torch.autograd.grad(output.sum(), x) if not reentrant else ()
    return gradients


def evaluated(program: Program) -> object:
    """On torch's fast path for inference, which a hook on a module switches off."""
    return in_eval_mode(program.model, lambda: program.model(X))


def exported(program: Program) -> object:
    small = nn.Sequential(program.model.first, program.model.act)
    return in_eval_mode(program.model, lambda: torch.export.export(small, (X,)).module()(X))


def compiled(program: Program) -> object:
    function = torch.compile(program.model.first, backend="eager")
    return in_eval_mode(program.model, lambda: function(X))


MOMENTS = [
    "before, in handlers before ours",
    "before, in handlers behind ours",
    "within",
    "after, in handlers before ours",
    "after, in handlers behind ours",
    "interrupted",
]
THINGS = [
    save, pickled, copied, scripted, traced, functional, mapped, checkpointed, evaluated, exported,
    compiled,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(
    "odd",
    [pytest.param(t, marks=[pytest.mark.slow] * (t in (exported, compiled))) for t in THINGS],
    ids=lambda thing: thing.__name__,
)
def test_an_odd_thing_at_a_moment(
    odd: Callable[[Program], object], moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain, watched = Program(odd, moment, watched=False), Program(odd, moment, watched=True)
    torch.manual_seed(2)
    expected = plain.run()
    torch.manual_seed(2)
    assert_identical(expected, watched.run())
    assert len(plain.results) == (0 if moment == "interrupted" else 2)
    if odd is not pickled:  # the bytes name objects by their places
        assert_identical(plain.results, watched.results)
    assert watched.attached is not None
    assert not watched.attached.failures
    assert leftovers(watched.model, watched.optimizer) == []
    last = 1 if moment == "interrupted" else 6
    assert watched.writer.scalars["updates/global_ratio"][-1][0] == last
    assert [r for r in caplog.records if r.name == "trainkit"] == []


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 7])
def test_a_compiled_step_is_compiled_a_few_times_only(every: int) -> None:
    from torch._dynamo.utils import counters

    def frames(iterations: int, watched: bool) -> int:
        torch._dynamo.reset()
        counters.clear()
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step = torch.compile(lambda: optimizer.step(), backend="eager")

        def iteration(engine: Engine, batch: Tensor) -> float:
            optimizer.zero_grad()
            loss = model(batch).pow(2).mean()
            loss.backward()
            step()
            return loss.item()

        trainer, writer = Engine(iteration), MemoryWriter()
        if watched:
            attach_monitors(
                trainer, model=model, optimizers=optimizer, writer=writer, predictions=None,
                every=every,
            )  # fmt: skip
        trainer.run(torch.randn(iterations, 5, 4))
        if watched:
            ratios = [float(value) for _, value in writer.scalars["updates/global_ratio"]]
            assert len(ratios) == (iterations if every == 1 else 1 + iterations // every)
            assert all(ratio > 0 for ratio in ratios)
        return counters["frames"]["total"]

    bare = frames(10, watched=False)
    assert frames(10, watched=True) == frames(60, watched=True) <= bare + 5
