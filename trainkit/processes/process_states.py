"""What differs between the processes of a run, gathered in process 0 for a checkpoint."""

import base64
import io
import time
from typing import Any

import torch

from trainkit.processes.channel import Channel, ChannelClosedError

__all__ = ["gather_states", "send_state"]

_PATIENCE, _LOOK = 10.0, 0.02  # seconds


def send_state(channel: Channel, number: int, state: Any) -> None:
    """Send the state of this process to process 0, without waiting.

    Args:
        channel: Between the processes.
        number: Of the checkpoint, as all processes count them: an iteration may have two.
        state: Tensors, plain values and containers of these; small.
    """
    kept = io.BytesIO()
    torch.save(state, kept)
    channel.put(f"state/{number}/{channel.rank}", base64.b64encode(kept.getvalue()).decode())


def gather_states(channel: Channel, number: int, own: Any) -> list[Any] | None:
    """The states of all processes, by rank; None where one is missing. For process 0.

    Args:
        channel: Between the processes.
        number: Of the checkpoint.
        own: That of this process.

    Cost: waits for the other processes to come to the end of this iteration.
    """
    found, deadline = [own], time.monotonic() + _PATIENCE
    try:
        for rank in range(1, channel.world):
            while (text := channel.take(f"state/{number}/{rank}")) is None:
                if time.monotonic() > deadline:
                    return None
                time.sleep(_LOOK)
            kept = io.BytesIO(base64.b64decode(text))
            found.append(torch.load(kept, map_location="cpu", weights_only=True))
    except ChannelClosedError:
        return None
    return found
