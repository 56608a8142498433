"""What is watched: patterns, prefixes, functions, and each of these per model."""

from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine
from torch import nn

from trainkit import (
    ActivationMonitor,
    GradientMonitor,
    MemoryWriter,
    UpdateMonitor,
    WeightMonitor,
    attach_monitors,
)
from trainkit.handlers.parameters.unmatched import check_selection
from trainkit.names import Selection, matches, selected

NAMES = ["stem", "encoder.0.weight", "encoder.0.bias", "encoder.10.bias", "encoders.bias", "head"]


@pytest.mark.parametrize(
    ("include", "positions"),
    [
        ("*", [0, 1, 2, 3, 4, 5]),
        ("*.bias", [2, 3, 4]),
        (["*.bias", "head"], [2, 3, 4, 5]),
        ("encoder", [1, 2, 3]),
        ("encoder.", [1, 2, 3]),
        ("encoder.1", []),
        ("encoder.1*", [3]),
        ("encoder.*.", [1, 2, 3]),
        ("encoder.*.weight.", []),
        ("enc*.0.", [1, 2]),
        ("stem", [0]),
        ("stem.", []),
        ("encoder.[0]", []),
        ("encoder.[0].bias", [2]),
        (lambda name: name.endswith("d"), [5]),
        (lambda name: "bias" in name or None, [2, 3, 4]),
        ({"encoder": "0"}, [0, 1, 2, 4, 5]),
        ({"encoder": lambda name: name == "10.bias", "encoders": []}, [0, 3, 5]),
        ((), []),
    ],
)
def test_which_names(include: Selection, positions: list[int]) -> None:
    expected = [NAMES[i] for i in positions]
    assert selected(NAMES, include) == expected
    left_out = [name for name in NAMES if name not in expected]
    if not isinstance(include, dict):
        assert selected(NAMES, exclude=include) == left_out


def test_per_model_what_is_not_mentioned_stays() -> None:
    assert selected(NAMES, "*", {"encoder": ["*.bias"]}) == [
        "stem", "encoder.0.weight", "encoders.bias", "head",
    ]  # fmt: skip


PARTS = st.lists(st.sampled_from(["a", "b", "ab", "0"]), min_size=1, max_size=4).map(".".join)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(PARTS, PARTS, st.sampled_from(["", ".", ".*", "*"]))
def test_a_pattern_by_definition(name: str, start: str, end: str) -> None:
    if end in ("", "."):
        below = name.split(".")[: len(start.split("."))] == start.split(".")
        expected = below and (end == "" or name != start)
    else:
        expected = fnmatchcase(name, start + end)
    assert matches(name, start + end) == expected


@pytest.mark.parametrize("wrong", [3, None, [3], ["a", None], {"m": 3}, [lambda name: True]])
def test_what_is_no_selection(wrong: Any) -> None:
    model = nn.Linear(1, 1)
    sgd, writer = torch.optim.SGD(model.parameters(), lr=0.1), MemoryWriter()
    for how in ({"include": wrong}, {"exclude": wrong}):
        (key,) = how
        for make in (
            lambda how=how: GradientMonitor(writer, model=model, optimizers=sgd, **how),
            lambda how=how: WeightMonitor(writer, model=model, optimizers=sgd, **how),
            lambda how=how: ActivationMonitor(writer, model=model, **how),
            lambda how=how: attach_monitors(
                Engine(lambda e, b: None), model=model, optimizers=sgd, writer=writer,
                predictions=None, **how,
            ),
        ):  # fmt: skip
            with pytest.raises(TypeError, match=f"^{key} must be a pattern, a list"):
                make()


def test_what_matches_nothing_is_said() -> None:
    model = nn.ModuleDict({"encoder": nn.Linear(1, 1), "decoder": nn.Linear(1, 1)})
    one = {"": model}
    assert check_selection(one, ("*",), ()) == []
    assert check_selection(one, "decoder", ["encoder.bias"]) == []
    (line,) = check_selection(one, ["decodr.*", "encoder"], ())
    assert line.startswith("include: no parameter or module matches 'decodr.*'; nearest: decoder")
    (line,) = check_selection(one, ("*",), lambda name: name.startswith("x"))
    assert line.startswith("exclude: the function chooses no parameter or module, e.g. not encoder")
    (line,) = check_selection(one, ("*",), "*")
    assert line == "include and exclude leave no parameter: only global values are written"
    with pytest.raises(ValueError, match="include is for the model 'a', but there is one model, "):
        check_selection(one, {"a": "*"}, ())
    two = {"a": model, "b": nn.Linear(1, 1)}
    assert check_selection(two, {"a": "encoder", "b": "bias"}, {"a": "encoder.bias"}) == []
    (line,) = check_selection(two, {"b": "encoder"}, ())
    assert line == "include of b: no parameter or module matches 'encoder'; nearest: weight, bias"
    with pytest.raises(ValueError, match="exclude is for the model 'c', but there is a, b"):
        check_selection(two, ("*",), {"c": "*"})


def test_it_is_said_once_for_all_monitors(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Linear(1, 1)
    attach_monitors(
        Engine(lambda engine, batch: None), model=model,
        optimizers=torch.optim.SGD(model.parameters(), lr=0.1), writer=MemoryWriter(),
        predictions=None, include=["wieght", "bias"],
    )  # fmt: skip
    lines = [r.getMessage() for r in caplog.records if r.name == "trainkit"]
    assert lines == ["include: no parameter or module matches 'wieght'; nearest: weight"]


def shown(include: Selection, exclude: Selection = ()) -> set[str]:
    """Names that have series, with two models and an optimizer for each, and one for both."""
    models = {
        "g": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)),
        "d": nn.Sequential(nn.Linear(2, 2)),
    }
    optimizers = {
        "g": torch.optim.SGD(models["g"].parameters(), lr=0.1),
        "other": torch.optim.SGD(models["d"].parameters(), lr=0.1),
    }

    def step(engine: Engine, x: torch.Tensor) -> None:
        models["d"](models["g"](x)).sum().backward()
        for optimizer in optimizers.values():
            optimizer.step()

    writer, engine = MemoryWriter(), Engine(step)
    for kind in (GradientMonitor, WeightMonitor, UpdateMonitor):
        kind(writer, model=models, optimizers=optimizers, include=include, exclude=exclude).attach(
            engine
        )
    engine.run([torch.ones(1, 2)])
    of = {
        section: {tag.removeprefix(section) for tag in writer.scalars if tag.startswith(section)}
        for section in (
            "tensors.gradients.norm/",
            "tensors.weights.norm/",
            "tensors.updates.ratio/",
        )
    }
    assert (
        of["tensors.gradients.norm/"] == of["tensors.weights.norm/"] == of["tensors.updates.ratio/"]
    )
    return of["tensors.weights.norm/"]


def test_names_of_several_models_and_optimizers() -> None:
    everything = {"g/0.weight", "g/0.bias", "g/1.weight", "g/1.bias"}
    everything |= {"other/d.0.weight", "other/d.0.bias"}
    assert shown("*") == everything
    assert shown("g") == {"g/0.weight", "g/0.bias", "g/1.weight", "g/1.bias"}
    assert shown("d.0.bias") == {"other/d.0.bias"}
    assert shown({"g": "1"}) == {"g/1.weight", "g/1.bias", "other/d.0.weight", "other/d.0.bias"}
    assert shown("*", {"g": ["*.bias"], "d": "*"}) == {"g/0.weight", "g/1.weight"}
    assert shown(lambda name: name in ("g.0.bias", "d.0.weight")) == {
        "g/0.bias", "other/d.0.weight",
    }  # fmt: skip
