import copy
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from trainkit.engines import supervised_evaluator, supervised_trainer
from trainkit.engines.accumulation import Accumulation
from trainkit.losses import L2, Losses

Batch = tuple[Tensor, Tensor]


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


def batches(sizes: list[int], seed: int = 1) -> list[Batch]:
    g = torch.Generator().manual_seed(seed)
    return [(torch.randn(n, 5, generator=g), torch.randint(3, (n,), generator=g)) for n in sizes]


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


def gradients(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None])


def test_is_the_plain_loop_bit_by_bit() -> None:
    model, data = network(), batches([4, 4, 4, 2])
    twin = copy.deepcopy(model)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = supervised_trainer(model, sgd, nn.CrossEntropyLoss(), device="cpu")
    trainer.run(data, max_epochs=2)
    plain = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    for x, y in data * 2:
        plain.zero_grad()
        loss = nn.functional.cross_entropy(twin(x), y)
        loss.backward()
        plain.step()
    assert torch.equal(weights(model), weights(twin))
    assert torch.equal(gradients(model), gradients(twin))  # kept until the next iteration
    assert torch.equal(trainer.state.output["loss"], loss.detach())  # type: ignore[index]


def test_output_contract() -> None:
    model = network()
    losses = Losses({"ce": nn.CrossEntropyLoss(), "l2": {"weight": 0.1, "loss": L2(model)}})
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    (x, y) = batches([6])[0]
    expected = nn.functional.cross_entropy(model(x), y)
    trainer = supervised_trainer(model, sgd, losses, device="cpu")
    output: Any = trainer.run([(x, y)]).output
    assert set(output) == {"loss", "losses", "y_pred", "y"}
    assert list(output["losses"]) == ["ce", "l2"]
    assert torch.equal(output["loss"], output["losses"]["ce"] + output["losses"]["l2"])
    torch.testing.assert_close(output["losses"]["ce"], expected.detach())
    assert output["y_pred"].shape == (6, 3)
    assert torch.equal(output["y"], y)
    tensors = [output["loss"], output["y_pred"], output["y"], *output["losses"].values()]
    assert not any(t.requires_grad for t in tensors)


@pytest.mark.parametrize("sizes", [[4, 4, 4], [4, 2, 3], [1, 5, 6], [3, 3, 1]])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_accumulated_gradient_is_that_of_the_big_batch(
    sizes: list[int], clip: float | None
) -> None:
    data = batches(sizes)
    big = (torch.cat([x for x, _ in data]), torch.cat([y for _, y in data]))
    found = []
    for run, steps in ((data, len(sizes)), ([big], 1)):
        model = network()
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        losses = Losses({"ce": nn.CrossEntropyLoss(), "l2": {"weight": 0.1, "loss": L2(model)}})
        supervised_trainer(
            model, sgd, losses, device="cpu", accumulation_steps=steps, clip_grad_norm=clip
        ).run(run)
        found.append((gradients(model), weights(model)))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-7, rtol=1e-6)


def test_the_last_backward_leaves_the_big_batchs_gradient_also_before_clipping() -> None:
    """What monitors read between the last backward and the step."""
    data = batches([4, 2, 1])
    model, twin = network(), network()
    seen: dict[str, Tensor] = {}
    for name, p in model.named_parameters():
        p.register_post_accumulate_grad_hook(
            lambda p, name=name: seen.__setitem__(name, p.grad.clone())  # type: ignore[misc]
        )
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    supervised_trainer(
        model, sgd, nn.CrossEntropyLoss(), device="cpu", accumulation_steps=3, clip_grad_norm=1e-3
    ).run(data)
    x, y = torch.cat([x for x, _ in data]), torch.cat([y for _, y in data])
    nn.functional.cross_entropy(twin(x), y).backward()
    for name, p in twin.named_parameters():
        torch.testing.assert_close(seen[name], p.grad, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize(
    ("length", "steps", "run", "expected"),
    [
        (7, 3, {"max_epochs": 2}, [3, 6, 7, 10, 13, 14]),  # short cycle at the end of each epoch
        (6, 3, {"max_epochs": 1}, [3, 6]),
        (7, 3, {"max_iters": 5, "epoch_length": 7}, [3, 5]),  # and at the end of the run
        (2, 5, {"max_epochs": 2}, [2, 4]),
    ],
)
def test_when_the_optimizer_steps(
    length: int, steps: int, run: dict[str, int], expected: list[int]
) -> None:
    model = network()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = supervised_trainer(
        model, sgd, nn.CrossEntropyLoss(), device="cpu", accumulation_steps=steps
    )
    stepped: list[int] = []
    sgd.register_step_post_hook(lambda *_: stepped.append(trainer.state.iteration))
    trainer.run(batches([4] * length), **run)
    assert stepped == expected


def test_a_cycle_that_was_broken_off_does_not_leak_into_the_next_run() -> None:
    data = batches([4, 4, 4, 4])
    model = network()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = supervised_trainer(
        model, sgd, nn.CrossEntropyLoss(), device="cpu", accumulation_steps=3
    )
    with trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), trainer.terminate):
        trainer.run(data)
    twin = copy.deepcopy(model)
    trainer.run(data[:3])
    x, y = torch.cat([x for x, _ in data[:3]]), torch.cat([y for _, y in data[:3]])
    nn.functional.cross_entropy(twin(x), y).backward()
    torch.testing.assert_close(gradients(model), gradients(twin), atol=1e-7, rtol=1e-6)


def test_accumulation_goes_on_from_its_saved_state() -> None:
    trainer = supervised_trainer(
        network(), torch.optim.SGD([torch.zeros(1)]), nn.MSELoss(), device="cpu"
    )
    trainer.state.epoch_length, trainer.state.iteration = 10, 1
    one, two = Accumulation(3), Accumulation(3)
    one.begin(trainer)
    assert one.weight(4, []) == 1 / 3
    two.load_state_dict(one.state_dict())
    trainer.state.iteration = 2
    there, here = one.begin(trainer), two.begin(trainer)
    assert there == here
    assert not here.first
    assert one.weight(2, []) == two.weight(2, []) == 2 / 12


@pytest.mark.parametrize("scale", [1.0, 65536.0])
def test_a_loss_scaler_changes_nothing_but_rounding(scale: float) -> None:
    data = batches([4, 3, 4, 1])
    found = []
    for scaler in (torch.amp.GradScaler("cpu", init_scale=scale), None):
        model = network()
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        trainer = supervised_trainer(
            model,
            sgd,
            nn.CrossEntropyLoss(),
            device="cpu",
            scaler=scaler,
            clip_grad_norm=0.1,
            accumulation_steps=2,
        )
        assert trainer.state.scaler is scaler  # type: ignore[attr-defined]
        trainer.run(data)
        found.append((weights(model), gradients(model)))
    torch.testing.assert_close(found[0], found[1], atol=1e-7, rtol=1e-6)


def test_a_step_with_infinite_gradients_is_skipped_by_the_scaler() -> None:
    model = network()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    before = weights(model)
    x, y = batches([4])[0]
    supervised_trainer(model, sgd, nn.CrossEntropyLoss(), device="cpu", scaler=scaler).run(
        [(x * float("inf"), y)]
    )
    assert torch.equal(weights(model), before)
    assert scaler.get_scale() == 512.0


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_runs_the_model_in_half_and_the_loss_in_float32(amp: str) -> None:
    model = nn.Sequential(network(), nn.Softmax(1))
    inside: list[torch.dtype] = []
    model[0][2].register_forward_hook(lambda m, i, o: inside.append(o.dtype))  # type: ignore[index]
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    x, _ = batches([4])[0]
    # BCE is the loss that autocast refuses
    trainer = supervised_trainer(model, sgd, nn.BCELoss(), device="cpu", amp=amp)
    output: Any = trainer.run([(x, torch.rand(4, 3))]).output
    assert inside == [torch.bfloat16 if amp == "bf16" else torch.float16]
    assert output["loss"].dtype == output["y_pred"].dtype == torch.float32
    assert (trainer.state.scaler is not None) == (amp == "fp16")  # type: ignore[attr-defined]
    evaluator = supervised_evaluator(model, nn.BCELoss(), device="cpu", amp=amp)
    evaluated: Any = evaluator.run([(x, torch.rand(4, 3))]).output
    assert evaluated["y_pred"].dtype == torch.float32


def test_clipping() -> None:
    x, y = batches([4])[0]
    raw = network()
    nn.functional.cross_entropy(raw(x), y).backward()
    for options in ({"clip_grad_value": 0.01}, {"clip_grad_norm": 0.02}):
        model = network()
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        supervised_trainer(model, sgd, nn.CrossEntropyLoss(), device="cpu", **options).run([(x, y)])  # type: ignore[arg-type]
        g = gradients(raw)
        expected = g.clamp(-0.01, 0.01) if "clip_grad_value" in options else g * 0.02 / g.norm()
        torch.testing.assert_close(gradients(model), expected, atol=1e-8, rtol=1e-4)


def test_several_optimizers_step_together() -> None:
    model, twin = network(), network()
    parts = {
        "stem": torch.optim.SGD(model[0].parameters(), lr=0.1),
        "head": torch.optim.SGD(model[2].parameters(), lr=0.2),
    }
    supervised_trainer(model, parts, nn.CrossEntropyLoss(), device="cpu").run(batches([4, 4]))
    groups = [
        {"params": twin[0].parameters(), "lr": 0.1},
        {"params": twin[2].parameters(), "lr": 0.2},
    ]
    supervised_trainer(twin, torch.optim.SGD(groups), nn.CrossEntropyLoss(), device="cpu").run(
        batches([4, 4])
    )
    assert torch.equal(weights(model), weights(twin))


def test_modes_are_kept_and_put_back() -> None:
    model = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 3))
    model[1].eval()  # frozen on purpose
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    modes = [m.training for m in model.modules()]
    inside: list[list[bool]] = []
    model.register_forward_hook(
        lambda m, i, o: inside.append([m.training for m in model.modules()])
    )
    trainer = supervised_trainer(model, sgd, nn.CrossEntropyLoss(), device="cpu")
    evaluator = supervised_evaluator(model, nn.CrossEntropyLoss(), device="cpu")
    data = batches([4])
    trainer.run(data)
    evaluator.run(data)
    trainer.run(data)
    assert inside == [modes, [False] * 5, modes]
    model.eval()
    evaluator.run(data)
    assert not any(m.training for m in model.modules())
    trainer.run(data)
    assert model.training


def test_evaluator_puts_the_mode_back_after_an_error() -> None:
    model = network()
    with pytest.raises(RuntimeError):
        supervised_evaluator(model, device="cpu").run([(torch.zeros(1, 99), torch.zeros(1))])
    assert model.training


class _Reads(TorchDispatchMode):
    """Counts what would make a host wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.is_nonzero.default,
            torch.ops.aten.equal.default,
        ):
            self.count += 1
        return func(*args, **(kwargs or {}))


def test_an_iteration_reads_nothing_from_the_device() -> None:
    model = network()
    adam = torch.optim.Adam(model.parameters(), lr=0.1, foreach=True, capturable=False)
    losses = Losses({"ce": nn.CrossEntropyLoss(), "l2": {"weight": 0.1, "loss": L2(model)}})
    trainer = supervised_trainer(
        model, adam, losses, device="cpu", clip_grad_norm=0.1, clip_grad_value=1.0,
        accumulation_steps=2,
    )  # fmt: skip
    sgd_step = adam.step
    reads_of_adam = _Reads()

    def step(*args: Any, **kwargs: Any) -> Any:  # Adam reads its own step counters, on the CPU
        with reads_of_adam:
            return sgd_step(*args, **kwargs)

    adam.step = step  # type: ignore[method-assign]
    with _Reads() as reads:
        trainer.run(batches([4, 3, 4]))
    assert reads.count == reads_of_adam.count


@pytest.mark.parametrize(
    ("batch", "message"), [(torch.zeros(2), "Tensor"), ((1, 2, 3), "length 3"), ({}, "dict")]
)
def test_batches_must_be_pairs(batch: Any, message: str) -> None:
    model = network()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match=message):
        supervised_trainer(model, sgd, nn.MSELoss(), device="cpu").run([batch])


@pytest.mark.parametrize(
    "options",
    [
        {"clip_grad_norm": 0.0},
        {"clip_grad_value": -1.0},
        {"accumulation_steps": 0},
        {"amp": "half"},
    ],
)
def test_values_out_of_range(options: dict[str, Any]) -> None:
    model = network()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=next(iter(options))):
        supervised_trainer(model, sgd, nn.MSELoss(), device="cpu", **options)


def test_a_step_with_several_inputs_and_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def forward(self, x: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
            out = self.linear(x["a"] + x["b"])
            return out, [out * 2]

    def loss_fn(y_pred: Any, y: Tensor) -> Tensor:
        return (y_pred[0] - y).square().mean() + y_pred[1][0].abs().mean()

    model = Two()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    data = [({"a": torch.ones(3, 2), "b": torch.ones(3, 2)}, torch.zeros(3, 1))] * 2
    trainer = supervised_trainer(
        model, sgd, loss_fn, device="cpu", amp="bf16", accumulation_steps=2
    )
    output: Any = trainer.run(data).output
    assert isinstance(output["y_pred"], tuple)
    assert not output["y_pred"][1][0].requires_grad
    assert list(output["losses"]) == ["loss_fn"]
