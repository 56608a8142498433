"""Where a run computes, and how exactly it can be repeated."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import ignite.distributed as idist
import torch

__all__ = ["deterministic_algorithms", "device_of"]


def device_of(name: str) -> torch.device:
    """The device called `name`; `auto`: an accelerator if there is one, else the CPU.

    Raises:
        ValueError: There is no such device here.
    """
    if idist.get_world_size() > 1:
        return idist.device()
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None else torch.device(found.type, 0)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # Keep the first sentence only; the rest may advertise a nightly build.
        reason = re.split(r"(?<=[^.])\. |https?://", str(error).splitlines()[0])[0].rstrip(" .:(")
        if "aten::" in reason:
            reason = "torch was built without it"
        raise ValueError(
            f"trainer.device must be a device that this machine has (auto, cpu, cuda:0, ...), got "
            f"{name!r}: {reason}"
        ) from error
    if device.type == "meta":
        raise ValueError("trainer.device must be a device that computes, got 'meta'")
    return device


@contextmanager
def deterministic_algorithms(enabled: bool) -> Iterator[None]:
    """Let torch use deterministic algorithms only, inside the context."""
    if not enabled:
        yield
        return
    # Without it cuBLAS has no deterministic algorithm; it is read when CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cudnn = torch.backends.cudnn
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.benchmark,
    )
    torch.use_deterministic_algorithms(True)
    cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.benchmark = before[2]
