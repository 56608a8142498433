"""What monitors write through: neither a faulty value nor a faulty writer is their fault."""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from torch import Tensor

from trainkit.writers.outage import Outage
from trainkit.writers.protocol import Histogram, Histograms, Scalars, Writer
from trainkit.writers.sinks.subruns import subrun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GuardedWriter", "guarded", "unguarded"]

_log = logging.getLogger("trainkit")

# So many different numbers that are refused in a row for the same reason are at no fault.
_FEW = 3

# By the id of the writer inside: all monitors that share a writer share what is said about it.
_known: "WeakValueDictionary[int, GuardedWriter]" = WeakValueDictionary()


class GuardedWriter:
    """Hands everything to a writer, and keeps its faults in.

    - An entry that cannot be written (a complex number, a picture of the wrong shape) costs that
      entry: one line in the log names it, and the rest of the mapping is written.
    - A writer that fails otherwise is said to fail once, and once more when that works again which
      failed, with the steps that were lost. So is one that refuses whatever it is given.
    - What it has no verb for is left out.

    Args:
        writer: Anything with the writer's verbs. It stays its owner's to flush and close.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self._outage = Outage(repr(self))
        self._told: set[str] = set()
        # Which verb failed last; and the numbers that were refused in a row, all for one reason.
        self._failed = ""
        self._reason = ""
        self._refused: set[str] = set()

    def __repr__(self) -> str:
        try:
            return repr(self.writer)
        except Exception:  # it is asked for the log
            return f"a {type(self.writer).__name__}"

    @property
    def failing(self) -> BaseException | None:
        """What keeps the writer from writing now; None where all is well."""
        return self._outage.error

    def write_scalars(self, step: int, scalars: Mapping[str, Tensor | float]) -> None:
        """Write numbers."""
        # The usual case with few operations: monitors call it in sampled iterations.
        try:
            self.writer.write_scalars(step, scalars)
        except Exception as error:
            self._fail(error, "write_scalars", step, scalars)
        else:
            if self._outage or self._refused:
                self._succeed("write_scalars")

    def write_histograms(self, step: int, histograms: Mapping[str, Tensor | Histogram]) -> None:
        """Write distributions."""
        self._write("write_histograms", step, histograms)

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Write texts."""
        self._write("write_texts", step, texts)

    def write_images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Write images."""
        self._write("write_images", step, images)

    def write_figures(self, step: int, figures: "Mapping[str, Figure]") -> None:
        """Write figures."""
        self._write("write_figures", step, figures)

    def write_hparams(self, step: int, hparams: Mapping[str, bool | float | str]) -> None:
        """Write hyperparameters."""
        self._write("write_hparams", step, hparams)

    def subrun(self, name: str) -> Writer:
        """The sub-run of the writer, guarded too."""
        return guarded(subrun(self.writer, name))

    def flush(self) -> None:
        """Flush the writer."""
        self._attempt(self.writer.flush)

    def close(self) -> None:
        """Close the writer."""
        self._attempt(self.writer.close)
        self._outage.close()

    def _attempt(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            if not self._outage:
                self._failed = ""  # any verb may show that it works again
            self._outage.fail(error)

    def _write(self, verb: str, step: int, values: Mapping[str, Any]) -> None:
        try:
            getattr(self.writer, verb)(step, values)
        except Exception as error:
            self._fail(error, verb, step, values)
        else:
            self._succeed(verb)

    def _succeed(self, verb: str) -> None:
        if verb == "write_scalars":
            self._refused.clear()
        if self._failed in (verb, ""):
            self._outage.end()

    def _fail(self, error: Exception, verb: str, step: int, values: Mapping[str, Any]) -> None:
        if isinstance(error, AttributeError) and not hasattr(self.writer, verb):
            self._leave_out(values, AttributeError(f"the writer has no {verb}"))
        elif not isinstance(error, (TypeError, ValueError)):
            self._failed = verb
            self._outage.fail(error)
            self._outage.lose(step, step, 1)
        elif len(values) == 1 or isinstance(values, Scalars | Histograms):
            self._refuse(error, verb, step, values)
        else:
            for tag in values:
                self._write(verb, step, {tag: values[tag]})

    def _refuse(self, error: Exception, verb: str, step: int, values: Mapping[str, Any]) -> None:
        """An entry is refused; after some in a row for the same reason it is the writer's fault."""
        numbers = verb == "write_scalars"
        if numbers:
            if str(error) != self._reason:
                self._reason = str(error)
                self._refused.clear()
            self._refused.add(next(map(str, values), ""))
        if not numbers or len(self._refused) < _FEW:
            self._leave_out(values, error)
        else:
            self._failed = verb
            self._outage.fail(error)
            self._outage.lose(step, step, 1)

    def _leave_out(self, values: Mapping[str, Any], error: Exception) -> None:
        tag, *others = (str(tag) for tag in values)
        if tag not in self._told:
            self._told.add(tag)
            and_others = f" (and {len(others)} that came with it)" if others else ""
            _log.warning(
                "%r%s cannot be written and is left out: %s: %s",
                tag, and_others, type(error).__name__, error,
            )  # fmt: skip


def guarded(writer: Writer) -> GuardedWriter:
    """The guard of a writer, the same one each time; of a guarded writer itself."""
    if isinstance(writer, GuardedWriter):
        return writer
    found = _known.get(id(writer))
    if found is None or found.writer is not writer:
        found = _known[id(writer)] = GuardedWriter(writer)
    return found


def unguarded(writer: Writer) -> Writer:
    """The writer inside."""
    return writer.writer if isinstance(writer, GuardedWriter) else writer
