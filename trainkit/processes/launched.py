"""The rank of this process, from the environment that torchrun or Slurm has set."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from trainkit.processes.errors import LaunchError

__all__ = ["RankInfo", "launched", "note_of_lone_process", "quiet_torch"]

# Slurm gives a job no port. The same formula in every process, from the number of the job.
_FIRST_PORT, _PORTS = 15_000, 20_000
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class RankInfo:
    """One of several processes that train together.

    Args:
        rank: Its number over all machines.
        world: How many there are.
        local_rank: Its number on its machine, which picks its accelerator.
        address: Of the machine of rank 0; empty: all are on this one.
        port: Where they meet there.
        meeting: A file in which they meet instead, where all are on one machine.
        attempt: How often the launcher has started them all again.
        hosted: The launcher itself listens at address and port.
        by: What started them, for messages.
    """

    rank: int
    world: int
    local_rank: int
    address: str = ""
    port: int = 0
    meeting: str = ""
    attempt: int = 0
    hosted: bool = False
    by: str = "trainkit"


def launched(environ: Mapping[str, str] | None = None) -> RankInfo | None:
    """The place of this process; None where nobody has started several.

    Args:
        environ: By default that of this process.

    Raises:
        LaunchError: Something is missing or makes no sense.

    Example:
        >>> launched({}) is None
        True
        >>> launched({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1",
        ...           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}).world
        2
    """
    given = os.environ if environ is None else environ
    if "RANK" in given or "WORLD_SIZE" in given:
        return _of_torchrun(given)
    if given.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        return _of_slurm(given)
    return None


def quiet_torch() -> None:
    """Have torch not print a C++ stack where another process is gone; before torch is loaded."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def note_of_lone_process(environ: Mapping[str, str] | None = None) -> str:
    """A line for a job that has several tasks, of which only this process was started."""
    given = os.environ if environ is None else environ
    tasks = given.get("SLURM_NTASKS", "1")
    if "SLURM_JOB_ID" in given and tasks != "1" and launched(given) is None:
        return (
            f"this Slurm job has {tasks} tasks, but one process was started, which trains alone: "
            "srun trainkit run ... starts one per task"
        )
    return ""


def _of_torchrun(given: Mapping[str, str]) -> RankInfo:
    lacking = [name for name in _TORCHRUN if name not in given]
    if lacking:
        has = "RANK" if "RANK" in given else "WORLD_SIZE"
        raise LaunchError(
            f"the environment has {has} but not {', '.join(lacking)}: start the processes with "
            f"torchrun --nproc-per-node=2 -m trainkit run ..., or unset {has}"
        )
    rank, world, local, port = (
        _number(given, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
    )
    if not 0 <= rank < world:
        raise LaunchError(f"RANK={rank} must be below WORLD_SIZE={world}")
    return RankInfo(
        rank, world, local, given["MASTER_ADDR"], port,
        attempt=int(given.get("TORCHELASTIC_RESTART_COUNT", "0")),
        hosted=given.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        by="torchrun" if "TORCHELASTIC_RUN_ID" in given else "RANK and WORLD_SIZE",
    )  # fmt: skip


def _of_slurm(given: Mapping[str, str]) -> RankInfo:
    for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_JOB_ID"):
        if name not in given:
            raise LaunchError(
                f"Slurm's environment lacks {name}: start the processes with srun trainkit run ..."
            )
    job = _number(given, "SLURM_JOB_ID")
    port = given.get("MASTER_PORT") or str(_FIRST_PORT + job % _PORTS)
    return RankInfo(
        _number(given, "SLURM_PROCID"),
        _number(given, "SLURM_STEP_NUM_TASKS"),
        _number(given, "SLURM_LOCALID"),
        given.get("MASTER_ADDR") or _first_host(given),
        _number({"MASTER_PORT": port}, "MASTER_PORT"),
        attempt=int(given.get("SLURM_RESTART_COUNT", "0")),
        by="Slurm",
    )


def _first_host(given: Mapping[str, str]) -> str:
    hosts = given.get("SLURM_STEP_NODELIST") or given.get("SLURM_JOB_NODELIST") or ""
    if not hosts:
        raise LaunchError("Slurm's environment lacks SLURM_STEP_NODELIST: set MASTER_ADDR")
    if "[" not in hosts and "," not in hosts:
        return hosts
    scontrol = shutil.which("scontrol")
    if scontrol is None:
        raise LaunchError(f"scontrol is needed to read the hosts {hosts!r}: set MASTER_ADDR")
    command = [scontrol, "show", "hostnames", hosts]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if found.returncode or not found.stdout.strip():
        raise LaunchError(f"scontrol cannot read the hosts {hosts!r}: set MASTER_ADDR")
    return found.stdout.split()[0]


def _number(given: Mapping[str, str], name: str) -> int:
    try:
        return int(given[name])
    except ValueError:
        raise LaunchError(f"{name} must be a whole number, got {given[name]!r}") from None
