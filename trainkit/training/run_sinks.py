"""The sinks of a run: where its numbers go in addition to the event files."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

from trainkit.fill_partials import by_name, check_complete, complete, described
from trainkit.rundir import preserved_random_state
from trainkit.training.sinks import NEEDED, check_file, json_lines
from trainkit.writers import BackgroundWriter
from trainkit.writers.as_sink import as_sink
from trainkit.writers.outage import failing
from trainkit.writers.protocol import Sink
from trainkit.writers.sinks.subsinks import PrefixSink
from trainkit.writers.step.host_step import Step

__all__ = ["PATIENCE", "RunSinks", "check_sinks"]

#: How long a sink may take to close at the end of a run, in seconds.
PATIENCE = 120.0

#: What a sink may wait for.
_KNOWN = ("directory", "run", "name", "resumed_at")


def check_sinks(sinks: Any) -> dict[str, Any]:
    """The sinks of a run by name, if each is one, or makes one from what the run has.

    Raises:
        TypeError: One is no sink, or waits for what the run does not have.
        ValueError: A package is not installed, or a file has a name that it may not have.
    """
    found = by_name(sinks, "sinks")
    for name, part in found.items():
        key = f"sinks.{name}"
        if not isinstance(part, partial):
            try:
                as_sink(part)
            except TypeError as error:
                raise TypeError(f"{key} must be a sink, got {described(part)}") from error
            continue
        check_complete(part, dict.fromkeys(_KNOWN), key)
        if part.func is json_lines and "file" in part.keywords:
            try:
                check_file(str(part.keywords["file"]))
            except ValueError as error:
                raise ValueError(f"{key}.{error}") from error
        package, install = NEEDED.get(part.func, ("", ""))
        if package and find_spec(package) is None:
            raise ValueError(
                f"{key} needs the package {package}, which is not installed: pip install {install}"
            )
    return found


class RunSinks:
    """Hands the steps of all parts of the data to the user's sinks, under `<part>/<tag>`.

    A sink that cannot be opened or closed is named in the log, and the run goes on without it.

    Args:
        sinks: By name, checked.
        known: What they may wait for: `directory`, `run` (its id), `name`, `resumed_at`.
        keep_in: Calls a function, and keeps what it raises from ending the run.
    """

    def __init__(
        self,
        sinks: Mapping[str, Any],
        known: Mapping[str, Any],
        keep_in: Callable[[str, Callable[[], object]], None],
    ) -> None:
        self._keep_in = keep_in
        self._opened: dict[str, _Shared] = {}
        for name, part in sinks.items():
            keep_in(f"sinks.{name}", partial(self._open, name, part, known))

    def join(self, writer: BackgroundWriter, part: str) -> None:
        """Have everything that is written for a part of the data come to the sinks too."""
        for shared in self._opened.values():
            writer.add_sink(_Part(shared, part))

    def describe(self, hparams: Mapping[str, bool | float | str]) -> None:
        """Have the hyperparameters of the run written in front of everything else."""
        for shared in self._opened.values():
            shared.first = [Step(0, time.time(), hparams=hparams)]

    def close(self, completed: bool) -> None:
        """Close them, when all writers are closed.

        Args:
            completed: Whether the training came to its end.
        """
        for name, shared in self._opened.items():
            self._keep_in(f"sinks.{name}", partial(shared.end, completed))
        self._opened.clear()

    def _open(self, name: str, part: Any, known: Mapping[str, Any]) -> None:
        # Services draw ids, and ClearML takes over the signals on which a run saves itself.
        with preserved_random_state(), _preserved_signals():
            self._opened[name] = _Shared(name, as_sink(complete(part, known, f"sinks.{name}")))


class _Shared:
    """One sink behind the writers of several parts, each of which has a thread of its own."""

    def __init__(self, name: str, sink: Sink) -> None:
        self._name = name
        self._sink = sink
        self._lock = threading.Lock()
        #: Steps to be written before all others.
        self.first: list[Step] = []

    def __repr__(self) -> str:
        return f"sinks.{self._name}"

    def write(self, steps: Sequence[Step]) -> None:
        """Write all of them."""
        with self._lock:
            if self.first:
                self._sink.write(self.first)
                self.first = []
            self._sink.write(steps)

    @property
    def failing(self) -> BaseException | None:
        """What keeps a sink that raises nothing from writing now."""
        return failing(self._sink)

    def flush(self) -> None:
        """Flush the sink."""
        with self._lock:
            self._sink.flush()

    def close(self) -> None:
        """It is closed by `end`, once for all parts."""

    def end(self, completed: bool) -> None:
        """Close the sink; one that wants to know is told whether the run was completed.

        Raises:
            TimeoutError: It did not return; the thread that waits for it does not keep the
                process from ending.
            BaseException: What it has raised.
        """
        if hasattr(self._sink, "completed"):
            self._sink.completed = completed
        raised: list[BaseException] = []

        def close() -> None:
            try:
                self._sink.close()
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=close, name=f"trainkit close {self!r}", daemon=True)
        thread.start()
        thread.join(PATIENCE)
        if thread.is_alive():
            raise TimeoutError(f"close() did not return within {PATIENCE:g} seconds")
        if raised:
            raise raised[0]


class _Part(PrefixSink):
    """One part of the data."""

    def __init__(self, shared: _Shared, part: str) -> None:
        super().__init__(shared, part)
        self._shared = shared

    def __repr__(self) -> str:
        return repr(self._shared)

    @property
    def failing(self) -> BaseException | None:
        """As of the sink."""
        return self._shared.failing


@contextmanager
def _preserved_signals() -> Iterator[None]:
    """Put back the signal handlers that are replaced inside."""
    if threading.current_thread() is not threading.main_thread():
        yield  # nobody can replace one from here
        return
    before = {each: signal.getsignal(each) for each in signal.valid_signals()}
    try:
        yield
    finally:
        for each, handler in before.items():
            if handler is not None and signal.getsignal(each) is not handler:
                signal.signal(each, handler)
