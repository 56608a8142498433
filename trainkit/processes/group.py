"""The group of processes that train together."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import FileStore, PrefixStore, TCPStore  # type: ignore[attr-defined]

from trainkit.processes.errors import LaunchError
from trainkit.processes.launched import RankInfo

__all__ = ["Rendezvous", "broadcast", "differences", "process_group"]

_TO_MEET = timedelta(seconds=120)
# Of our keys in a store of the launcher, which outlives a restart of all processes.
_KEPT = "trainkit"


@contextmanager
def process_group(
    place: RankInfo, *, backend: str | None, device: str, timeout: timedelta, name: str = ""
) -> Iterator["Rendezvous"]:
    """Join the other processes in a group of `torch.distributed`; Ignite works with it, too.

    Args:
        place: Of this process.
        backend: Of torch.distributed; None: `nccl` on CUDA devices, else `gloo`.
        device: As `trainer.device` has it.
        timeout: A collective that takes longer fails.
        name: Of the run, where the same processes make several, one after the other.

    Raises:
        LaunchError: The group cannot be made.
    """
    backend = backend or ("nccl" if _on_cuda(device) else "gloo")
    # As torchrun sets it: Ignite and users' code read it, and the next run of this process.
    os.environ.update(
        RANK=str(place.rank),
        WORLD_SIZE=str(place.world),
        LOCAL_RANK=str(place.local_rank),
        MASTER_ADDR=place.address or "127.0.0.1",
        MASTER_PORT=str(place.port),
    )
    if place.meeting:  # all on this machine: nothing of them is to be seen from outside
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    try:
        store: Any = _store(place)
        dist.init_process_group(
            backend,
            store=PrefixStore(f"{_KEPT}{name}/attempt_{place.attempt}", store),
            rank=place.rank,
            world_size=place.world,
            timeout=timeout,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        where = f" at {place.address}:{place.port}" if place.address else ""
        raise LaunchError(
            f"process {place.rank} of {place.world} cannot meet the others{where} (started by "
            f"{place.by}): {reason}; MASTER_PORT chooses another port"
        ) from error
    if backend == "nccl":
        torch.cuda.set_device(place.local_rank)
    try:
        yield Rendezvous(store if place.hosted else None, name)
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()


class Rendezvous:
    """What the processes of a group have in common.

    Args:
        kept: A store that outlives a restart of all processes; None: there is none.
        name: Of the run.
    """

    def __init__(self, kept: Any, name: str = "") -> None:
        self._kept = None if kept is None else PrefixStore(f"{_KEPT}{name}", kept)

    def directory(self, own: Callable[[], str]) -> tuple[str, bool]:
        """The folder of the run, the same in all processes.

        Args:
            own: Makes it; called in the first process only, and only at the first attempt.

        Returns:
            The folder, and whether an earlier attempt of the same launcher has used it.
        """
        found: tuple[str, bool] = ("", False)
        if dist.get_rank() == 0:
            if self._kept is not None and self._kept.check(["directory"]):
                found = (self._kept.get("directory").decode(), True)
            else:
                found = (own(), False)
                if self._kept is not None:
                    self._kept.set("directory", found[0])
        directory, again = broadcast(found)
        return directory, again


def broadcast(value: Any) -> Any:
    """What the first process has; every process must call it at the same point.

    Where there is no group of processes, it is the value itself.
    """
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=_device())
    return box[0]


def differences(own: dict[str, Any]) -> list[str]:
    """Where the processes differ: a line for each key.

    Args:
        own: Key → value of this process.
    """
    first = broadcast(own)
    differ = [
        f"{key} is {first.get(key)!r} in process 0 and {own.get(key)!r} in process "
        f"{dist.get_rank()}"
        for key in {**first, **own}
        if first.get(key) != own.get(key)
    ]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, differ)
    return [line for each in found for line in each]


def _store(place: RankInfo) -> Any:
    if place.meeting:
        return FileStore(place.meeting, place.world)
    hosts = place.rank == 0 and not place.hosted
    return _tcp_store(place.address, place.port, place.world, hosts)


@cache
def _tcp_store(address: str, port: int, world: int, hosts: bool) -> Any:
    """Once in a process: the runs of a sweep meet at the same port, one after the other."""
    return TCPStore(address, port, world, is_master=hosts, timeout=_TO_MEET, wait_for_workers=False)


def _on_cuda(device: str) -> bool:
    return device in ("auto", "cuda") and torch.cuda.is_available()


def _device() -> torch.device | None:
    if dist.get_backend() == "nccl":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return None
