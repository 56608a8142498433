"""Every experiment on real data composes, runs, and reaches what its file says."""

import json
import operator
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "experiments"
SMALL = ("digits", "digits_nll", "breast_cancer", "breast_cancer_bce", "diabetes")
ALL = (*SMALL, "charlm")


def trainkit_run(experiment: str, directory: Path, *overrides: str) -> dict[str, Any]:
    """The `run.json` of `trainkit run +experiment=...`."""
    command = [
        sys.executable, "-m", "trainkit", "run", f"+experiment={experiment}",
        f"hydra.run.dir={directory}", "trainer.progress_bar=false", *overrides,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().split("\n")[-1] == f"run: {directory}"
    status: dict[str, Any] = json.loads((directory / "run.json").read_text())
    return status


def stated(experiment: str) -> tuple[str, str, float]:
    """What the file says the run reaches on the test data: metric, comparison, number."""
    text = (FOLDER / f"{experiment}.yaml").read_text()
    found = re.search(r"^# Reaches: test (\w+) (>=|<=) ([\d.]+)", text, re.MULTILINE)
    assert found, f"{experiment}.yaml must say '# Reaches: test METRIC >= NUMBER'"
    return found[1], found[2], float(found[3])


@pytest.mark.parametrize("experiment", ALL)
def test_the_file_says_what_how_long_and_how_well(experiment: str) -> None:
    lines = (FOLDER / f"{experiment}.yaml").read_text().split("\n")
    assert re.match(r"# \S", lines[0])
    assert re.match(r"# Takes: ", lines[1])
    stated(experiment)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", SMALL)
def test_an_experiment_reaches_what_it_says(experiment: str, tmp_path: Path) -> None:
    metric, comparison, number = stated(experiment)
    status = trainkit_run(experiment, tmp_path / "run")
    compare = {">=": operator.ge, "<=": operator.le}[comparison]
    assert compare(status["test"][metric], number)
