"""Where a number goes: the `Writer` protocol, and the writers that keep it."""

from trainkit.log_faults import keep_in
from trainkit.writers.background import BackgroundWriter
from trainkit.writers.deferred import Deferred, PrCurve
from trainkit.writers.open import existing_runs, open_writer
from trainkit.writers.protocol import (
    Curve,
    Histogram,
    Histograms,
    Point,
    Scalars,
    Sink,
    Subruns,
    Writer,
)
from trainkit.writers.sinks.event_file import EventFileWriter
from trainkit.writers.sinks.ignite_loggers import IgniteLoggerWriter
from trainkit.writers.sinks.json_lines import JsonLinesSink
from trainkit.writers.sinks.memory import MemoryWriter
from trainkit.writers.sinks.prefix import PrefixWriter
from trainkit.writers.sinks.prometheus import PrometheusSink
from trainkit.writers.sinks.several import SeveralWriter
from trainkit.writers.sinks.subruns import subrun
from trainkit.writers.step.host_step import Step

__all__ = [
    "BackgroundWriter",
    "Curve",
    "Deferred",
    "EventFileWriter",
    "Histogram",
    "Histograms",
    "IgniteLoggerWriter",
    "JsonLinesSink",
    "MemoryWriter",
    "Point",
    "PrCurve",
    "PrefixWriter",
    "PrometheusSink",
    "Scalars",
    "SeveralWriter",
    "Sink",
    "Step",
    "Subruns",
    "Writer",
    "existing_runs",
    "open_writer",
    "subrun",
]

# Everything that monitors and writers say goes through this logger. Handlers import writers too.
keep_in("trainkit")
