"""Short messages between the processes of a run, beside their collectives."""

import os
import socket
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from trainkit.processes.group import broadcast

__all__ = ["Channel", "ChannelClosedError"]

_PATIENCE = timedelta(seconds=20)


class ChannelClosedError(Exception):
    """The process that hosts the messages has ended."""


class Channel:
    """Texts by key, seen by all processes; no collective, so it works while others are in one.

    Args:
        store: Keeps them.
        rank: Of this process.
        world: How many there are.
    """

    def __init__(self, store: Any, rank: int, world: int) -> None:
        self._store = store
        self.rank = rank
        self.world = world

    @classmethod
    def open(cls) -> "Channel":
        """Hosted by the first process; every process must call it at the same point.

        It listens at the address where the group has met (`MASTER_ADDR`), and at no other.
        """
        rank, world = dist.get_rank(), dist.get_world_size()
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
        if rank == 0:
            listening = socket.socket(_family(host), socket.SOCK_STREAM)
            listening.bind((host, 0))
            listening.listen()
            port = listening.getsockname()[1]
            store = TCPStore(
                host, port, world, True, _PATIENCE,
                wait_for_workers=False, master_listen_fd=listening.detach(),
            )  # fmt: skip
            broadcast(port)
        else:
            port = broadcast(None)
            store = TCPStore(host, port, world, False, _PATIENCE, wait_for_workers=False)
        return cls(store, rank, world)

    def put(self, key: str, text: str) -> None:
        """Say something.

        Raises:
            ChannelClosedError: Nobody can hear it.
        """
        self._do(lambda: self._store.set(key, text))

    def first(self, key: str, text: str) -> str:
        """Say something unless somebody said it before; what stands there now.

        Raises:
            ChannelClosedError: As for `put`.
        """
        return str(self._do(lambda: self._store.compare_set(key, "", text)).decode())

    def get(self, key: str) -> str | None:
        """What was said; None: nothing yet.

        Raises:
            ChannelClosedError: As for `put`.
        """

        def read() -> str | None:
            return self._store.get(key).decode() if self._store.check([key]) else None

        found: str | None = self._do(read)
        return found

    def take(self, key: str) -> str | None:
        """What was said, which is then forgotten; None: nothing yet.

        Raises:
            ChannelClosedError: As for `put`.
        """
        text = self.get(key)
        if text is not None:
            self._do(lambda: self._store.delete_key(key))
        return text

    def of_all(self, key: str) -> list[str | None]:
        """What each process has said under `<key>/<rank>`.

        Raises:
            ChannelClosedError: As for `put`.
        """
        return [self.get(f"{key}/{rank}") for rank in range(self.world)]

    @staticmethod
    def _do(function: Any) -> Any:
        try:
            return function()
        except (RuntimeError, OSError) as error:  # DistNetworkError among them
            raise ChannelClosedError(str(error)) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
