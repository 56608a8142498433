"""A statistic of somebody's own: right per parameter and per module, by brute force."""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from trainkit import Members, MemoryWriter, ParameterMonitor
from trainkit.stats import pooled

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_monitor"


@pytest.fixture
def kurtosis_monitor(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.delitem(sys.modules, "kurtosis", raising=False)
    from kurtosis import KurtosisMonitor

    return KurtosisMonitor


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)))
    with torch.no_grad():
        model[1][0].weight[0, 0] = 12.0
        model[1][0].bias += 3.0
    return model


def written(model: Any, monitor: type[ParameterMonitor], **options: Any) -> dict[str, float]:
    writer, trainer = MemoryWriter(), Engine(lambda engine, batch: None)
    with monitor(writer, model=model, **options).attach(trainer):
        trainer.run([0, 0])
    assert all([step for step, _ in points] == [1, 2] for points in writer.scalars.values())
    return {tag: points[-1][1] for tag, points in writer.scalars.items()}


def kurtosis(*tensors: Tensor) -> float:
    x = torch.cat([tensor.detach().double().flatten() for tensor in tensors])
    d = x - x.mean()
    return float((d**4).mean() / (d**2).mean() ** 2)


def test_of_each_parameter(kurtosis_monitor: Any) -> None:
    model = network()
    found = written(model, kurtosis_monitor)
    assert found == pytest.approx(
        {f"tensors.weights.kurtosis/{name}": kurtosis(p) for name, p in model.named_parameters()},
        rel=1e-4,
    )


def test_of_a_module_over_all_its_elements_and_no_mean(kurtosis_monitor: Any) -> None:
    model = network()
    found = written(model, kurtosis_monitor, detail="module")
    modules = ("0", "1.0", "1.1")
    expected = {m: kurtosis(*model.get_submodule(m).parameters()) for m in modules}
    assert found == pytest.approx(
        {f"tensors.weights.kurtosis/{m}": v for m, v in expected.items()}, 1e-4
    )
    one = model.get_submodule("1.0")
    assert abs(expected["1.0"] - kurtosis(one.weight)) > 1


def test_include_and_exclude(kurtosis_monitor: Any) -> None:
    found = written(network(), kurtosis_monitor, include="1", exclude="*.bias")
    assert set(found) == {
        "tensors.weights.kurtosis/1.0.weight",
        "tensors.weights.kurtosis/1.1.weight",
    }
    assert written(network(), kurtosis_monitor, detail="global") == {}


def test_beyond_300_modules_stand_for_parameters(kurtosis_monitor: Any) -> None:
    model = nn.ModuleList([nn.Linear(3, 2) for _ in range(151)])
    found = written(model, kurtosis_monitor)
    assert set(found) == {f"tensors.weights.kurtosis/{i}" for i in range(151)}
    assert found["tensors.weights.kurtosis/150"] == pytest.approx(
        kurtosis(*model[150].parameters()), rel=1e-4
    )


def test_with_several_optimizers_their_names_are_in_the_tags(kurtosis_monitor: Any) -> None:
    models = {"g": nn.Linear(3, 2), "d": nn.Linear(2, 2)}
    sgd = {name: torch.optim.SGD(m.parameters(), lr=0.1) for name, m in models.items()}
    found = written(models, kurtosis_monitor, optimizers=sgd)
    assert found["tensors.weights.kurtosis/d/bias"] == pytest.approx(
        kurtosis(models["d"].bias), rel=1e-4
    )
    assert len(found) == 4


def test_the_chapter_is_true(kurtosis_monitor: Any) -> None:
    text = (EXAMPLE.parents[1] / "docs" / "own_monitor.md").read_text()
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(code[0], namespace)
    for detail in ("parameter", "module"):
        found = written(network(), namespace["KurtosisMonitor"], detail=detail)
        assert found == pytest.approx(written(network(), kurtosis_monitor, detail=detail))


class Mean(ParameterMonitor):
    """Pooled as trainkit's own means are."""

    section, columns = "own", ("mean",)

    def measure(self, tensors: Sequence[Tensor]) -> Mapping[str, Tensor]:
        assert not torch.is_grad_enabled()
        return {"mean": torch.stack([x.mean() for x in tensors])}


def test_a_known_column_needs_no_pooling_of_its_own() -> None:
    model = network()
    found = written(model, Mean, detail="module")
    whole = torch.cat([p.detach().flatten() for p in model[0].parameters()])
    assert found["tensors.own.mean/0"] == pytest.approx(float(whole.mean()), rel=1e-4)


def test_an_unknown_column_is_refused_and_never_a_mean() -> None:
    class Own(Mean):
        columns = ("kurtosis",)

    with pytest.raises(ValueError, match=r"'kurtosis' has no pooling.*pool\(members\)"):
        Own(MemoryWriter(), model=nn.Linear(1, 1))
    members = Members({"kurtosis": [1.0]}, [1], [0], 1)
    with pytest.raises(ValueError, match="'kurtosis' has no pooling"):
        pooled(["kurtosis"], members)


@pytest.mark.parametrize("columns", ["mean", ()])
def test_columns_must_be_names(columns: Any) -> None:
    wrong = type("Wrong", (Mean,), {"columns": columns})
    with pytest.raises(TypeError, match=r"Wrong\.columns must be the names"):
        wrong(MemoryWriter(), model=nn.Linear(1, 1))


def test_what_cannot_be_measured_costs_itself_only(caplog: pytest.LogCaptureFixture) -> None:
    class Choosy(Mean):
        def measure(self, tensors: Sequence[Tensor]) -> Mapping[str, Tensor]:
            if any(x.dim() == 1 for x in tensors):
                raise RuntimeError("no vectors")
            return super().measure(tensors)

    found = written(nn.Linear(2, 2), Choosy)
    assert set(found) == {"tensors.own.mean/weight"}
    line = "Choosy leaves out the parameter, also of its global values: bias, which raises"
    assert [r for r in caplog.messages if r.startswith(line)]


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        ({"mean": torch.zeros(3)}, "one number for each of 2 tensors under 'mean'"),
        ({"mean": 0.0}, "got float"),
        ({}, "got nothing"),
    ],
)
def test_a_wrong_return_is_said_and_training_goes_on(
    returned: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(Mean):
        def measure(self, tensors: Sequence[Tensor]) -> Mapping[str, Tensor]:
            return returned if len(tensors) > 1 else super().measure(tensors)

    assert written(nn.Linear(2, 2), Wrong) == {}
    assert text in caplog.text


def test_a_pool_that_lacks_a_column_is_said(caplog: pytest.LogCaptureFixture) -> None:
    class Lacking(Mean):
        columns = ("mean", "spread")

        def pool(self, members: Members) -> Mapping[str, Any]:
            return pooled(["mean"], members)

    with caplog.at_level(logging.ERROR):
        assert written(nn.Linear(2, 2), Lacking) == {}
    assert "Lacking.pool() must return spread too" in caplog.text
