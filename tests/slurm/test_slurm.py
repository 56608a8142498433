"""The shipped batch script under a real Slurm: signals, requeueing, one and two processes."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.project import environment
from tests.cli.test_processes import DIGITS, at, trainkit
from tests.slurm.cluster import Cluster, NoSlurmError, cluster
from tests.training.resuming import check_same
from trainkit.rundir import read_status

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm" / "train.sbatch"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    environ = environment()
    # The script calls `trainkit`, as a user has it.
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    try:
        with cluster(tmp_path_factory.mktemp("slurm"), environ) as found:
            yield found
    except NoSlurmError as error:
        pytest.skip(str(error))


def submit(slurm: Cluster, folder: Path, tasks: int, *overrides: str) -> str:
    return slurm.call(
        folder, "sbatch", "--parsable", "--output=out.txt", f"--ntasks={tasks}", str(SCRIPT),
        *DIGITS, *overrides,
    )  # fmt: skip


def story(slurm: Cluster, folder: Path) -> str:
    """What the job and Slurm say, for a test that fails."""
    log = (slurm.folder / "slurmctld.log").read_text()
    return f"{(folder / 'out.txt').read_text()[-1500:]}\n{log[-3000:]}"


# Each takes two and a half minutes, of which Slurm waits for two: CI runs one.
@pytest.mark.parametrize(
    "tasks", [pytest.param(1, marks=pytest.mark.torture), pytest.param(2, marks=pytest.mark.long)]
)
def test_a_job_that_gets_usr1_is_saved_and_goes_on(
    slurm: Cluster, tmp_path: Path, tasks: int
) -> None:
    """What Slurm sends before the time limit; here a handler sends it at a certain iteration."""
    job = submit(slurm, tmp_path, tasks, *at(tmp_path, "usr1", tasks - 1, 23))
    assert slurm.wait(job, 300) == "COMPLETED", story(slurm, tmp_path)
    out = (tmp_path / "out.txt").read_text()
    assert "stopped by SIGUSR1" in out
    folder = tmp_path / "runs" / f"job_{job}"
    status = read_status(folder / "run.json")
    assert status["status"] == "completed"
    assert [each["was"] for each in status["resumed"]] == ["interrupted"]
    done = trainkit(tmp_path, "run", *DIGITS, f"trainer.processes={tasks}", "hydra.run.dir=whole",
                    *at(tmp_path, "usr1", 9, 23))  # fmt: skip
    assert done.returncode == 0, done.stderr
    check_same(tmp_path / "whole", folder)


@pytest.mark.torture
def test_a_job_that_is_preempted_goes_on(slurm: Cluster, tmp_path: Path) -> None:
    """Slurm ends it with TERM and puts it back into the queue by itself."""
    job = submit(slurm, tmp_path, 2, "trainer.epochs=12")
    folder = tmp_path / "runs" / f"job_{job}"
    deadline = time.monotonic() + 60
    while not (folder / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    slurm.call(tmp_path, "scontrol", "requeue", job)
    assert slurm.wait(job, 300) == "COMPLETED", story(slurm, tmp_path)
    status = read_status(folder / "run.json")
    assert status["status"] == "completed"
    assert len(status["resumed"]) == 1
    done = trainkit(
        tmp_path, "run", *DIGITS, "trainer.epochs=12", "trainer.processes=2", "hydra.run.dir=whole"
    )
    assert done.returncode == 0, done.stderr
    check_same(tmp_path / "whole", folder)
