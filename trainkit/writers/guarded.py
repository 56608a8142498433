"""What monitors write through: neither a faulty value nor a faulty writer is their fault."""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from torch import Tensor

from trainkit.writers.outage import Outage
from trainkit.writers.protocol import Histogram, Histograms, Scalars, Writer
from trainkit.writers.subruns import subrun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GuardedWriter", "guarded", "unguarded"]

_log = logging.getLogger("trainkit")

# By the id of the writer inside: all monitors that share a writer share what is said about it.
_known: "WeakValueDictionary[int, GuardedWriter]" = WeakValueDictionary()


class GuardedWriter:
    """Hands everything to a writer, and keeps its faults in.

    - An entry that cannot be written (a complex number, a picture of the wrong shape) costs that
      entry: one line in the log names it, and the rest of the mapping is written.
    - A writer that fails otherwise is said to fail once, and once more when it works again, with
      the steps that were lost.

    Args:
        writer: Anything with the writer's verbs. It stays its owner's to flush and close.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self._outage = Outage(repr(writer))
        self._told: set[str] = set()

    def __repr__(self) -> str:
        return repr(self.writer)

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
            self._fail(error, self.writer.write_scalars, step, scalars)
        else:
            if self._outage:
                self._outage.end()

    def write_histograms(self, step: int, histograms: Mapping[str, Tensor | Histogram]) -> None:
        """Write distributions."""
        self._write(self.writer.write_histograms, step, histograms)

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Write texts."""
        self._write(self.writer.write_texts, step, texts)

    def write_images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Write images."""
        self._write(self.writer.write_images, step, images)

    def write_figures(self, step: int, figures: "Mapping[str, Figure]") -> None:
        """Write figures."""
        self._write(self.writer.write_figures, step, figures)

    def write_hparams(self, step: int, hparams: Mapping[str, bool | float | str]) -> None:
        """Write hyperparameters."""
        self._write(self.writer.write_hparams, step, hparams)

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
            self._outage.fail(error)

    def _write(
        self, verb: Callable[[int, Any], None], step: int, values: Mapping[str, Any]
    ) -> None:
        try:
            verb(step, values)
        except Exception as error:
            self._fail(error, verb, step, values)
        else:
            self._outage.end()

    def _fail(
        self,
        error: Exception,
        verb: Callable[[int, Any], None],
        step: int,
        values: Mapping[str, Any],
    ) -> None:
        if not isinstance(error, (TypeError, ValueError)):
            self._outage.fail(error)
            self._outage.lose(step, step, 1)
        elif len(values) == 1 or isinstance(values, Scalars | Histograms):
            self._leave_out(values, error)
        else:
            for tag in values:
                self._write(verb, step, {tag: values[tag]})

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
