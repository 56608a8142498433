"""Pictures in a run: with the names of its data, and switched off."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.training.parts import blobs, go
from tests.writers.reading import accumulated
from trainkit.data import Data
from trainkit.settings import MonitorSettings

CURVES = [f"predictions.precision_recall/{name}" for name in ("low", "middle", "high")]


def named() -> Data:
    return replace(blobs(), classes=("low", "middle", "high"))


def test_a_run_has_pictures_with_the_names_of_its_data(tmp_path: Path) -> None:
    go(tmp_path, data=partial(named), monitor=MonitorSettings(every=1))
    for part, steps in (("validation", [7, 14, 21]), ("test", [21])):
        found = accumulated(tmp_path / part)
        assert {
            "predictions/confusion_matrix",
            "predictions/roc",
            "predictions/reliability",
        } == set(found.Tags()["images"])
        assert [event.step for event in found.Images("predictions/roc")] == steps
        assert [tag for tag in found.Tags()["tensors"] if tag in CURVES] == CURVES
        assert "predictions/most_wrong" in found.Tags()["tensors"]
    assert "predictions/roc" not in accumulated(tmp_path / "train").Tags()["images"]


@pytest.mark.parametrize(
    "off", [{"pictures": False}, {"parts": {"pictures": None}}, {"parts": {"pictures": False}}]
)
def test_pictures_can_be_switched_off(tmp_path: Path, off: dict[str, object]) -> None:
    go(tmp_path, data=partial(named), monitor=MonitorSettings(every=1, **off))  # type: ignore[arg-type]
    found = accumulated(tmp_path / "validation")
    assert found.Tags()["images"] == ["predictions/reliability"]
    assert not set(found.Tags()["tensors"]) & {*CURVES, "predictions/most_wrong"}
    assert found.Scalars("predictions/entropy")
