"""Where a number goes: the `Writer` protocol, and the writers that keep it."""

from trainkit.log_faults import keep_in
from trainkit.writers.background import BackgroundWriter
from trainkit.writers.event_file import EventFileWriter
from trainkit.writers.ignite_logger import IgniteLoggerWriter
from trainkit.writers.memory import MemoryWriter
from trainkit.writers.opening import existing_runs, open_writer
from trainkit.writers.prefix import PrefixWriter
from trainkit.writers.protocol import Curve, Histogram, Histograms, Point, Scalars, Subruns, Writer
from trainkit.writers.several import SeveralWriter
from trainkit.writers.subruns import subrun

__all__ = [
    "BackgroundWriter",
    "Curve",
    "EventFileWriter",
    "Histogram",
    "Histograms",
    "IgniteLoggerWriter",
    "MemoryWriter",
    "Point",
    "PrefixWriter",
    "Scalars",
    "SeveralWriter",
    "Subruns",
    "Writer",
    "existing_runs",
    "open_writer",
    "subrun",
]

# Everything that monitors and writers say goes through this logger. Handlers import writers too.
keep_in("trainkit")
