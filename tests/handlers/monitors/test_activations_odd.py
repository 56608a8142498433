"""What people do with a model that is watched: odd thing x moment, all harmless and unchanged."""

import copy
import io
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules import module as torch_module
from torch.utils.checkpoint import checkpoint

from tests.handlers.leftovers import leftovers
from trainkit import ActivationMonitor, MemoryWriter
from trainkit.handlers.modules.forward_calls import ForwardCalls

X = torch.ones(2, 4)


class Network(nn.Module):
    """Two layers that are called, and one that never is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.act(self.first(x)))
        return out


def save(model: nn.Module) -> None:
    file = io.BytesIO()
    torch.save(model, file)
    assert b"trainkit" not in file.getvalue()
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    loaded(100 * X)
    for one, other in zip(loaded.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)


def pickled(model: nn.Module) -> None:
    stored = pickle.dumps(model)
    assert b"trainkit" not in stored
    pickle.loads(stored)(100 * X)


def deepcopied(model: nn.Module) -> None:
    twin = copy.deepcopy(model)
    assert not any(module._forward_hooks for module in twin.modules())
    twin(100 * X)


def shallow(model: nn.Module) -> None:
    copy.copy(model)(X)


def script(model: nn.Module) -> None:
    make: Any = torch.jit.script
    make(model)(100 * X)


def trace(model: nn.Module) -> None:
    make: Any = torch.jit.trace
    traced = make(model, 100 * X)
    assert "aten::linear" in str(traced.inlined_graph)
    assert len(list(traced.inlined_graph.nodes())) < 20


def exported(model: nn.Module) -> None:
    program = torch.export.export(model, (100 * X,))
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    assert len(calls) == 3


def transformed(model: nn.Module) -> None:
    vmap(model)(torch.ones(3, 2, 4))


def called_with_others(model: nn.Module) -> None:
    zeros = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    with torch.no_grad():
        assert functional_call(model, zeros, (X,)).sum() == 0


def checkpointed(model: nn.Module) -> None:
    for reentrant in (True, False):
        y = checkpoint(model, X.clone().requires_grad_(), use_reentrant=reentrant)
        assert isinstance(y, Tensor)
        torch.autograd.grad(y.sum(), next(iter(model.parameters()))) if not reentrant else None


def replicated(model: nn.Module) -> None:
    nn.DataParallel(model)(X)


ODD: dict[str, Callable[[nn.Module], None]] = {
    "torch.save": save,
    "pickle": pickled,
    "deepcopy": deepcopied,
    "copy": shallow,
    "torch.jit.script": script,
    "torch.jit.trace": trace,
    "torch.export": exported,
    "vmap": transformed,
    "functional_call": called_with_others,
    "checkpoint": checkpointed,
    "DataParallel": replicated,
}
MOMENTS = (
    "handler before", "handler after", "step", "completed before", "completed after",
    "next iteration", "interrupted", "failed", "terminated", "removed",
)  # fmt: skip


def clean(model: nn.Module) -> None:
    assert not torch_module._global_forward_hooks
    assert not any(module._forward_hooks for module in model.modules())


def train(moment: str, odd: Callable[[nn.Module], None]) -> dict[str, list[tuple[int, float]]]:
    """Three iterations, of which the first and the third are sampled; the odd thing in time."""
    torch.manual_seed(0)
    model, writer = Network(), MemoryWriter()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    done = []

    def do(at: str) -> None:
        if at == moment:
            with torch.random.fork_rng():
                odd(model)
            done.append(at)

    def step(engine: Engine, x: Tensor) -> None:
        optimizer.zero_grad()
        if engine.state.iteration == 1:
            do("step")
        else:
            do("next iteration")
        model(x).sum().backward()
        if engine.state.iteration == 3 and moment == "interrupted":
            raise KeyboardInterrupt
        if engine.state.iteration == 3 and moment == "failed":
            raise RuntimeError("on purpose")
        if engine.state.iteration == 3 and moment == "terminated":
            engine.terminate()
        optimizer.step()

    engine = Engine(step)

    def at(event: Any, name: str) -> None:
        @engine.on(event)
        def handler() -> None:
            clean(model)
            do(name)

    at(Events.ITERATION_STARTED, "handler before")
    at(Events.ITERATION_COMPLETED, "completed before")
    handle = ActivationMonitor(writer, model=model, every=3).attach(engine)
    at(Events.ITERATION_STARTED, "handler after")
    at(Events.ITERATION_COMPLETED, "completed after")
    try:
        engine.run([X] * 3)
    except (KeyboardInterrupt, RuntimeError) as error:
        assert moment in ("interrupted", "failed"), error  # noqa: PT017
    clean(model)
    for name in ("interrupted", "failed", "terminated"):
        do(name)
    handle.remove()
    do("removed")
    assert done
    assert leftovers(model, engine) == []
    return {tag: points for tag, points in writer.scalars.items() if "." in tag}


@pytest.fixture(scope="module")
def plain() -> dict[str, list[tuple[int, float]]]:
    return train("removed", lambda model: None)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("odd", ODD)
def test_it_is_harmless(
    odd: str, moment: str, plain: dict[str, list[tuple[int, float]]],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    found = train(moment, ODD[odd])
    assert [r for r in caplog.records if r.name == "trainkit"] == []
    assert found.keys() == plain.keys()
    for tag, points in plain.items():
        # What is called without gradients, or is a copy, is not mixed in; the same model called
        # once more with gradients is part of the iteration.
        again = moment == "step" and odd in ("checkpoint", "copy", "DataParallel")
        kept = points[:1] if moment in ("interrupted", "failed") else points
        if not again:
            assert found[tag] == kept


@pytest.mark.parametrize("how", ["wrapped", "in place", "a part", "a function"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_compiling_is_harmless(how: str, moment: str) -> None:
    def compile_it(model: nn.Module) -> None:
        torch._dynamo.reset()
        module = Network()
        module.load_state_dict(model.state_dict())
        function: Any = torch.compile(module, backend="eager")
        if how == "in place":
            module.compile(backend="eager")
            function = module
        elif how == "a part":
            module.first = torch.compile(module.first, backend="eager")  # type: ignore[assignment]
            function = module
        elif how == "a function":
            function = torch.compile(lambda x: module(x), backend="eager", fullgraph=True)
        assert function(100 * X).shape == (2, 2)

    found = train(moment, compile_it)
    torch._dynamo.reset()
    assert {tag.split("/")[1] for tag in found} == {"first", "act", "last"}


@pytest.mark.parametrize("in_place", [False, True])
def test_it_is_said_once_that_a_model_is_compiled(
    in_place: bool, caplog: pytest.LogCaptureFixture
) -> None:
    torch._dynamo.reset()
    model, writer = Network(), MemoryWriter()
    compiled: Any = torch.compile(model, backend="eager")
    if in_place:
        model.compile(backend="eager")
        compiled = model
    engine = Engine(lambda engine, x: compiled(x).sum().backward())
    with ActivationMonitor(writer, model=compiled).attach(engine):
        engine.run([X] * 3)
    torch._dynamo.reset()
    assert writer.scalars == {}
    [line] = [record.getMessage() for record in caplog.records if record.name == "trainkit"]
    assert "torch.compile has compiled as a whole" in line


@pytest.mark.parametrize("odd", ["torch.save", "pickle", "deepcopy", "copy", "torch.export"])
def test_within_a_step_of_a_program_that_compiles(odd: str) -> None:
    """There hooks are on the modules within the step: those of copies are without effect."""
    torch._dynamo.reset()
    torch.compile(lambda x: x, backend="eager")
    model, writer = nn.Sequential(nn.Identity(), nn.ReLU()), MemoryWriter()

    def copies() -> list[nn.Module]:
        if odd == "torch.save":
            file = io.BytesIO()
            torch.save(model, file)
            assert b"trainkit" not in file.getvalue()
            file.seek(0)
            return [torch.load(file, weights_only=False)]
        if odd == "pickle":
            return [pickle.loads(pickle.dumps(model))]
        if odd == "torch.export":
            torch.export.export(model, (100 * X,))
            return []
        return [copy.deepcopy(model)]

    def step(engine: Engine, x: Tensor) -> None:
        model(x)
        for twin in copies():
            assert torch.equal(twin(100 * x), 100 * x)

    engine = Engine(step)
    with ActivationMonitor(writer, model=model).attach(engine):
        engine.run([X] * 3)
    torch._dynamo.reset()
    clean(model)
    assert writer.scalars["tensors.activations.mean/0"] == [(1, 1.0), (2, 1.0), (3, 1.0)]


@pytest.mark.parametrize("compiles", [False, True])
def test_the_fast_path_for_inference_stays_on(compiles: bool) -> None:
    """Hooks on `self_attn.out_proj`, which is never called, would switch it off."""
    torch._dynamo.reset()
    if compiles:
        torch.compile(lambda x: x, backend="eager")
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    x, taken, writer = torch.randn(2, 3, 8), [], MemoryWriter()

    def evaluate() -> None:
        model.eval()
        with torch.inference_mode(), torch.profiler.profile() as profile:
            model(x)
        model.train()
        names = {event.key for event in profile.key_averages()}
        taken.append("aten::_transformer_encoder_layer_fwd" in names)

    def step(engine: Engine, batch: Tensor) -> None:
        if not compiles:
            evaluate()
        model(batch).sum().backward()

    engine = Engine(step)
    ActivationMonitor(writer, model=model, every=2).attach(engine)
    engine.add_event_handler(Events.ITERATION_STARTED, evaluate)
    engine.add_event_handler(Events.ITERATION_COMPLETED, evaluate)
    engine.run([x] * 3)
    torch._dynamo.reset()
    assert len(taken) == (6 if compiles else 9)
    assert all(taken)
    seen = {tag.split("/")[1] for tag in writer.scalars}
    assert {"linear1", "norm2"} <= seen
    assert "self_attn.out_proj" not in seen


@pytest.mark.parametrize("every", [None, 1, 2])
def test_training_is_bit_identical(every: int | None) -> None:
    def weights(every: int | None) -> list[Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.3),
            nn.Flatten(), nn.Linear(36, 2), nn.Sigmoid(),
        )  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters())

        def step(engine: Engine, x: Tensor) -> None:
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()

        engine = Engine(step)
        if every is not None:
            ActivationMonitor(MemoryWriter(), every, model=model).attach(engine)
        engine.run(torch.randn(4, 8, 1, 5, 5))
        return [*model.state_dict().values(), torch.get_rng_state()]

    for one, other in zip(weights(None), weights(every), strict=True):
        assert torch.equal(one, other)


# An interrupt in what clears up a generator is swallowed by Python.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("compiles", [False, True])
def test_an_interrupt_at_any_line_leaves_nothing(compiles: bool) -> None:
    """Ctrl-C once at each line of ours that is executed in a run of one sampled iteration."""
    torch._dynamo.reset()
    if compiles:
        torch.compile(lambda x: x, backend="eager")
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def run(line: int) -> int:
        """Interrupt at this one of the lines; how many there were until then."""
        lines = 0

        def trace(frame: Any, event: str, argument: Any) -> Any:
            nonlocal lines
            # Within the call itself Python looks for signals in the functions that it calls.
            if not frame.f_globals.get("__name__", "").startswith("trainkit.handlers") or (
                frame.f_code.co_name == "__call__"
                and frame.f_code.co_filename.endswith("around.py")
            ):
                return None
            lines += 1
            if lines == line:
                raise KeyboardInterrupt
            return trace

        engine = Engine(lambda engine, x: model(x).sum().backward())
        handle = ActivationMonitor(MemoryWriter(), model=model).attach(engine)
        before = sys.gettrace()
        try:
            sys.settrace(trace)
            engine.run([X])
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
            clean(model)
            handle.remove()
        assert engine._process_function.__name__ == "<lambda>"
        return lines

    run(0)
    lines = run(0)
    assert lines > 200
    for line in range(1, lines + 1):
        assert run(line) >= line
    torch._dynamo.reset()


def test_a_hook_that_stayed_takes_itself_away() -> None:
    torch._dynamo.reset()
    heard: list[str] = []
    model = Network()
    calls = ForwardCalls(lambda module, output: heard.append(type(module).__name__))
    calls.open(model.modules())
    [(key, hook)] = torch_module._global_forward_hooks.items()
    calls.close()
    clean(model)
    torch_module._global_forward_hooks[key] = hook
    model(X)
    clean(model)
    assert heard == []


def test_lists_of_parameters_are_no_modules_of_their_own() -> None:
    class Direct(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.ParameterList([torch.ones(2)])
            self.more = nn.ParameterDict({"offset": torch.ones(2)})

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weights[0] + self.more["offset"]

    model, writer = nn.Sequential(Direct(), nn.ReLU()), MemoryWriter()
    trainer = Engine(lambda engine, x: model(x).sum().backward())
    ActivationMonitor(writer, model=model).attach(trainer)
    trainer.run([torch.tensor([[2.0, 4.0]])])
    assert writer.scalars["tensors.activations.mean/0"] == [(1, 4.0)]
