"""Memory of the process."""

from pathlib import Path

import pytest
from ignite.engine import Engine

from trainkit.handlers.monitors.memory import MemoryMonitor
from trainkit.writers import MemoryWriter


def test_the_resident_memory_is_that_of_the_system() -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc on this system")
    writer, trainer = MemoryWriter(), Engine(lambda e, b: None)
    MemoryMonitor(writer, every=2).attach(trainer)
    trainer.run(range(4))
    line = next(x for x in status.read_text().splitlines() if x.startswith("VmRSS"))
    expected = int(line.split()[1]) / 1024
    points = writer.scalars["memory/process_resident_mib"]
    assert [step for step, _ in points] == [1, 2, 4]
    assert float(points[-1][1]) == pytest.approx(expected, rel=0.1)


def test_the_peak_where_there_is_no_proc() -> None:
    writer, trainer = MemoryWriter(), Engine(lambda e, b: None)
    MemoryMonitor(writer, statm=Path("/nowhere/statm")).attach(trainer)
    trainer.run(range(1))
    assert float(writer.scalars["memory/process_peak_resident_mib"][0][1]) > 1
