import logging
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from ignite.metrics import MeanAbsoluteError
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.training.parts import blobs, cases, go, network, weights
from trainkit.data import Batches, Data
from trainkit.engines import Engines, supervised_evaluator
from trainkit.losses import Losses
from trainkit.optimizers import parameter_groups
from trainkit.rundir import load_checkpoint, read_status
from trainkit.schedules import cosine, reduce_on_plateau, step
from trainkit.settings import CheckpointSettings, TrainerSettings


def short(**options: Any) -> TrainerSettings:
    return TrainerSettings(**{"epochs": 2, "progress_bar": False} | options)


def rows(out: str) -> list[str]:
    """The rows of evaluations on the screen."""
    return [line for line in out.splitlines() if re.match(r" *\d+/\d+ ", line)]


def test_a_run_and_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = go(tmp_path / "r", config="a: 1\n", overrides=["x=y"])
    assert (result.iterations, result.epochs) == (21, 3)
    files = {f.name for f in (tmp_path / "r").iterdir()}
    assert {"checkpoints", "config.yaml", "overrides.txt", "run.json", "run.log"} <= files
    status = read_status(tmp_path / "r" / "run.json")
    assert (status["status"], status["iteration"], status["seed"]) == ("completed", 21, 0)
    assert status["last"] == result.last
    assert status["test"] == result.test
    assert status["best"]["iteration"] == result.best_iteration
    out = capsys.readouterr().out
    assert [line.split()[0] for line in rows(out)] == ["1/3", "2/3", "3/3"]
    board, again = out.splitlines()[-2:]
    assert board.startswith("next ")
    assert f"trainkit board {tmp_path / 'r'}" in board
    assert f"trainkit run --from {tmp_path / 'r'}" in again


def test_values_are_those_of_the_whole_data_set(tmp_path: Path) -> None:
    result = go(tmp_path)
    model = result.models["model"].eval().requires_grad_(False)
    l2 = 1e-3 * sum((p**2).sum() for p in model.parameters())
    for part, (n, seed) in {"train": (104, 1), "validation": (50, 2)}.items():
        x, y = cases(n, seed)
        y_pred = model(x)
        ce = nn.functional.cross_entropy(y_pred, y)
        found = result.last[part]
        assert found["loss"] == pytest.approx(float(ce + l2), rel=1e-5)
        assert found["loss/cross_entropy"] == pytest.approx(float(ce), rel=1e-5)
        assert found["loss/l2"] == pytest.approx(float(l2), rel=1e-5)
        assert found["accuracy"] == pytest.approx((y_pred.argmax(1) == y).float().mean().item())


def test_the_loss_of_a_data_set_is_over_all_that_it_averages_over(tmp_path: Path) -> None:
    # Batches of 30 and 20, most of whose targets are ignored in the second: weights differ.
    x, y = cases(50, 2)
    y[34:] = -100
    weight = torch.tensor([1.0, 4.0, 2.0])
    loss = partial(
        Losses,
        {
            "cross_entropy": {"loss": nn.CrossEntropyLoss(weight=weight)},
            "smooth": {"weight": 0.5, "loss": nn.CrossEntropyLoss(label_smoothing=0.3)},
        },
    )
    data = Data(blobs().train, [(x[:30], y[:30]), (x[30:], y[30:])])
    result = go(tmp_path, data=data, loss=loss, metrics=None)
    with torch.no_grad():
        y_pred = result.models["model"].eval()(x)
    ce = nn.functional.cross_entropy(y_pred, y, weight=weight)
    smooth = 0.5 * nn.functional.cross_entropy(y_pred, y, label_smoothing=0.3)
    assert result.last["validation"] == pytest.approx(
        {"loss": float(ce + smooth), "loss/cross_entropy": float(ce), "loss/smooth": float(smooth)},
        rel=1e-5,
    )


def test_the_test_data_are_evaluated_with_the_best_weights(tmp_path: Path) -> None:
    # A learning rate that soon makes everything worse.
    worse = partial(torch.optim.SGD, lr=0.2)
    result = go(
        tmp_path,
        optimizer=worse,
        scheduler=partial(step, step_size=1, gamma=20.0),
        trainer=short(epochs=4),
    )
    assert result.best_iteration is not None
    assert result.best_iteration < result.iterations
    x, y = cases(40, 3)
    model = network()
    best = load_checkpoint(tmp_path / "checkpoints" / "best.pt")
    model.load_state_dict(best["models"]["model"])
    with torch.no_grad():
        accuracy = (model.eval()(x).argmax(1) == y).float().mean().item()
    assert result.test["accuracy"] == pytest.approx(accuracy)
    assert best["iteration"] == result.best_iteration
    last = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    assert last["iteration"] == result.iterations
    for name, value in result.models["model"].state_dict().items():
        assert torch.equal(value, last["models"]["model"][name])


def test_best_by_a_metric_and_without(tmp_path: Path) -> None:
    result = go(tmp_path / "a", checkpoint=CheckpointSettings(metric="accuracy"))
    assert result.best["validation"]["accuracy"] >= result.last["validation"]["accuracy"]
    result = go(tmp_path / "b", checkpoint=CheckpointSettings(best=False, last=False))
    assert not list((tmp_path / "b" / "checkpoints").iterdir())
    assert result.test


def test_a_run_can_be_repeated_bit_by_bit(tmp_path: Path) -> None:
    first, second = go(tmp_path / "a"), go(tmp_path / "b")
    assert torch.equal(weights(first), weights(second))
    assert first.test == second.test
    other = go(tmp_path / "c", trainer=short(epochs=3, seed=1))
    assert not torch.equal(weights(first), weights(other))


def loaders() -> Data:
    return Data(
        DataLoader(TensorDataset(*cases(104, 1)), batch_size=16, shuffle=True),
        DataLoader(TensorDataset(*cases(50, 2)), batch_size=16, shuffle=True),
    )


@pytest.mark.parametrize("data", [blobs, loaders])
def test_evaluation_does_not_disturb_the_training(tmp_path: Path, data: Any) -> None:
    settings = [
        short(epochs=2),
        short(epochs=2, evaluate_every=3),
        short(epochs=2, evaluate_every=1, evaluate_train=False),
    ]
    found = [
        weights(go(tmp_path / str(i), data=partial(data), trainer=s))
        for i, s in enumerate(settings)
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    ("limits", "iterations", "evaluated"),
    [
        ({"epochs": 2}, 14, [7, 14]),
        ({"epochs": None, "max_iterations": 10}, 10, [7, 10]),
        ({"epochs": 2, "max_iterations": 100}, 14, [7, 14]),
        ({"epochs": 5, "max_iterations": 7}, 7, [7]),
        ({"epochs": 2, "evaluate_every": 5}, 14, [5, 10, 14]),
        ({"epochs": 2, "evaluate_every": 7}, 14, [7, 14]),
    ],
)
def test_when_it_ends_and_evaluates(
    tmp_path: Path,
    limits: dict[str, Any],
    iterations: int,
    evaluated: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = go(tmp_path, trainer=short(**limits))
    assert result.iterations == iterations
    assert len(rows(capsys.readouterr().out)) == len(evaluated)
    assert [row["iteration"] for row in result.history] == evaluated


def test_the_last_cycle_of_a_cosine_ends_with_the_run(tmp_path: Path) -> None:
    used: list[float] = []
    made: list[torch.optim.SGD] = []

    def sgd(params: list[Tensor]) -> torch.optim.SGD:
        made.append(torch.optim.SGD(params, lr=1.0))
        made[0].register_step_pre_hook(lambda *_: used.append(made[0].param_groups[0]["lr"]))
        return made[0]

    go(
        tmp_path,
        optimizer=partial(sgd),
        scheduler=partial(cosine),
        trainer=short(epochs=2, accumulation_steps=3),
    )
    assert len(used) == 6  # 7 batches in cycles of 3: three steps per epoch
    half = torch.arange(6, dtype=torch.float64) * torch.pi / 6
    assert used == pytest.approx(((1 + half.cos()) / 2).tolist())
    assert made[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_parameter_groups_inside_of_an_optimizer(tmp_path: Path) -> None:
    groups = partial(parameter_groups, groups={"head": {"parameters": ["4.*"], "lr": 0.0}})
    result = go(tmp_path, optimizer=partial(torch.optim.SGD, lr=0.1, params=groups))
    torch.manual_seed(0)
    begun = network()
    assert torch.equal(result.models["model"].get_parameter("4.weight"), begun[4].weight)  # type: ignore[index]
    assert not torch.equal(result.models["model"].get_parameter("0.weight"), begun[0].weight)  # type: ignore[index]


def test_plateau_takes_the_validation_metric(tmp_path: Path) -> None:
    made: list[torch.optim.Optimizer] = []

    def sgd(params: list[Tensor]) -> torch.optim.Optimizer:
        made.append(torch.optim.SGD(params, lr=0.0))  # nothing ever gets better
        made[0].param_groups[0]["lr"] = 1e-30
        return made[0]

    go(
        tmp_path,
        optimizer=partial(sgd),
        scheduler=partial(reduce_on_plateau, factor=0.5, patience=0, metric="accuracy", mode="max"),
        trainer=short(epochs=4),
    )
    # The batch statistics move for an epoch or so; then nothing does.
    assert made[0].param_groups[0]["lr"] <= 1e-30


def test_a_checkpoint_holds_everything(tmp_path: Path) -> None:
    go(tmp_path, scheduler=partial(cosine, warmup_iterations=2), trainer=short(amp="fp16"))
    state = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    assert set(state) == {
        "format", "run", "models", "buffers", "modes", "frozen", "gradients", "optimizers",
        "schedules", "scaler", "engine", "loss", "iteration", "epoch", "epoch_length", "iterations",
        "data", "best", "values", "evaluated", "random", "parts", "events", "world",
    }  # fmt: skip
    assert state["scaler"]["scale"] > 0
    assert state["optimizers"]["optimizer"]["state"]
    assert state["schedules"]["optimizer"]["steps"] == 14
    assert state["engine"]["accumulation"]["next_iteration"] == 15


def refused(tmp_path: Path, **changes: Any) -> str:
    directory = tmp_path / "r"
    with pytest.raises((TypeError, ValueError)) as caught:
        go(directory, **changes)
    assert not directory.exists(), "nothing may be left of a run that never began"
    assert not getattr(caught.value, "__notes__", [])
    return str(caught.value)


def data_of(x: Tensor, y: Tensor) -> Data:
    return Data(Batches(x, y, batch_size=8), Batches(x, y, batch_size=8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer": partial(torch.optim.SGD, lr=-1.0)},
            "optimizer: Invalid learning rate: -1.0",
        ),
        ({"optimizer": partial(torch.optim.SGD, learning_rate=1.0)}, "optimizer: "),
        ({"optimizer": {}}, "at least one optimizer"),
        ({"optimizer": nn.Linear(1, 1)}, "torch.optim.Optimizer"),
        ({"model": partial(nn.Linear, 4)}, "model: Linear needs out_features"),
        ({"model": 3}, "model must be a torch.nn.Module"),
        ({"model": nn.Linear(5, 3)}, "float32 [16, 4]"),
        ({"model": nn.Linear(4, 2)}, "'cross_entropy'"),
        ({"data": [1]}, "data must be a trainkit.data.Data"),
        ({"data": partial(blobs, batch_size=0)}, "data.batch_size"),
        ({"data": data_of(torch.zeros(8, 4), torch.zeros(8))}, "class indices"),
        ({"loss": None}, "needs a loss"),
        ({"metrics": {"mae": partial(MeanAbsoluteError)}}, "metrics.mae cannot take"),
        ({"metrics": {"acc": 3}}, "metrics.acc must be an ignite.metrics.Metric"),
        ({"metrics": {"loss": partial(MeanAbsoluteError)}}, "metrics.loss"),
        ({"scheduler": partial(cosine, warmup_iterations=99)}, "scheduler.warmup_iterations"),
        ({"scheduler": {"optimiser": partial(cosine)}}, "nearest: optimizer"),
        ({"scheduler": partial(reduce_on_plateau, metric="acuracy")}, "nearest: accuracy"),
        ({"checkpoint": CheckpointSettings(metric="acuracy")}, "nearest: accuracy"),
        ({"trainer": TrainerSettings(device="cuda:77")}, "trainer.device"),
        ({"trainer": TrainerSettings(device="toaster")}, "trainer.device"),
        ({"engine": 3}, "engine must make"),
        ({"model": {"a": network(), "b": network()}}, "takes one model"),
    ],
)
def test_refused_before_anything_happens(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    assert message in refused(tmp_path, **changes)


def test_nothing_to_train(tmp_path: Path) -> None:
    frozen = network().requires_grad_(False)
    message = refused(tmp_path, model=frozen, loss=nn.CrossEntropyLoss())
    assert "no trainable parameter" in message


def test_a_plateau_needs_validation_data(tmp_path: Path) -> None:
    data = Data(Batches(*cases(20, 1), batch_size=4))
    scheduler = partial(reduce_on_plateau)
    assert "needs validation data" in refused(tmp_path, data=data, scheduler=scheduler)
    result = go(tmp_path / "r", data=data)
    assert result.best_iteration is None
    assert set(result.last) == {"train"}


def test_a_folder_that_holds_a_run(tmp_path: Path) -> None:
    go(tmp_path / "r", trainer=short(epochs=1))
    before = (tmp_path / "r" / "run.json").read_text()
    with pytest.raises(ValueError, match="already holds a run"):
        go(tmp_path / "r")
    assert (tmp_path / "r" / "run.json").read_text() == before


class Fails(nn.Module):
    """A model that fails after so many forwards in training mode."""

    def __init__(self, after: int, error: BaseException) -> None:
        super().__init__()
        self.linear, self.left, self.error = nn.Linear(4, 3), after, error

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.left -= 1
            if self.left < 0:
                raise self.error
        y: Tensor = self.linear(x)
        return y


def test_a_crash(tmp_path: Path) -> None:
    error = RuntimeError("the cat sat on the cable")
    handlers = list(logging.getLogger().handlers)
    with pytest.raises(RuntimeError, match="the cat") as caught:
        go(tmp_path, model=Fails(9, error))
    assert caught.value is error
    assert error.__notes__ == [f"run: {tmp_path}"]
    status = read_status(tmp_path / "run.json")
    assert status["status"] == "failed"
    assert status["reason"] == "RuntimeError: the cat sat on the cable"
    log = (tmp_path / "run.log").read_text()
    assert "Traceback" in log
    assert "in forward" in log
    assert load_checkpoint(tmp_path / "checkpoints" / "last.pt")["iteration"] == 7
    assert logging.getLogger().handlers == handlers


def test_nan_does_not_end_a_run_and_never_is_the_best(tmp_path: Path) -> None:
    sgd = partial(torch.optim.SGD, lr=1e30)
    result = go(tmp_path, optimizer=sgd, trainer=short(on_non_finite="warn"))
    assert result.last["validation"]["loss"] != result.last["validation"]["loss"]
    assert result.best_iteration is None
    assert read_status(tmp_path / "run.json")["last"]["validation"]["loss"] == "nan"
    assert not (tmp_path / "checkpoints" / "best.pt").exists()


def pair_engines(
    models: dict[str, nn.Module],
    optimizers: dict[str, torch.optim.Optimizer],
    data: Data,
    device: torch.device,
    iterations: int,
    ratio: int = 2,
) -> Engines:
    """Two models with clocks of their own: `slow` steps in every `ratio`-th iteration."""

    def train_step(engine: Engine, batch: Any) -> dict[str, Any]:
        x, y = batch
        losses = {}
        for name, model in models.items():
            if name == "slow" and engine.state.iteration % ratio:
                continue
            optimizers[name].zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizers[name].step()
            losses[name] = loss.detach()
        return {"loss": torch.stack(list(losses.values())).sum(), "losses": losses}

    class Count:
        def state_dict(self) -> dict[str, Any]:
            return {"iterations": iterations}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            pass

    return Engines(
        Engine(train_step),
        lambda: supervised_evaluator(models["fast"], nn.CrossEntropyLoss(), device=device),
        predictions=None,
        state={"count": Count()},
    )


def test_an_optimizer_without_a_learning_rate(tmp_path: Path) -> None:
    class Own(torch.optim.Optimizer):
        def __init__(self, params: list[Tensor]) -> None:
            super().__init__(params, {"rate": 0.1})

        def step(self, closure: Any = None) -> None:
            with torch.no_grad():
                for p in self.param_groups[0]["params"]:
                    p -= self.param_groups[0]["rate"] * p.grad

    result = go(tmp_path, optimizer=partial(Own))
    assert "lr" not in result.history[0]
    assert (go(tmp_path / "sgd").history[0])["lr"] == 0.1


def test_another_way_of_training_with_several_models_and_optimizers(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "model": {"fast": partial(network), "slow": partial(network)},
        "optimizer": {
            "fast": partial(torch.optim.SGD, lr=0.1),
            "slow": partial(torch.optim.Adam, lr=0.01),
        },
        "scheduler": {"slow": partial(step, step_size=1, gamma=0.5, per="iteration")},
        "loss": None,
        "engine": partial(pair_engines, ratio=5),
    }
    result = go(tmp_path / "r", trainer=short(), **changes)
    assert set(result.models) == {"fast", "slow"}
    state = load_checkpoint(tmp_path / "r" / "checkpoints" / "last.pt")
    assert state["engine"] == {"count": {"iterations": 14}}
    assert state["schedules"]["slow"]["steps"] == 2  # 14 iterations, one step in 5
    assert state["optimizers"]["slow"]["param_groups"][0]["lr"] == 0.0025
    for name, value in (("accumulation_steps", 2), ("clip_grad_norm", 1.0), ("amp", "bf16")):
        settings = short(**{name: value})
        with pytest.raises(ValueError, match=f"trainer.{name}: {value} has no meaning"):
            go(tmp_path / name, trainer=settings, **changes)


def test_an_engine_may_end_the_run(tmp_path: Path) -> None:
    def solved(
        models: dict[str, nn.Module], optimizers: dict[str, Any], data: Data, device: torch.device
    ) -> Engines:
        engines = pair_engines(
            {"fast": models["model"]}, {"fast": optimizers["optimizer"]}, data, device, 0
        )

        def stop(engine: Engine) -> None:
            if engine.state.iteration == 4:
                engine.terminate()

        from ignite.engine import Events

        engines.trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
        return engines

    result = go(tmp_path, engine=partial(solved), loss=None)
    assert result.iterations == 4
    assert result.last["validation"]
    assert read_status(tmp_path / "run.json")["status"] == "completed"


def test_compile_in_place_keeps_names(tmp_path: Path) -> None:
    torch.compiler.reset()
    try:
        result = go(tmp_path / "c", model=nn.Linear(4, 3), trainer=short(epochs=1, compile=True))
    except Exception as error:  # no compiler on this machine
        pytest.skip(f"torch.compile does not work here: {type(error).__name__}")
    state = load_checkpoint(tmp_path / "c" / "checkpoints" / "last.pt")
    assert set(state["models"]["model"]) == {"weight", "bias"}
    assert result.iterations == 7


def test_lazy_modules(tmp_path: Path) -> None:
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))
    result = go(tmp_path, model=model, loss=nn.CrossEntropyLoss())
    assert result.models["model"].get_parameter("0.weight").shape == (8, 4)
    assert result.last["validation"]["loss"] < 1.2


@pytest.mark.parametrize(("best", "weights"), [(True, "best"), (False, "last")])
def test_the_summary_says_which_weights_were_tested(
    best: bool, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = go(tmp_path / "run", checkpoint=CheckpointSettings(best=best))
    assert result.tested_with == weights
    shown = capsys.readouterr()
    assert f"test        with the {weights} weights" in shown.out + shown.err
