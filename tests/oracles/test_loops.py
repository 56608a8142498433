"""Loops that do it differently: whatever they do, the numbers are those of the optimizer's step."""

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ignite.engine import Engine, create_supervised_trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

from tests.handlers.leftovers import leftovers
from tests.oracles.probe import to_numpy
from trainkit import (
    GradientMonitor,
    HyperparameterMonitor,
    MemoryWriter,
    UpdateMonitor,
    WeightMonitor,
)
from trainkit.stats import Snapshot

Batch = tuple[Tensor, Tensor]
Points = dict[str, dict[int, float]]


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


def batches(n: int = 6) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(4, 5, generator=generator), torch.randint(0, 3, (4,), generator=generator))
        for _ in range(n)
    ]


def norm(parameters: Any, scale: float = 1.0) -> float:
    """By definition, in float64."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return float(sum((to_numpy(g) ** 2).sum() for g in gradients) ** 0.5 / scale)


def watch(
    engine: Engine, model: Any, optimizers: Any, *, every: int = 1, n: int = 6, **more: Any
) -> Points:
    """Run the engine with all three monitors; tag → iteration → value."""
    writer = MemoryWriter()
    monitors = [
        GradientMonitor(writer, every, model=model, optimizers=optimizers, **more),
        UpdateMonitor(writer, every, model=model, optimizers=optimizers, **more),
        WeightMonitor(writer, every, model=model, optimizers=optimizers),
    ]
    handles = [monitor.attach(engine) for monitor in monitors]
    engine.run(batches(n))
    for monitor, handle in zip(monitors, handles, strict=True):
        assert monitor.guard.failure is None
        handle.remove()
    watched = [model] if isinstance(model, nn.Module) else list(model.values())
    watched += [optimizers] if isinstance(optimizers, Optimizer) else list(optimizers.values())
    assert leftovers(engine, *watched) == []
    return {tag: dict(points) for tag, points in writer.scalars.items()}


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


@pytest.mark.parametrize("name", ["sgd", "lbfgs"])
def test_a_closure_within_the_step(name: str) -> None:
    model = mlp()
    make: dict[str, Callable[[], Optimizer]] = {
        "sgd": lambda: torch.optim.SGD(model.parameters(), lr=0.1),
        "lbfgs": lambda: torch.optim.LBFGS(model.parameters(), max_iter=3),
    }
    optimizer = make[name]()
    raw: dict[int, float] = {}
    seen: dict[int, float] = {}

    def step(engine: Engine, batch: Batch) -> None:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = cross_entropy(model, batch)
            loss.backward()
            raw[engine.state.iteration] = norm(model.parameters())
            nn.utils.clip_grad_norm_(model.parameters(), 0.3)
            seen[engine.state.iteration] = norm(model.parameters())
            return loss

        optimizer.step(closure)

    points = watch(Engine(step), model, optimizer)
    assert points["gradients/global_norm_raw"] == pytest.approx(raw, rel=1e-5)
    assert points["gradients/global_norm"] == pytest.approx(seen, rel=1e-5)
    assert points["gradients/clipped"] == {i: float(raw[i] > 0.3) for i in raw}
    assert set(points["tensors.updates.ratio/0.weight"]) == set(raw)


def test_a_closure_that_leaves_a_parameter_alone() -> None:
    model = mlp()
    model.register_parameter("unused", nn.Parameter(torch.ones(2)))
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)

    def step(engine: Engine, batch: Batch) -> None:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = cross_entropy(model, batch)
            loss.backward()
            return loss

        optimizer.step(closure)

    points = watch(Engine(step), model, optimizer)
    for tag in ("tensors.updates.ratio", "tensors.gradients.norm"):
        assert f"{tag}/0.weight" in points
        assert f"{tag}/unused" not in points
    assert "tensors.weights.norm/unused" in points


def test_a_gradient_that_is_taken_away_and_one_that_is_put_in() -> None:
    model = nn.ModuleDict({name: nn.Linear(5, 3, bias=False) for name in ("a", "b", "c")})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine: Engine, batch: Batch) -> None:
        optimizer.zero_grad()
        (model["a"](batch[0]) + 0.5 * model["b"](batch[0])).square().sum().backward()
        model["c"].weight.grad = 2 * model["a"].weight.grad
        model["a"].weight.grad = None  # c has twice its norm: in all, nothing got smaller
        optimizer.step()

    points = watch(Engine(step), model, optimizer)
    assert set(points["gradients/clipped"].values()) == {0.0}
    assert "tensors.gradients.norm/a.weight" not in points


class Scaled:
    """A loop with a loss scaler that it keeps where nobody looks, or where anybody would."""

    def __init__(self, hidden: bool, optimizer: str = "sgd", bad: tuple[int, ...] = ()) -> None:
        self.model = mlp()
        fused = {"lr": 0.01, "fused": True}
        self.optimizer: Optimizer = (
            torch.optim.Adam(self.model.parameters(), **fused)
            if optimizer == "fused"
            else torch.optim.SGD(self.model.parameters(), lr=0.1)
        )
        self.hidden = [[torch.amp.GradScaler("cpu", init_scale=65536.0)]]
        if not hidden:
            self.scaler = self.hidden[0][0]
        self.bad = bad
        self.every = 1
        self.raw: dict[int, float] = {}
        self.moved: dict[int, float] = {}
        self.engine = Engine(self.step)

    def step(self, engine: Engine, batch: Batch) -> None:
        i, scaler = engine.state.iteration, self.hidden[0][0]
        loss = cross_entropy(self.model, batch) * (torch.inf if i in self.bad else 1.0)
        scaler.scale(loss / self.every).backward()
        if i % self.every:
            return
        self.raw[i] = norm(self.model.parameters(), scaler.get_scale())
        before = nn.utils.parameters_to_vector(self.model.parameters()).detach().double()
        scaler.step(self.optimizer)
        scaler.update()
        self.optimizer.zero_grad()  # when the iteration ends, there is nothing left to see
        after = nn.utils.parameters_to_vector(self.model.parameters()).detach().double()
        self.moved[i] = float((after - before).norm() / before.norm())


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "fused"])
def test_a_scaler_that_nobody_mentioned(hidden: bool, optimizer: str) -> None:
    loop = Scaled(hidden, optimizer)
    points = watch(loop.engine, loop.model, loop.optimizer)
    assert points["gradients/global_norm_raw"] == pytest.approx(loop.raw, rel=1e-5)
    assert points["gradients/global_norm"] == pytest.approx(loop.raw, rel=1e-5)
    assert points["gradients/clipped"] == dict.fromkeys(range(1, 7), 0.0)
    assert points["updates/skipped"] == dict.fromkeys(range(1, 7), 0.0)
    assert points["updates/global_ratio"] == pytest.approx(loop.moved, rel=1e-4)


def test_the_very_first_step_is_skipped() -> None:
    loop = Scaled(hidden=False, bad=(1, 4))
    points = watch(loop.engine, loop.model, loop.optimizer)
    assert points["updates/skipped"] == {1: 1, 2: 0, 3: 0, 4: 1, 5: 0, 6: 0}
    assert set(points["gradients/global_norm"]) == {2, 3, 5, 6}
    assert set(points["tensors.updates.ratio/0.weight"]) == {2, 3, 5, 6}
    good = {i: value for i, value in loop.raw.items() if i not in loop.bad}
    raw = points["gradients/global_norm_raw"]
    assert {i: raw[i] for i in good} == pytest.approx(good, rel=1e-5)
    elements = sum(p.numel() for p in loop.model.parameters())
    assert points["gradients/non_finite"] == {1: elements, 2: 0, 3: 0, 4: elements, 5: 0, 6: 0}


def test_a_skipped_step_in_an_iteration_that_is_not_sampled() -> None:
    loop = Scaled(hidden=False, bad=(5,))
    loop.every = 3  # steps at 3 and 6; sampled are 1 and 4
    points = watch(loop.engine, loop.model, loop.optimizer, every=4)
    assert points["updates/skipped"] == {3: 0, 6: 1}
    assert set(points["updates/global_ratio"]) == {3}
    assert set(points["gradients/non_finite"]) == {3, 6}


def test_a_fused_optimizer_that_skips_within_its_step() -> None:
    loop = Scaled(hidden=True, optimizer="fused", bad=(3,))
    points = watch(loop.engine, loop.model, loop.optimizer)
    assert points["updates/skipped"] == {1: 0, 2: 0, 3: 1, 4: 0, 5: 0, 6: 0}
    ratio = torch.tensor([points["updates/global_ratio"][i] for i in range(1, 7)])
    assert ratio.isnan().tolist() == [False, False, True, False, False, False]


def test_the_logs_do_not_depend_on_the_scale() -> None:
    found = []
    for scale in (1.0, 65536.0):
        loop = Scaled(hidden=False)
        loop.scaler._init_scale = scale
        found.append(watch(loop.engine, loop.model, loop.optimizer))
    assert found[0] == found[1]  # a power of two: to the last bit


@pytest.mark.parametrize("scalers", [1, 2])
def test_two_optimizers_of_which_one_is_skipped(scalers: int) -> None:
    models = {"a": mlp(), "b": mlp()}
    optimizers = {n: torch.optim.SGD(m.parameters(), lr=0.1) for n, m in models.items()}
    one, two = (torch.amp.GradScaler("cpu", init_scale=s) for s in (2.0**10, 2.0**4))
    raw: dict[str, dict[int, float]] = {"a": {}, "b": {}}

    def step(engine: Engine, batch: Batch) -> None:
        for name, scaler in (("a", one), ("b", one if scalers == 1 else two)):
            optimizers[name].zero_grad()
            broken = name == "b" and engine.state.iteration == 2
            loss = cross_entropy(models[name], batch) * (torch.nan if broken else 1.0)
            scaler.scale(loss).backward()
            raw[name][engine.state.iteration] = norm(models[name].parameters(), scaler.get_scale())
            scaler.step(optimizers[name])
            scaler.update()

    points = watch(Engine(step), models, optimizers)
    assert points["updates/a/skipped"] == dict.fromkeys(range(1, 7), 0.0)
    assert points["updates/b/skipped"] == {1: 0, 2: 1, 3: 0, 4: 0, 5: 0, 6: 0}
    assert set(points["updates/b/global_ratio"]) == {1, 3, 4, 5, 6}
    for name in ("a", "b"):
        found = points[f"gradients/{name}/global_norm_raw"]
        assert found == pytest.approx(raw[name], rel=1e-5, nan_ok=True)


def test_a_backward_pass_through_the_other_network_is_no_skipped_step() -> None:
    models = {"a": mlp(), "b": nn.Linear(3, 3)}
    optimizers = {n: torch.optim.SGD(m.parameters(), lr=0.1) for n, m in models.items()}
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)

    def step(engine: Engine, batch: Batch) -> None:
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        y_pred = models["b"](models["a"](batch[0]))
        scaler.scale(nn.functional.cross_entropy(y_pred, batch[1])).backward()
        scaler.step(optimizers["a"])
        if engine.state.iteration % 3 == 0:
            scaler.step(optimizers["b"])
        scaler.update()

    points = watch(Engine(step), models, optimizers)
    assert points["updates/b/skipped"] == {3: 0, 6: 0}
    assert set(points["gradients/b/global_norm_raw"]) == {3, 6}


@pytest.mark.parametrize("k", [1, 2])
def test_ignites_own_trainer(k: int) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(
        model, optimizer, nn.CrossEntropyLoss(), gradient_accumulation_steps=k
    )
    other = mlp()
    expected = {}
    sgd = torch.optim.SGD(other.parameters(), lr=0.1)
    for i, group in enumerate(zip(*[iter(batches())] * k, strict=True), start=1):
        sgd.zero_grad()
        x, y = (torch.cat(part) for part in zip(*group, strict=True))
        cross_entropy(other, (x, y)).backward()
        expected[i * k] = norm(other.parameters())
        sgd.step()
    points = watch(trainer, model, optimizer)
    assert points["gradients/global_norm"] == pytest.approx(expected, rel=1e-5)
    assert points["gradients/global_norm_raw"] == pytest.approx(expected, rel=1e-5)


def test_optimizers_that_share_parameters_count_them_both() -> None:
    body, heads = mlp(), {"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)}
    models = {"body": body, **heads}
    optimizers = {
        n: torch.optim.SGD([*body.parameters(), *h.parameters()], lr=0.1) for n, h in heads.items()
    }
    expected: dict[str, dict[int, float]] = {"a": {}, "b": {}}

    def step(engine: Engine, batch: Batch) -> None:
        for name in ("a", "b"):
            optimizers[name].zero_grad()
            y_pred = heads[name](body(batch[0]))
            nn.functional.cross_entropy(y_pred, batch[1]).backward()
            mine = [*body.parameters(), *heads[name].parameters()]
            expected[name][engine.state.iteration] = norm(mine)
            optimizers[name].step()

    points = watch(Engine(step), models, optimizers)
    for name in ("a", "b"):
        assert points[f"gradients/{name}/global_norm"] == pytest.approx(expected[name], rel=1e-5)
        assert points[f"gradients/{name}/global_norm_raw"] == pytest.approx(
            expected[name], rel=1e-5
        )
        assert f"tensors.gradients.norm/{name}/body.0.weight" in points


def test_several_backward_passes_one_that_fails_and_gradients_of_gradients() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected: dict[int, float] = {}

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            raise ZeroDivisionError

    def step(engine: Engine, batch: Batch) -> None:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model[2](Fails.apply(model[:2](batch[0]))), batch[1])
        with pytest.raises(ZeroDivisionError):
            # The last layer has its gradient by then, the first one never gets it.
            loss.backward()
        optimizer.zero_grad()
        x = batch[0].clone().requires_grad_()
        loss = nn.functional.cross_entropy(model(x), batch[1])
        loss.backward(retain_graph=True)
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        (slope**2).sum().backward(retain_graph=True)
        loss.backward()
        expected[engine.state.iteration] = norm(model.parameters())
        optimizer.step()

    points = watch(Engine(step), model, optimizer)
    assert points["gradients/global_norm_raw"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_activations(reentrant: bool) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected: dict[int, float] = {}

    def step(engine: Engine, batch: Batch) -> None:
        optimizer.zero_grad()
        x = batch[0].clone().requires_grad_()
        y_pred = model[2](checkpoint(model[:2], x, use_reentrant=reentrant))
        nn.functional.cross_entropy(y_pred, batch[1]).backward()
        expected[engine.state.iteration] = norm(model.parameters())
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()

    points = watch(Engine(step), model, optimizer)
    assert points["gradients/global_norm_raw"] == pytest.approx(expected, rel=1e-5)
    assert set(points["gradients/clipped"].values()) == {1.0}


def test_gradients_set_by_hand_have_no_raw_norm() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine: Engine, batch: Batch) -> None:
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()

    points = watch(Engine(step), model, optimizer)
    elements = sum(p.numel() for p in model.parameters())
    assert points["gradients/global_norm"] == pytest.approx(
        dict.fromkeys(range(1, 7), elements**0.5), rel=1e-6
    )
    assert "gradients/global_norm_raw" not in points
    assert "gradients/clipped" not in points


def test_lazy_modules_from_their_first_forward_pass_on() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected: dict[int, float] = {}

    def step(engine: Engine, batch: Batch) -> None:
        optimizer.zero_grad()
        cross_entropy(model, batch).backward()
        expected[engine.state.iteration] = norm(model.parameters())
        optimizer.step()

    points = watch(Engine(step), model, optimizer)
    assert points["gradients/global_norm_raw"] == pytest.approx(expected, rel=1e-5)
    assert set(points["tensors.updates.ratio/0.weight"]) == set(expected)
    assert set(points["tensors.weights.norm/2.bias"]) == set(expected)


def test_several_steps_in_one_iteration_the_first_is_measured() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    expected: dict[int, float] = {}

    def step(engine: Engine, batch: Batch) -> None:
        for _ in range(3):
            optimizer.zero_grad()
            cross_entropy(model, batch).backward()
            expected.setdefault(engine.state.iteration, norm(model.parameters()))
            optimizer.step()

    points = watch(Engine(step), model, optimizer)
    assert points["gradients/global_norm"] == pytest.approx(expected, rel=1e-5)


def test_half_precision_weights_are_subtracted_in_float32() -> None:
    model = mlp().to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    expected: dict[int, float] = {}

    def step(engine: Engine, batch: Batch) -> None:
        optimizer.zero_grad()
        cross_entropy(model, (batch[0].bfloat16(), batch[1])).backward()
        before = to_numpy(model[0].weight)
        optimizer.step()
        moved = to_numpy(model[0].weight) - before
        expected[engine.state.iteration] = float((moved**2).sum() ** 0.5 / (before**2).sum() ** 0.5)

    points = watch(Engine(step), model, optimizer)
    assert points["tensors.updates.ratio/0.weight"] == pytest.approx(expected, rel=1e-6)


def test_parameters_of_several_precisions_and_one_that_is_replaced() -> None:
    model = nn.ModuleDict({"a": nn.Linear(5, 3), "b": nn.Linear(5, 3).double()})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected: dict[int, float] = {}

    def step(engine: Engine, batch: Batch) -> None:
        if engine.state.iteration == 4:  # of another size, under the same name
            model["a"] = nn.Linear(5, 4)
            optimizer.param_groups[0]["params"][:2] = model["a"].parameters()
        optimizer.zero_grad()
        total = model["a"](batch[0]).square().sum() + model["b"](batch[0].double()).square().sum()
        total.backward()
        expected[engine.state.iteration] = norm(model.parameters())
        optimizer.step()

    points = watch(Engine(step), model, optimizer)
    assert points["gradients/global_norm"] == pytest.approx(expected, rel=1e-5)
    assert set(points["tensors.updates.ratio/b.weight"]) == set(expected)


def test_a_step_that_raises_leaves_nothing_behind() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = UpdateMonitor(MemoryWriter(), model=model, optimizers=optimizer)

    def step(engine: Engine, batch: Batch) -> None:
        cross_entropy(model, batch).backward()
        saved, optimizer.param_groups[0]["lr"] = 0.1, "fast"
        with pytest.raises((TypeError, RuntimeError, ValueError)):
            optimizer.step()
        optimizer.param_groups[0]["lr"] = saved

    engine = Engine(step)
    with monitor.attach(engine):
        engine.run(batches(1))
        assert monitor.guard.failure is None
        gc.collect()
        assert not [x for x in gc.get_objects() if type(x) is Snapshot]  # the copy is freed
    assert leftovers(model, optimizer, engine) == []


def test_histograms_come_with_the_next_step_that_is_measured() -> None:
    model, writer = mlp(), MemoryWriter()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine: Engine, batch: Batch) -> None:
        cross_entropy(model, batch).backward()
        if engine.state.iteration % 3 == 0:
            optimizer.step()
            optimizer.zero_grad()

    engine = Engine(step)
    GradientMonitor(writer, 2, model=model, optimizers=optimizer, histograms_every=5).attach(engine)
    engine.run(batches(12))
    # Sampled: 1, 2, 4, ...; due in the first of them at or after 0, 5 and 10.
    found = writer.histograms["tensors.gradients.histogram/0.weight"]
    assert [i for i, _ in found] == [3, 6, 12]


def test_hooks_live_in_sampled_iterations_only() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found: dict[int, bool] = {}

    def step(engine: Engine, batch: Batch) -> None:
        found[engine.state.iteration] = bool(leftovers(model, optimizer))
        cross_entropy(model, batch).backward()
        optimizer.step()

    watch(Engine(step), model, optimizer, every=3, n=9)
    assert [i for i, live in found.items() if live] == [1, 3, 6, 9]
    accumulated: dict[int, bool] = {}

    def accumulate(engine: Engine, batch: Batch) -> None:
        accumulated[engine.state.iteration] = bool(leftovers(model, optimizer))
        cross_entropy(model, batch).backward()
        if engine.state.iteration % 4 == 0:
            optimizer.step()

    watch(Engine(accumulate), model, optimizer, every=5, n=9)
    # Sampled are 1 and 5; what they wait for comes at 4 and 8.
    assert [i for i, live in accumulated.items() if live] == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_critic_that_is_frozen_between_its_steps(every: int) -> None:
    critic, generator = mlp(), nn.Linear(5, 5)
    optimizers: dict[str, Optimizer] = {
        "critic": torch.optim.SGD(critic.parameters(), lr=0.1),
        "generator": torch.optim.SGD(generator.parameters(), lr=0.1),
    }
    raw: dict[int, float] = {}

    def step(engine: Engine, batch: Batch) -> None:
        critic.requires_grad_(True)
        critic.zero_grad()
        cross_entropy(critic, (generator(batch[0]).detach(), batch[1])).backward()
        raw[engine.state.iteration] = norm(critic.parameters())
        nn.utils.clip_grad_norm_(critic.parameters(), 0.1)
        optimizers["critic"].step()
        critic.requires_grad_(False)
        generator.zero_grad()
        (-critic(generator(batch[0])).mean()).backward()
        optimizers["generator"].step()

    points = watch(
        Engine(step), {"critic": critic, "generator": generator}, optimizers, every=every
    )
    sampled = {i: raw[i] for i in raw if i == 1 or i % every == 0}
    assert points["gradients/critic/global_norm_raw"] == pytest.approx(sampled, rel=1e-5)
    assert set(points["gradients/critic/clipped"].values()) == {1.0}
    assert not any(p.requires_grad for p in critic.parameters())


def test_layers_that_are_thawed_one_after_the_other() -> None:
    model = mlp().requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    raw: dict[int, float] = {}

    def step(engine: Engine, batch: Batch) -> None:
        if engine.state.iteration == 1:
            model[2].requires_grad_(True)  # type: ignore[index]
        if engine.state.iteration == 4:
            model.requires_grad_(True)
            model[2].requires_grad_(False)  # type: ignore[index]
        optimizer.zero_grad()
        cross_entropy(model, batch).backward()
        raw[engine.state.iteration] = norm(model.parameters())
        optimizer.step()

    points = watch(Engine(step), model, optimizer)
    assert points["gradients/global_norm_raw"] == pytest.approx(raw, rel=1e-5)
    assert set(points["tensors.gradients.norm/0.weight"]) == {4, 5, 6}
    assert set(points["tensors.gradients.norm/2.weight"]) == {1, 2, 3}


class Averaging(Optimizer):
    """As Horovod's: gradients are averaged within the step, before the step of the class below."""

    def __init__(self, optimizer: Optimizer) -> None:
        super(self.__class__, self).__init__(optimizer.param_groups)  # type: ignore[call-arg]

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.mul_(2.0)
        return super(self.__class__, self).step(closure)  # type: ignore[safe-super]


class Handing(Optimizer):
    """As Ignite's for XLA: another optimizer does the step."""

    def __init__(self, optimizer: Optimizer) -> None:
        super(self.__class__, self).__init__(optimizer.param_groups)  # type: ignore[call-arg]
        self.wrapped = optimizer

    def step(self, closure: Any = None) -> Any:
        return self.wrapped.step(closure)


@pytest.mark.parametrize(("wrapper", "factor"), [(Averaging, 2), (Handing, 1)])
def test_an_optimizer_made_of_another(wrapper: type[Optimizer], factor: float) -> None:
    # What ignite.distributed.auto_optim makes, where a backend needs it.
    model = mlp()
    inside = torch.optim.SGD(model.parameters(), lr=0.1)
    made = type("SGD", (torch.optim.SGD,), dict(wrapper.__dict__))(inside)
    raw: dict[int, float] = {}
    moved: dict[int, float] = {}

    def step(engine: Engine, batch: Batch) -> None:
        made.zero_grad()
        cross_entropy(model, batch).backward()
        raw[engine.state.iteration] = norm(model.parameters())
        before = [to_numpy(p) for p in model.parameters()]
        made.step()
        after = [to_numpy(p) for p in model.parameters()]
        distance = sum(((a - b) ** 2).sum() for a, b in zip(after, before, strict=True)) ** 0.5
        moved[engine.state.iteration] = distance / sum((b**2).sum() for b in before) ** 0.5

    points = watch(Engine(step), model, made)
    assert points["gradients/global_norm_raw"] == pytest.approx(raw, rel=1e-5)
    seen = {i: factor * value for i, value in raw.items()}
    assert points["gradients/global_norm"] == pytest.approx(seen, rel=1e-5)
    assert points["updates/global_ratio"] == pytest.approx(moved, rel=1e-4)


class Twice(Optimizer):
    """Steps another one twice, the second time with half of the gradient."""

    def __init__(self, inside: Optimizer) -> None:
        super().__init__(inside.param_groups, {})
        self.inside = inside

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.inside.step()
        for p in self.param_groups[0]["params"]:
            p.grad.mul_(0.5)
        self.inside.step()


@pytest.mark.parametrize("attached", [("outer",), ("inner",), ("outer", "inner")])
def test_an_optimizer_that_steps_another_one(attached: tuple[str, ...]) -> None:
    weight = nn.Parameter(torch.tensor([3.0]))
    inner = torch.optim.SGD([weight], lr=0.5)
    outer = Twice(inner)

    def step(engine: Engine, batch: Any) -> None:
        outer.zero_grad()
        (2 * weight).sum().backward()
        outer.step()

    made = {"outer": outer, "inner": inner}
    optimizers = {name: made[name] for name in attached}
    model, writer, trainer = nn.ParameterList([weight]), MemoryWriter(), Engine(step)
    for monitor in (GradientMonitor, UpdateMonitor):
        monitor(writer, model=model, optimizers=optimizers).attach(trainer)
    trainer.run([0])
    # Gradient 2: 3 → 2 → 1.5. The first step of the inner one is the one that is observed.
    moved = {"outer": 1.5 / 3, "inner": 1.0 / 3}
    for name in attached:
        place = f"{name}/" if len(attached) > 1 else ""
        assert writer.scalars[f"gradients/{place}global_norm"] == [(1, 2.0)]
        ratio = writer.scalars[f"updates/{place}global_ratio"]
        assert ratio == [(1, pytest.approx(moved[name]))]


@pytest.mark.parametrize("monitor", [GradientMonitor, UpdateMonitor, HyperparameterMonitor])
def test_an_optimizer_that_never_was_made_one(monitor: Any) -> None:
    class Facade(Optimizer):
        def __init__(self, optimizer: Optimizer) -> None:
            self.inside = optimizer
            self.param_groups = optimizer.param_groups

    model = mlp()
    wrapped = Facade(torch.optim.SGD(model.parameters(), lr=0.1))
    more = {"model": model} if monitor is not HyperparameterMonitor else {}
    with pytest.raises(TypeError, match=r"but Facade never .* that it wraps, its \.inside"):
        monitor(MemoryWriter(), optimizers=wrapped, **more)
