"""Every example runs as a program of its own and leaves what it says it charts."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

# Example → (folder of event files → some of its tags).
CHARTS = {
    "accumulation_and_amp": {
        "train": ["loss/total", "gradients/global_norm_raw", "gradients/clipped",
                  "predictions/entropy", "updates/global_ratio"],
    },
    "beside_tensorboard_logger": {
        "train": ["loss/total", "residuals/std", "weights/global_norm"],
        "ignite": ["training/loss"],
    },
    "gan_by_hand": {
        "train": ["loss/real", "loss/fake", "loss/generator",
                  "gradients/generator/global_norm", "hyperparameters/discriminator/lr",
                  "updates/discriminator/global_ratio"],
    },
    "own_logger": {".": ["loss/total", "residuals/std", "updates/global_ratio"]},
    "own_sink": {".": ["loss/total", "gradients/global_norm"]},
    "plain_ignite": {
        "train": ["loss/total", "predictions/entropy", "gradients/global_norm"],
        "validation": ["loss/total", "metrics/accuracy", "predictions/expected_calibration_error"],
    },
}  # fmt: skip


def run(program: Path, folder: Path) -> str:
    """Run the program as a user would; its standard output."""
    done = subprocess.run(
        [sys.executable, str(program), str(folder)],
        cwd=folder.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "failed and is disabled" not in done.stderr, done.stderr
    return done.stdout


def tags(folder: Path) -> set[str]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return set(events.Tags()["scalars"])


@pytest.mark.slow
@pytest.mark.parametrize("program", EXAMPLES, ids=lambda path: path.stem)
def test_example(program: Path, tmp_path: Path) -> None:
    printed = run(program, tmp_path / "out")
    assert printed.strip()
    for folder, expected in CHARTS[program.stem].items():
        assert set(expected) <= tags(tmp_path / "out" / folder)
    if program.stem == "plain_ignite":
        assert float(re.findall(r"accuracy ([0-9.]+)", printed)[-1]) > 0.85
    if program.stem == "own_sink":
        file = EventAccumulator(str(tmp_path / "out"), {"scalars": 0}).Reload()
        sent = map(json.loads, (tmp_path / "out" / "run.jsonl").read_text().splitlines())
        points = [(one["step"], one["loss/total"]) for one in sent if "loss/total" in one]
        assert points == [(e.step, pytest.approx(e.value)) for e in file.Scalars("loss/total")]
        assert len(points) == 200
    if program.stem == "beside_tensorboard_logger":
        train, own = (
            EventAccumulator(str(tmp_path / "out" / name)).Reload() for name in ("train", "ignite")
        )
        ours = {e.step: e.value for e in train.Scalars("loss/total")}
        theirs = {e.step: e.value for e in own.Scalars("training/loss")}
        assert theirs.items() <= ours.items()


def test_every_example_is_short_and_uses_trainkit_as_a_library_only() -> None:
    assert {path.stem for path in EXAMPLES} == set(CHARTS)
    for path in EXAMPLES:
        text = path.read_text()
        assert len(text.splitlines()) < 80
        imported = set(re.findall(r"^from (trainkit[\w.]*) import", text, re.MULTILINE))
        assert imported
        assert imported <= {"trainkit", "trainkit.handlers", "trainkit.writers"}
