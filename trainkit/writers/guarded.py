"""What a monitor writes through: it keeps faults in, and notes what was written."""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from torch import Tensor

from trainkit.writers.deferred import for_writer
from trainkit.writers.open import as_writer
from trainkit.writers.outage import Outage
from trainkit.writers.protocol import Curve, Histogram, Histograms, Point, Scalars, Sink, Writer
from trainkit.writers.sinks.subruns import subrun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GuardedWriter"]

_log = logging.getLogger("trainkit")

# After this many refused numbers in a row for one reason, the writer counts as faulty.
_FEW = 3
# Sets of tags that are known at a time; a monitor writes a few.
_MANY = 16


class GuardedWriter:
    """Hands everything to a writer, keeps its faults in, and notes what was written.

    - An entry that cannot be written (a complex number, a picture of the wrong shape) costs that
      entry: one line in the log names it, and the rest of the mapping is written.
    - A writer that fails otherwise (or refuses everything) is logged once, and once more when the
      verb that failed works again, with the steps that were lost. Monitors that share a writer
      share these lines.
    - Values whose verb the writer lacks are left out.

    Args:
        writer: Anything with the writer's verbs, or a sink. It stays its owner's to flush and
            close.
    """

    def __init__(self, writer: Writer | Sink) -> None:
        if isinstance(writer, GuardedWriter):
            writer = writer.writer
        #: The writer itself.
        self.writer: Writer = as_writer(writer)
        #: The tags that were written, and the last step.
        self.tags: set[str] = set()
        self.last: int | None = None
        # Sets of tags that are in `tags` already: with thousands of tags one look here takes a
        # tenth of the time of a look for each of them.
        self._noted: set[tuple[str, ...]] = set()
        self._faults = faults = _faults_of(self.writer)
        # A set: looking at it at each write costs no call.
        self._troubled = faults.troubled

    def __repr__(self) -> str:
        return repr(self._faults)

    def __str__(self) -> str:
        """What was written, in a few words."""
        if self.last is None:
            return "nothing written so far"
        found = len(self.tags)
        return f"{found} tag{'s' if found != 1 else ''} written, last at iteration {self.last}"

    @property
    def failing(self) -> BaseException | None:
        """What keeps the writer from writing now; None where all is well."""
        return self._faults.outage.error

    def write_scalars(self, step: int, scalars: Mapping[str, Tensor | float]) -> None:
        """Write numbers."""
        # Hot path (every sampled iteration): no call but that of the writer.
        try:
            self.writer.write_scalars(step, scalars)
        except Exception as error:
            self._faults.fail(error, "write_scalars", step, scalars)
        else:
            if self._troubled:
                self._faults.succeed("write_scalars")
        self.last = step
        kind = type(scalars)
        if kind is Point:
            tags = scalars.curve.tags  # type: ignore[attr-defined]
        elif kind is Scalars:
            if scalars.largest is not None:  # type: ignore[attr-defined]
                return  # only the largest are written; which ones is not known yet
            tags = scalars.tags  # type: ignore[attr-defined]
        else:
            if not self.tags.issuperset(scalars):
                self.tags.update(scalars)
            return
        if tags not in self._noted:
            self._note(tags)

    def points(self, curve: Curve) -> "Callable[[int, tuple[float, ...] | Tensor], None] | None":
        """A function that writes points of a curve with few operations, if the writer has one.

        What is written with it is not noted (set `last`), and what it raises is not kept in.
        """
        found = getattr(self.writer, "points", None)
        return None if found is None else found(curve)

    def write_histograms(self, step: int, histograms: Mapping[str, Tensor | Histogram]) -> None:
        """Write distributions."""
        self._write("write_histograms", step, histograms)

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Write texts."""
        self._write("write_texts", step, for_writer(self.writer, texts))

    def write_images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Write images."""
        self._write("write_images", step, for_writer(self.writer, images))

    def write_figures(self, step: int, figures: "Mapping[str, Figure]") -> None:
        """Write figures."""
        self._write("write_figures", step, figures)

    def write_hparams(self, step: int, hparams: Mapping[str, bool | float | str]) -> None:
        """Write hyperparameters."""
        self._faults.write("write_hparams", step, hparams)

    def subrun(self, name: str) -> "GuardedWriter":
        """The sub-run of the writer, guarded too."""
        return GuardedWriter(subrun(self.writer, name))

    def flush(self) -> None:
        """Flush the writer."""
        self._faults.attempt(self.writer.flush)

    def close(self) -> None:
        """Close the writer."""
        self._faults.attempt(self.writer.close)
        self._faults.outage.close()

    def _note(self, tags: tuple[str, ...]) -> None:
        if len(self._noted) >= _MANY:
            self._noted.clear()
        self._noted.add(tags)
        self.tags.update(tags)

    def _write(self, verb: str, step: int, values: Mapping[str, Any]) -> None:
        if not values:
            return
        self._faults.write(verb, step, values)
        self.last = step
        self.tags.update(values)


class _Faults:
    """The account of one writer's failures, shared by all monitors that write to it.

    Args:
        writer: The writer; it is kept alive.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.outage = Outage(repr(self))
        #: Holds something while the next success of a verb has to be looked at.
        self.troubled: set[str] = set()
        self._told: set[str] = set()
        # The verb that failed last; the numbers that were refused in a row, all for one reason.
        self._failed = ""
        self._reason = ""
        self._refused: set[str] = set()

    def __repr__(self) -> str:
        try:
            return repr(self.writer)
        except Exception:  # it is asked for the log
            return f"a {type(self.writer).__name__}"

    def attempt(self, act: Callable[[], object]) -> None:
        """Do something else with the writer, such as flushing it."""
        try:
            act()
        except Exception as error:
            if not self.outage:
                self._failed = ""  # success of any verb shows that it works again
            self._go_down(error)

    def write(self, verb: str, step: int, values: Mapping[str, Any]) -> None:
        """Write with this verb."""
        try:
            getattr(self.writer, verb)(step, values)
        except Exception as error:
            self.fail(error, verb, step, values)
        else:
            if self.troubled:
                self.succeed(verb)

    def succeed(self, verb: str) -> None:
        """A verb works."""
        if verb == "write_scalars":
            self._refused.clear()
            self.troubled.discard("refused")
        if self._failed in (verb, ""):
            self.outage.end()
            self.troubled.discard("down")

    def fail(self, error: Exception, verb: str, step: int, values: Mapping[str, Any]) -> None:
        """A verb raised."""
        if isinstance(error, AttributeError) and not hasattr(self.writer, verb):
            self._leave_out(values, AttributeError(f"the writer has no {verb}"))
        elif not isinstance(error, (TypeError, ValueError)):
            self._failed = verb
            self._go_down(error)
            self.outage.lose(step, step, 1)
        elif len(values) == 1 or isinstance(values, Scalars | Histograms):
            self._refuse(error, verb, step, values)
        else:
            for tag in values:
                self.write(verb, step, {tag: values[tag]})

    def _go_down(self, error: Exception) -> None:
        self.outage.fail(error)
        self.troubled.add("down")

    def _refuse(self, error: Exception, verb: str, step: int, values: Mapping[str, Any]) -> None:
        """An entry is refused; several in a row for the same reason are the writer's fault."""
        numbers = verb == "write_scalars"
        if numbers:
            if str(error) != self._reason:
                self._reason = str(error)
                self._refused.clear()
            self._refused.add(next(map(str, values), ""))
            self.troubled.add("refused")
        if not numbers or len(self._refused) < _FEW:
            self._leave_out(values, error)
        else:
            self._failed = verb
            self._go_down(error)
            self.outage.lose(step, step, 1)

    def _leave_out(self, values: Mapping[str, Any], error: Exception) -> None:
        tag, *others = (str(tag) for tag in values)
        if tag not in self._told:
            self._told.add(tag)
            and_others = f" (and {len(others)} that came with it)" if others else ""
            _log.warning(
                "%r%s cannot be written and is left out: %s: %s",
                tag, and_others, type(error).__name__, error,
            )  # fmt: skip


# Accounts in use, by the id of the writer. An account keeps its writer alive, so that the id stays
# valid; an entry goes with the last monitor that uses it.
_in_use: "WeakValueDictionary[int, _Faults]" = WeakValueDictionary()


def _faults_of(writer: Writer) -> _Faults:
    """Return the account of this writer; the same one while any monitor uses it."""
    return _in_use.get(id(writer)) or _in_use.setdefault(id(writer), _Faults(writer))
