from pathlib import Path

import pytest

from trainkit.rundir import RunDirectory


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("runs/digits/2026-11-26_10-00-00", "digits/2026-11-26_10-00-00"),
        ("runs/digits/2026-11-26_10-00-00_mine", "digits/2026-11-26_10-00-00_mine"),
        ("runs/digits/2026-11-26_multirun/3_lr=0.1", "3_lr=0.1 (2026-11-26_multirun)"),
        ("runs/digits/2026-11-26_multirun/12_lr=1", "12_lr=1 (2026-11-26_multirun)"),
        ("runs/mine", "mine (runs)"),
    ],
)
def test_what_tells_a_run_from_others_stands_in_front(path: str, label: str) -> None:
    assert RunDirectory(Path("/") / path).label == label
