"""How much memory the process and its device use."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine

from trainkit.handlers.monitor import Monitor
from trainkit.handlers.sampling.cadence import Cadence
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.writers.protocol import Sink, Writer

__all__ = ["MemoryMonitor"]

_MIB = 2**20
_STATM = Path("/proc/self/statm")


class MemoryMonitor(Monitor):
    """Writes the resident memory of this process, and what torch holds on its CUDA devices.

    Of the process: what is resident now where the system tells (Linux), else its peak so far.
    Of a device: memory in tensors (allocated), memory that torch's allocator keeps (reserved),
    and the peaks of both since the start. All in MiB (2²⁰ bytes), of this process alone.

    Tags: `memory/process_resident_mib` (or `memory/process_peak_resident_mib`);
    `memory/allocated_mib`, `/reserved_mib`, `/peak_allocated_mib`, `/peak_reserved_mib`, with
    several devices `memory/<device>/allocated_mib` and so on.

    Args:
        writer: Where the numbers go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        devices: Which CUDA devices; None is the current one, if CUDA is in use.
        statm: Where Linux tells the size of the process.

    Cost:
        Host calls only, in a sampled iteration; no device is synchronized.

    Example:
        >>> from ignite.engine import Engine
        >>> from trainkit import MemoryMonitor, MemoryWriter
        >>> writer = MemoryWriter()
        >>> trainer = Engine(lambda engine, batch: 0.5)
        >>> handle = MemoryMonitor(writer, every=10).attach(trainer)
        >>> state = trainer.run(range(20))
        >>> [(tag, [step for step, mib in points]) for tag, points in writer.scalars.items()]
        [('memory/process_..._mib', [1, 10, 20])]
    """

    def __init__(
        self,
        writer: Writer | Sink,
        every: int | Cadence | Sampler = 1,
        *,
        devices: Sequence[torch.device | str] | None = None,
        statm: Path = _STATM,
    ) -> None:
        super().__init__(writer, every)
        self._statm = statm
        self._devices = None if devices is None else [torch.device(device) for device in devices]

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        """At the end of the iteration."""
        return {Moment.ITERATION_COMPLETED: self.end}

    def end(self, engine: Engine) -> None:
        """Write how much memory is in use now."""
        self.writer.write_scalars(engine.state.iteration, _process(self._statm) | self._cuda())

    def _cuda(self) -> dict[str, float]:
        # Asking CUDA would create a context, which takes memory.
        if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            return {}
        devices = self._devices
        if devices is None:
            devices = [torch.device("cuda", torch.cuda.current_device())]
        found: dict[str, float] = {}
        for device in devices:
            prefix = "memory/" if len(devices) == 1 else f"memory/{device}/"
            stats = torch.cuda.memory_stats(device)
            for name, key in (
                ("allocated_mib", "allocated_bytes.all.current"),
                ("reserved_mib", "reserved_bytes.all.current"),
                ("peak_allocated_mib", "allocated_bytes.all.peak"),
                ("peak_reserved_mib", "reserved_bytes.all.peak"),
            ):
                found[prefix + name] = stats.get(key, 0) / _MIB
        return found


def _process(statm: Path) -> dict[str, float]:
    try:
        pages = int(statm.read_text().split()[1])
    except OSError:
        return _peak()
    return {"memory/process_resident_mib": pages * os.sysconf("SC_PAGE_SIZE") / _MIB}


def _peak() -> dict[str, float]:
    try:
        import resource
    except ImportError:  # Windows
        return {}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return {"memory/process_peak_resident_mib": peak * unit / _MIB}
