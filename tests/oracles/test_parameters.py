"""Gradients, weights and updates against brute force: models x optimizers x loops."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim import Optimizer

from tests.handlers.leftovers import leftovers
from tests.oracles.probe import Probe
from trainkit import GradientMonitor, MemoryWriter, UpdateMonitor, WeightMonitor

Batch = tuple[Tensor, Tensor]
Step = Callable[[Engine, Batch], None]


class Tied(nn.Module):
    """Weights used twice, frozen, unused, empty and 0-d."""

    def __init__(self, sparse: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(12, 6, sparse=sparse)
        self.norm = nn.LayerNorm(6)
        self.frozen = nn.Linear(6, 6)
        self.frozen.requires_grad_(False)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.unused = nn.Parameter(torch.ones(3))
        self.empty = nn.Parameter(torch.zeros(0, 4))
        self.head = nn.Linear(6, 12)
        if not sparse:
            self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        h = self.frozen(self.norm(self.table((x.abs() * 3).long().clamp(max=11)).mean(1)))
        return self.head(h * self.scale)[:, :3] + self.empty.sum()


class Complex(nn.Module):
    """Complex weights between real ones."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 3)
        self.phase = nn.Parameter(torch.randn(3, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return (self.inner(x) * self.phase).abs()


def zero_head() -> nn.Module:
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    return model


class Special(nn.Parameter):
    """As of a library that loads weights."""


def with_own_type(model: nn.Linear) -> nn.Module:
    model.weight = Special(model.weight.detach())
    return model


def with_columns(model: nn.Linear) -> nn.Module:
    """Weights that are every other column of a wider matrix, with gradients as dense as ever."""
    model.weight = nn.Parameter(torch.randn(3, 10)[:, ::2])
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Flatten(),
        nn.Linear(12, 3),
    ),
    "tied": Tied,
    "complex": Complex,
    "zero head": zero_head,
    "double": lambda: nn.Linear(5, 3).double(),
    "bfloat16": lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).bfloat16(),
    "half": lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).half(),
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(5, 3)),
    "spectral norm": lambda: nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, 3)
    ),
    "own type": lambda: with_own_type(nn.Linear(5, 3)),
    "strided": lambda: with_columns(nn.Linear(5, 3)),
}  # fmt: skip

OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2),
    "fused adam": lambda p: torch.optim.Adam(p, lr=1e-2, fused=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2),
    "foreach": lambda p: torch.optim.AdamW(p, lr=1e-2, foreach=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3),
}


class Program:
    """A loop of somebody who never heard of monitors, with a probe at the moments that matter."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, loop: str) -> None:
        self.model, self.optimizer, self.loop = model, optimizer, loop
        self.probe = Probe(model)
        self.loss_fn = nn.CrossEntropyLoss()
        self.k = 3 if loop == "accumulation" else 1
        scale = {"scaler 1": 1.0, "scaler 65536": 65536.0}.get(loop)
        self.scaler = torch.amp.GradScaler(
            "cpu", enabled=scale is not None, init_scale=scale or 1.0, growth_interval=10**6
        )
        self.engine = Engine(self.step)

    def loss(self, batch: Batch) -> Tensor:
        x, y = batch
        x = x.to(next(p for p in self.model.parameters() if not p.is_complex()).dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.loop == "bf16"):
            y_pred = self.model(x)
        return self.loss_fn(y_pred.float() if self.loop == "bf16" else y_pred, y)

    def step(self, engine: Engine, batch: Batch) -> None:
        i = engine.state.iteration
        if (i - 1) % self.k == 0:
            self.optimizer.zero_grad()
        self.scaler.scale(self.loss(batch) / self.k).backward()
        if i % self.k:
            return
        self.probe.after_backward(self.scaler.get_scale())
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.loop == "clip norm":
            nn.utils.clip_grad_norm_(parameters, 0.05)
        elif self.loop == "clip norm in vain":
            nn.utils.clip_grad_norm_(parameters, 1e4)
        elif self.loop == "clip value":
            nn.utils.clip_grad_value_(parameters, 0.02)
        elif self.loop == "clip per group":
            nn.utils.clip_grad_norm_(parameters[:1], 0.01)
        self.probe.before_step()
        self.scaler.step(self.optimizer)
        self.probe.after_step(i)
        self.scaler.update()


LOOPS = (
    "plain",
    "clip norm",
    "clip norm in vain",
    "clip value",
    "clip per group",
    "accumulation",
    "scaler 1",
    "scaler 65536",
    "bf16",
)


def batches(n: int = 6) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(4, 5, generator=generator), torch.randint(0, 3, (4,), generator=generator))
        for _ in range(n)
    ]


def watched(program: Program, every: int = 1) -> MemoryWriter:
    before = leftovers(program.model, program.optimizer, program.engine)  # of weight_norm, say
    writer = MemoryWriter()
    handles = [
        monitor(writer, every, model=program.model, optimizers=program.optimizer).attach(
            program.engine
        )
        for monitor in (GradientMonitor, WeightMonitor, UpdateMonitor)
    ]
    program.engine.run(batches())
    for handle in handles:
        handle.remove()
    assert not set(leftovers(program.model, program.optimizer, program.engine)) - set(before)
    return writer


def agree(writer: MemoryWriter, program: Program, rel: float = 1e-5) -> None:
    assert program.probe.steps
    for iteration, truth in program.probe.steps.items():
        found = {tag: dict(points).get(iteration) for tag, points in writer.scalars.items()}
        expected = truth.expected()
        for tag, value in expected.items():
            assert found[tag] == pytest.approx(value, rel=rel, abs=3e-7), (iteration, tag)
        # And nothing else: no series of what has no gradient, or no elements.
        written = {t for t, v in found.items() if v is not None and t != "updates/skipped"}
        assert written == set(expected)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_loop_and_optimizer(loop: str, optimizer: str) -> None:
    torch.manual_seed(0)
    model = MODELS["mlp"]()
    program = Program(model, OPTIMIZERS[optimizer](model.parameters()), loop)
    agree(watched(program), program, rel=1e-4 if loop == "bf16" else 1e-5)


# torch neither unscales nor clips complex gradients everywhere.
KINDS = [
    (model, loop)
    for model in MODELS
    for loop in ("plain", "accumulation", "clip norm", "scaler 65536")
    if (model, loop) != ("half", "scaler 65536")  # it overflows
    if model != "complex" or loop in ("plain", "accumulation")
]


@pytest.mark.parametrize(("model", "loop"), KINDS)
def test_every_kind_of_parameter(model: str, loop: str) -> None:
    torch.manual_seed(0)
    made = MODELS[model]()
    program = Program(made, OPTIMIZERS["sgd"](made.parameters()), loop)
    agree(watched(program), program, rel=2e-5)


@pytest.mark.parametrize("model", ["weight norm", "spectral norm"])
def test_names_are_those_of_named_parameters(model: str) -> None:
    made = MODELS[model]()
    writer = watched(Program(made, torch.optim.SGD(made.parameters(), lr=0.1), "plain"))
    for section in ("tensors.gradients.norm/", "tensors.weights.norm/", "tensors.updates.ratio/"):
        found = {tag.removeprefix(section) for tag in writer.scalars if tag.startswith(section)}
        assert found == {name for name, _ in made.named_parameters()}
        assert any("parametrizations.weight.original" in name for name in found)


def test_optimizers_that_share_parameters() -> None:
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    optimizers = {
        "weight": torch.optim.SGD([model.weight], lr=0.1),
        "both": torch.optim.SGD(model.parameters(), lr=1.0),
    }
    moved: dict[str, dict[int, float]] = {"weight": {}, "both": {}}
    seen: dict[int, float] = {}

    def step(engine: Engine, batch: Batch) -> None:
        model.zero_grad()
        nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
        assert model.weight.grad is not None
        seen[engine.state.iteration] = model.weight.grad.norm().item()
        for name, optimizer in optimizers.items():
            before = model.weight.detach().double().clone()
            optimizer.step()
            distance = (model.weight.detach().double() - before).norm() / before.norm()
            moved[name][engine.state.iteration] = distance.item()

    writer, engine = MemoryWriter(), Engine(step)
    for monitor in (GradientMonitor, UpdateMonitor, WeightMonitor):
        monitor(writer, model=model, optimizers=optimizers).attach(engine)
    engine.run(batches())
    for name in optimizers:
        ratios = dict(writer.scalars[f"tensors.updates.ratio/{name}/weight"])
        assert ratios == pytest.approx(moved[name], rel=1e-4)
        norms = dict(writer.scalars[f"tensors.gradients.norm/{name}/weight"])
        assert norms == pytest.approx(seen, rel=1e-5)
    whole = nn.utils.get_total_norm([p.detach() for p in model.parameters()]).item()
    assert writer.scalars["weights/global_norm"][-1] == (6, pytest.approx(whole, rel=1e-6))


@pytest.mark.parametrize("taken", ["before the step", "between", "by hand"])
def test_clipped_is_about_gradients_that_were_there_both_times(taken: str) -> None:
    model = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine: Engine, batch: Batch) -> None:
        model.zero_grad()
        nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
        if taken == "between" or (taken == "before the step" and engine.state.iteration > 1):
            model[1].weight.grad = None
        if taken == "by hand":
            model[1].weight.grad = torch.ones(3, 3)
        optimizer.step()

    writer, engine = MemoryWriter(), Engine(step)
    GradientMonitor(writer, model=model, optimizers=optimizer).attach(engine)
    engine.run(batches())
    assert [value for _, value in writer.scalars["gradients/clipped"]] == [0.0] * 6


def test_sparse_gradients() -> None:
    torch.manual_seed(0)
    model = Tied(sparse=True)
    others = [p for p in model.parameters() if p is not model.table.weight]
    program = Program(model, torch.optim.SGD([model.table.weight, *others], lr=0.1), "plain")
    writer = watched(program)
    agree(writer, program)
    # Rows of the table that no sample used: zeros that the gradient does not store.
    assert all(
        value > 0 for _, value in writer.scalars["tensors.gradients.zero_fraction/table.weight"]
    )


def test_sparse_adam() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(12, 6, sparse=True), nn.Flatten(), nn.LazyLinear(3))
    model(torch.zeros(1, 5, dtype=torch.long))
    model[2].requires_grad_(False)
    program = Program(model, torch.optim.SparseAdam(model[0].parameters(), lr=0.1), "plain")
    program.loss = lambda batch: nn.functional.cross_entropy(
        model((batch[0].abs() * 3).long().clamp(max=11)), batch[1]
    )  # type: ignore[method-assign]
    agree(watched(program), program)


def test_parameter_groups_with_learning_rates_of_their_own() -> None:
    torch.manual_seed(0)
    model = MODELS["mlp"]()
    groups = [
        {"params": list(model[0].parameters()), "lr": 1.0},
        {"params": list(model[2:].parameters()), "lr": 1e-4, "weight_decay": 0.5},
    ]
    program = Program(model, torch.optim.AdamW(groups), "clip per group")
    agree(watched(program), program, rel=1e-4)


def test_accumulation_is_the_gradient_of_the_one_big_batch() -> None:
    torch.manual_seed(0)
    model = MODELS["mlp"]()
    program = Program(model, torch.optim.SGD(model.parameters(), lr=0.0), "accumulation")
    writer = watched(program)
    x, y = (torch.cat(part).double() for part in zip(*batches()[:3], strict=True))
    big = MODELS["mlp"]().double()
    big.load_state_dict({k: v.double() for k, v in model.state_dict().items()})
    nn.CrossEntropyLoss()(big(x), y.long()).backward()
    points = {tag: dict(p) for tag, p in writer.scalars.items()}
    assert list(points["gradients/global_norm"]) == [3, 6]
    for name, p in big.named_parameters():
        assert p.grad is not None
        expected = p.grad.norm().item()
        assert points[f"tensors.gradients.norm/{name}"][3] == pytest.approx(expected, rel=1e-6)


def test_a_skipped_step_is_logged_as_skipped_and_not_as_an_update_of_zero() -> None:
    torch.manual_seed(0)
    model = MODELS["mlp"]()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)

    def step(engine: Engine, batch: Batch) -> None:
        optimizer.zero_grad()
        x, y = batch
        loss = nn.functional.cross_entropy(model(x), y)
        scaler.scale(loss * (torch.inf if engine.state.iteration == 3 else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()

    writer, engine = MemoryWriter(), Engine(step)
    GradientMonitor(writer, model=model, optimizers=optimizer).attach(engine)
    UpdateMonitor(writer, model=model, optimizers=optimizer).attach(engine)
    engine.run(batches())
    points = {tag: dict(p) for tag, p in writer.scalars.items()}
    assert points["updates/skipped"] == {1: 0, 2: 0, 3: 1, 4: 0, 5: 0, 6: 0}
    assert list(points["updates/global_ratio"]) == [1, 2, 4, 5, 6]
    assert list(points["gradients/global_norm"]) == [1, 2, 4, 5, 6]
    assert not torch.tensor(points["gradients/global_norm_raw"][3]).isfinite()
    assert points["gradients/non_finite"][3] > 0


def test_two_optimizers_with_clocks_of_their_own() -> None:
    torch.manual_seed(0)
    models = {"a": nn.Linear(5, 3), "b": nn.Linear(5, 3)}
    optimizers = {name: torch.optim.Adam(m.parameters(), lr=1e-2) for name, m in models.items()}
    truth: dict[str, dict[int, float]] = {"a": {}, "b": {}}

    def step(engine: Engine, batch: Batch) -> None:
        x, y = batch
        for name in ("a", "b"):
            if name == "b" and engine.state.iteration % 2:
                continue
            # What the other network gets on the way is not its own gradient.
            for optimizer in optimizers.values():
                optimizer.zero_grad()
            both = models["a"](x) + models["b"](x) * (2 if name == "a" else 1)
            nn.functional.cross_entropy(both, y).backward()
            parameters = list(models[name].parameters())
            truth[name][engine.state.iteration] = nn.utils.get_total_norm(
                [p.grad for p in parameters if p.grad is not None]
            ).item()
            optimizers[name].step()

    writer, engine = MemoryWriter(), Engine(step)
    for monitor in (GradientMonitor, UpdateMonitor, WeightMonitor):
        monitor(writer, model=models, optimizers=optimizers).attach(engine)
    engine.run(batches())
    for name in ("a", "b"):
        points = dict(writer.scalars[f"gradients/{name}/global_norm"])
        # b's monitor stays armed over the iterations in which b does not step.
        assert points == pytest.approx(truth[name], rel=1e-5)
        assert f"tensors.gradients.norm/{name}/weight" in writer.scalars
        assert f"tensors.updates.ratio/{name}/weight" in writer.scalars
        assert f"weights/{name}/global_norm" in writer.scalars


@pytest.mark.parametrize("loop", ["plain", "clip norm", "accumulation", "scaler 65536", "bf16"])
def test_training_is_bit_identical(loop: str) -> None:
    states = []
    for monitored in (False, True):
        torch.manual_seed(0)
        model = MODELS["mlp"]()
        program = Program(model, OPTIMIZERS["adam"](model.parameters()), loop)
        if monitored:
            watched(program)
        else:
            program.engine.run(batches())
        states.append([*model.state_dict().values(), *(p.grad for p in model.parameters())])
    for a, b in zip(*states, strict=True):
        assert torch.equal(a, b)


def test_parameters_that_come_later_and_lazy_ones() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 3))
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1)
    program = Program(model, optimizer, "plain")

    def step(engine: Engine, batch: Batch) -> None:
        if engine.state.iteration == 3:
            optimizer.add_param_group({"params": list(model[0].parameters()), "lr": 0.01})
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()

    program.engine = Engine(step)
    points = {tag: dict(p) for tag, p in watched(program).scalars.items()}
    assert list(points["tensors.gradients.norm/1.weight"]) == [1, 2, 3, 4, 5, 6]
    assert list(points["tensors.gradients.norm/0.weight"]) in ([3, 4, 5, 6], [4, 5, 6])
    assert list(points["tensors.weights.norm/0.weight"]) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_models_have_the_same_numbers_and_are_not_compiled_again(backend: str) -> None:
    torch.manual_seed(0)
    model = MODELS["mlp"]()
    program = Program(model, OPTIMIZERS["adam"](model.parameters()), "clip norm")
    compiled = torch.compile(model, backend=backend)
    program.model = compiled  # names are then `_orig_mod.…`; the probe knows the plain ones
    torch._dynamo.utils.counters.clear()
    writer = MemoryWriter()
    for monitor in (GradientMonitor, WeightMonitor, UpdateMonitor):
        monitor(writer, 2, model=compiled, optimizers=program.optimizer).attach(program.engine)
    program.engine.run(batches())
    for iteration in (1, 2, 4, 6):
        found = {tag: dict(points).get(iteration) for tag, points in writer.scalars.items()}
        for tag, value in program.probe.steps[iteration].expected().items():
            assert found[tag] == pytest.approx(value, rel=1e-5, abs=3e-7), (iteration, tag)
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    torch._dynamo.reset()


def test_an_optimizer_whose_step_makes_the_gradients() -> None:
    torch.manual_seed(0)
    model = MODELS["mlp"]()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)
    moved: dict[int, float] = {}
    left: dict[int, float] = {}

    def step(engine: Engine, batch: Batch) -> None:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            return loss

        before = nn.utils.parameters_to_vector(model.parameters()).detach().double()
        optimizer.step(closure)
        after = nn.utils.parameters_to_vector(model.parameters()).detach().double()
        moved[engine.state.iteration] = ((after - before).norm() / before.norm()).item()
        left[engine.state.iteration] = nn.utils.get_total_norm(
            [p.grad for p in model.parameters() if p.grad is not None]
        ).item()

    writer, engine = MemoryWriter(), Engine(step)
    for monitor in (GradientMonitor, UpdateMonitor):
        monitor(writer, model=model, optimizers=optimizer).attach(engine)
    engine.run(batches())
    assert dict(writer.scalars["updates/global_ratio"]) == pytest.approx(moved, rel=1e-4)
    seen = dict(writer.scalars["gradients/global_norm"])
    assert seen == pytest.approx(left, rel=1e-5)


def test_ten_thousand_parameters_become_modules_pooled_exactly() -> None:
    torch.manual_seed(0)
    model = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)) for _ in range(200))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine: Engine, batch: Tensor) -> None:
        sum(part(batch).sum() for part in model).backward()
        optimizer.step()

    writer, engine = MemoryWriter(), Engine(step)
    for monitor in (GradientMonitor, WeightMonitor, UpdateMonitor):
        monitor(writer, model=model, optimizers=optimizer).attach(engine)
    before = [nn.utils.parameters_to_vector(part.parameters()).detach() for part in model]
    engine.run([torch.ones(3, 2)])
    after = [nn.utils.parameters_to_vector(part.parameters()).detach() for part in model]
    names = [tag for tag in writer.scalars if tag.startswith("tensors.gradients.norm/")]
    modules = [name for name in names if not name.endswith(("weight", "bias"))]
    assert len(modules) == 200
    # And the parameters with the largest gradients and updates, by name.
    norms = {n: p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None}
    largest = sorted(norms.values())[-5:]
    worst = [writer.scalars[name][0][1] for name in names if name not in modules]
    assert sorted(worst) == pytest.approx(largest, rel=1e-6)
    assert len([tag for tag in writer.scalars if tag.startswith("tensors.updates.ratio/")]) == 205
    for i in (0, 7, 199):
        gradient = torch.cat([p.grad.flatten() for p in model[i].parameters()]).double()
        for tag, value in {
            f"tensors.gradients.norm/{i}": gradient.norm(),
            f"tensors.gradients.mean/{i}": gradient.mean(),
            f"tensors.gradients.std/{i}": gradient.std(correction=0),
            f"tensors.gradients.max_abs/{i}": gradient.abs().max(),
            f"tensors.weights.std/{i}": after[i].std(correction=0),
            f"tensors.updates.ratio/{i}": (after[i] - before[i]).norm() / before[i].norm(),
        }.items():
            assert writer.scalars[tag][0][1] == pytest.approx(value.item(), rel=1e-5), tag


def test_not_every_iteration_and_names_chosen() -> None:
    torch.manual_seed(0)
    model = MODELS["mlp"]()
    program = Program(model, OPTIMIZERS["sgd"](model.parameters()), "plain")
    writer = MemoryWriter()
    GradientMonitor(
        writer, 3, model=model, optimizers=program.optimizer, include=["*.weight"], exclude=["0.*"]
    ).attach(program.engine)
    program.engine.run(batches())
    names = {tag for tag in writer.scalars if tag.startswith("tensors.gradients.norm/")}
    assert names == {"tensors.gradients.norm/2.weight", "tensors.gradients.norm/3.weight"}
    for iteration, value in writer.scalars["gradients/global_norm"]:
        truth = program.probe.steps[iteration]
        assert value == pytest.approx(truth.global_norm(truth.seen), rel=1e-5)
    assert [i for i, _ in writer.scalars["gradients/global_norm"]] == [1, 3, 6]
