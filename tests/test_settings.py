from typing import Any

import pytest

from trainkit.settings import CheckpointSettings, MonitorSettings, TrainerSettings


@pytest.mark.parametrize(
    ("settings", "options", "error"),
    [
        (TrainerSettings, {"epochs": 0}, ValueError),
        (TrainerSettings, {"epochs": 1.5}, TypeError),
        (TrainerSettings, {"epochs": None}, ValueError),
        (TrainerSettings, {"max_iterations": 0}, ValueError),
        (TrainerSettings, {"seed": -1}, ValueError),
        (TrainerSettings, {"seed": True}, TypeError),
        (TrainerSettings, {"clip_grad_norm": 0.0}, ValueError),
        (TrainerSettings, {"clip_grad_norm": float("nan")}, ValueError),
        (TrainerSettings, {"clip_grad_value": -1.0}, ValueError),
        (TrainerSettings, {"accumulation_steps": 0}, ValueError),
        (TrainerSettings, {"amp": "fp8"}, ValueError),
        (TrainerSettings, {"evaluate_every": 0}, ValueError),
        (MonitorSettings, {"every": 0}, ValueError),
        (MonitorSettings, {"every": "often"}, TypeError),
        (MonitorSettings, {"every": True}, TypeError),
        (MonitorSettings, {"budget": 0.0}, ValueError),
        (MonitorSettings, {"budget": float("nan")}, ValueError),
        (MonitorSettings, {"detail": "all"}, ValueError),
        (MonitorSettings, {"histograms_every": 0}, ValueError),
        (CheckpointSettings, {"mode": "least"}, ValueError),
    ],
)
def test_the_offending_key_and_value_are_named(
    settings: type, options: dict[str, Any], error: type[Exception]
) -> None:
    (key, value), group = next(iter(options.items())), settings.__name__.removesuffix("Settings")
    with pytest.raises(error) as caught:
        settings(**options)
    assert f"{group.lower()}.{key}" in str(caught.value)
    assert value is None or str(value) in str(caught.value)


def test_what_is_allowed() -> None:
    assert TrainerSettings(epochs=None, max_iterations=5).epochs is None
    assert MonitorSettings(every=7, budget=1.0).every == 7
    assert MonitorSettings().every == "auto"
