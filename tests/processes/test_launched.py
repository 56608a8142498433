"""How a process learns which of several it is, from the environment that launchers really set."""

import pytest

from trainkit.processes.errors import LaunchError
from trainkit.processes.launched import launched, note_of_lone_process

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "10.0.0.7",
    "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "2",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}  # fmt: skip
SRUN = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "node7", "SLURM_NTASKS": "2",
}  # fmt: skip


def test_nobody_has_started_several() -> None:
    assert launched({}) is None
    assert note_of_lone_process({}) == ""


def test_torchrun() -> None:
    place = launched(TORCHRUN)
    assert place is not None
    assert (place.rank, place.world, place.local_rank, place.attempt) == (3, 4, 1, 2)
    assert (place.address, place.port, place.hosted) == ("10.0.0.7", 29500, True)
    by_hand = launched({k: v for k, v in TORCHRUN.items() if not k.startswith("TORCHELASTIC")})
    assert by_hand is not None
    assert (by_hand.attempt, by_hand.hosted) == (0, False)


def test_srun() -> None:
    place = launched(SRUN)
    assert place is not None
    assert (place.rank, place.world, place.local_rank, place.by) == (1, 2, 1, "Slurm")
    assert (place.address, place.port) == ("node7", 15000 + 4711)
    other = launched({**SRUN, "MASTER_ADDR": "a", "MASTER_PORT": "1234"})
    assert other is not None
    assert (other.address, other.port) == ("a", 1234)


def test_one_task_alone() -> None:
    """`python` in a batch script of two tasks, or in an salloc: one process, and a line."""
    batch = {k: v for k, v in SRUN.items() if not k.startswith("SLURM_STEP")}
    assert launched(batch) is None
    assert "srun trainkit run" in note_of_lone_process(batch)
    salloc = {k: v for k, v in batch.items() if k != "SLURM_PROCID"}
    assert launched(salloc) is None
    assert "2 tasks" in note_of_lone_process(salloc)
    assert note_of_lone_process({**batch, "SLURM_NTASKS": "1"}) == ""


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"RANK": "0"}, "has RANK but not WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "2"}, "has WORLD_SIZE but not RANK"),
        ({**TORCHRUN, "RANK": "x"}, "RANK must be a whole number, got 'x'"),
        ({**TORCHRUN, "RANK": "4"}, "RANK=4 must be below WORLD_SIZE=4"),
        ({k: v for k, v in SRUN.items() if k != "SLURM_PROCID"}, "lacks SLURM_PROCID"),
        ({k: v for k, v in SRUN.items() if "NODELIST" not in k}, "set MASTER_ADDR"),
        ({**SRUN, "MASTER_PORT": "high"}, "MASTER_PORT must be a whole number"),
    ],
)
def test_what_is_missing_is_one_line(environ: dict[str, str], said: str) -> None:
    with pytest.raises(LaunchError) as caught:
        launched(environ)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
