"""Over which data an evaluator ran, and so where the numbers of that pass belong."""

import atexit
import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from ignite.engine import Engine, Events, RemovableEventHandle
from torch.utils.data import BatchSampler, DistributedSampler, RandomSampler, SequentialSampler

from trainkit.writers.protocol import Writer

__all__ = ["Passes"]

_log = logging.getLogger("trainkit")

# What the user was told of an engine: all of its monitors would say the same.
_told: "WeakKeyDictionary[Engine, set[str]]" = WeakKeyDictionary()

# Samplers that leave nothing of a data set out; others (of a subset) may.
_WHOLE = (SequentialSampler, RandomSampler, DistributedSampler)


# Writes it as one of this evaluator; writes it as one over the training data; with this writer.
_Pass = tuple[Callable[[], None], Callable[[], None] | None, Writer]


class Passes:
    """Tells the passes of one evaluator apart: by their data, their step and the trainer's run.

    - A pass over the trainer's own data (the same object, or a loader of the same `dataset`)
      belongs to training, if the evaluator runs over other data too. Whether it does may not be
      known yet: then the pass waits until the trainer goes on.
    - A pass before the trainer has ever run waits until it does, or until the program ends: what
      the trainer's data are is not known yet.
    - Of several passes over other data at one iteration, the first is written. If an evaluator
      runs over several data sets in turn at different iterations, the first of them is its own.
    - Of several passes over the same data at one iteration, the first is written: nothing is lost.
    - A second `trainer.run` counts its iterations from 1 again; its passes are written too.

    What is not written, or not where one would look for it, is said once, in the log.

    Args:
        trainer: Its data and its iteration are what counts.
        name: What the evaluator is called; `train` is for one that runs over the training data.
        train: Where the metrics of a pass over the training data go; None leaves them out.

    Cost:
        Nothing in an iteration.
    """

    def __init__(self, trainer: Engine, name: str = "", train: Writer | None = None) -> None:
        self.trainer = trainer
        self.train = train
        self.name = name
        self._members = 0
        self._handles: list[RemovableEventHandle] = []
        self._waiting: list[RemovableEventHandle] = []
        self._end: RemovableEventHandle | None = None
        self._held: list[_Pass] = []
        self._early: list[tuple[Any, list[_Pass]]] = []
        self._own: Any = None
        self._between = self._in_turn = False
        self._run = 0
        self._running = False
        self._last_step = -1
        self._sealed: set[int] = set()
        self._place: str | None = None
        self._shared = False
        self._over_training_data = False
        self._at: tuple[int, int] | None = None
        self._seen: list[Any] = []
        self._written = False

    def join(self, evaluator: Engine) -> None:
        """One more monitor observes the passes of `evaluator`."""
        self._members += 1
        if not self._handles:
            self._handles = [
                evaluator.add_event_handler(Events.STARTED, self._begin),
                self.trainer.add_event_handler(Events.STARTED, self._begin_run),
            ]

    def leave(self) -> None:
        """One monitor less; with the last one the event handlers go."""
        self._members -= 1
        if self._members <= 0:
            self._members = 0
            self._place_early(None)
            self._release(as_training=False)
            self._forget_end()
            for handle in self._handles:
                handle.remove()
            self._handles, self._seen = [], []

    def complete(
        self,
        evaluator: Engine,
        writer: Writer,
        write: Callable[[], None],
        as_training: Callable[[], None] | None = None,
    ) -> None:
        """A monitor has seen the whole of a pass: write it where it belongs, now or later.

        Args:
            evaluator: Which has run.
            writer: That `write` uses.
            write: Writes the pass as one of this evaluator.
            as_training: Writes it as one over the training data; None where nobody needs that.
        """
        if self._place is None:
            self._place = self._placed(evaluator)
        if self._run > 1 and id(writer) not in self._sealed:
            self._sealed.add(id(writer))
            writer.flush()  # the run before may have written the same step; do not replace it
        if self._place == "own":
            write()
        elif self._place == "train" and as_training is not None:
            as_training()
        elif self._place == "held":
            self._held.append((write, as_training, writer))
        elif self._place == "early":
            self._early[-1][1].append((write, as_training, writer))

    def _begin(self, evaluator: Engine) -> None:
        self._place = None

    def _begin_run(self, trainer: Engine) -> None:
        self._running = True
        self._forget_end()  # attached anew, to come behind evaluations that `COMPLETED` starts
        self._end = trainer.add_event_handler(Events.COMPLETED, self._end_run)
        if trainer.state.iteration == 0:  # otherwise the run continues
            self._run += 1
            self._sealed.clear()
            self._own, self._between, self._in_turn = None, False, False
        self._place_early(trainer)

    def _end_run(self, trainer: Engine) -> None:
        self._running = False

    def _forget_end(self) -> None:
        if self._end is not None:
            self._end.remove()
            self._end = None

    def _place_early(self, trainer: Engine | None) -> None:
        """Write the passes that came before the trainer ran, if any: it runs now, or never."""
        early, self._early = self._early, []
        if not early:
            return
        atexit.unregister(self._end_early)
        of_training = None if trainer is None else trainer.state.dataloader
        trained = [entries for data, entries in early if _same(data, of_training)]
        others = [entries for data, entries in early if not _same(data, of_training)]
        if trained and not others:
            self._at, self._held = (self._run, 0), trained[0]
            self._wait()
            return
        if trained:
            self._shared = self._over_training_data = True
            self._tell_where()
        if len(others) > 1:
            self._tell_other(0)
        chosen = [write for write, _, _ in others[0]]
        chosen += [write for entries in trained for _, write, _ in entries if write is not None]
        for write in chosen:
            write()

    def _end_early(self) -> None:
        self._place_early(None)

    def _placed(self, evaluator: Engine) -> str:
        if self.trainer.state.dataloader is None and self.train is not None and not self._running:
            data = evaluator.state.dataloader
            if any(_same(data, other) for other, _ in self._early):
                return "nowhere"
            if not self._early:
                atexit.register(self._end_early)
            self._early.append((data, []))
            return "early"
        self._place_early(self.trainer)  # from a handler of `STARTED` that comes before ours
        data, step = evaluator.state.dataloader, self.trainer.state.iteration
        if self._at != (self._run, step):
            self._release(as_training=False)
            self._at, self._seen, self._written = (self._run, step), [], False
            if step <= self._last_step and self._run > 1:
                self._tell(
                    self.trainer, "twice", logging.INFO,
                    "the trainer runs again and counts its iterations from 1: steps that come "
                    "twice are written twice; give each run a folder of its own to keep them apart",
                )  # fmt: skip
            self._last_step = max(step, self._last_step)
        if any(_same(data, seen) for seen in self._seen):
            # `EPOCH_COMPLETED | COMPLETED` evaluates twice after the last epoch: nothing is lost.
            self._tell(
                evaluator, "again", logging.INFO,
                f"{self} ran more than once at iteration {step}, on the same data; only the "
                "first pass is written",
            )  # fmt: skip
            return "nowhere"
        self._seen.append(data)
        if _same(data, self.trainer.state.dataloader):
            return self._over_training(evaluator, step)
        return self._over_other_data(evaluator, step)

    def _over_training(self, evaluator: Engine, step: int) -> str:
        self._over_training_data = True
        if self.name == "train":
            self._written = True
            return "own"
        if self._shared:
            self._tell_where()
            return "train"
        if self._running or self.trainer.last_event_name == Events.STARTED:
            self._wait()
            return "held"
        self._tell_own(evaluator, step)
        return "own"

    def _wait(self) -> None:
        self._waiting = self._waiting or [
            self.trainer.add_event_handler(event, self._nobody_came)
            for event in (Events.ITERATION_STARTED, Events.COMPLETED)
        ]

    def _over_other_data(self, evaluator: Engine, step: int) -> str:
        self._shared = True
        if self._held:
            self._tell_where()
            self._release(as_training=True)
        if self._written or (self.name == "train" and self._over_training_data):
            self._tell_other(step)
            return "nowhere"
        if not self._is_own(evaluator):
            return "nowhere"
        self._written = True
        return "own"

    def _is_own(self, evaluator: Engine) -> bool:
        """Whether these are its own data: not if it runs over several data sets in turn."""
        data = evaluator.state.dataloader
        if self._own is None:
            self._own = data
        own = _same(data, self._own)
        # Data that are made anew for each pass are never seen again.
        if own and self._between and not self._in_turn:
            self._in_turn = True
            self._tell(
                evaluator, "turn", logging.WARNING,
                f"{self} runs over several data sets in turn; from now on only the passes over the "
                "first of them are written. Give each data set an evaluator of its own",
            )  # fmt: skip
        self._between |= not own
        return own or not self._in_turn

    def _nobody_came(self, trainer: Engine) -> None:
        writers = {id(writer): writer for _, _, writer in self._held}
        if self._held:
            self._tell_own(None, self._at[1] if self._at else 0)
        self._release(as_training=False)
        if (
            trainer.last_event_name == Events.COMPLETED
        ):  # the other writers have been flushed by now
            for writer in writers.values():
                writer.flush()

    def _release(self, *, as_training: bool) -> None:
        """Write the passes that were held back."""
        for handle in self._waiting:
            handle.remove()
        held, self._held, self._waiting = self._held, [], []
        for write, write_as_training, _ in held:
            chosen = write_as_training if as_training else write
            if chosen is not None:
                chosen()

    def _tell_other(self, step: int) -> None:
        self._tell(
            self.trainer, f"other {self.name}", logging.WARNING,
            f"{self} ran more than once at iteration {step}, on different data; only its first "
            "pass is written. Give each data set an evaluator of its own",
        )  # fmt: skip

    def _tell_where(self) -> None:
        where, level, advice = "written to train", logging.INFO, ""
        if self.train is None:
            where, level = "left out", logging.WARNING
            advice = "; give each data set an evaluator of its own"
        self._tell(
            self.trainer, f"where {self.name}", level,
            f"{self} runs over the training data too: the metrics of those passes are {where}"
            f"{advice}",
        )  # fmt: skip

    def _tell_own(self, evaluator: Engine | None, step: int) -> None:
        self._tell(
            evaluator or self.trainer, f"own {self.name}", logging.WARNING,
            f"{self} ran over the training data themselves at iteration {step}: what is written "
            "under its name is no validation; run it over data of its own, or call it 'train'",
        )  # fmt: skip

    def _tell(self, engine: Engine, what: str, level: int, line: str) -> None:
        told = _told.setdefault(engine, set())
        if what not in told:
            told.add(what)
            _log.log(level, "%s", line)

    def __str__(self) -> str:
        return f"the evaluator {self.name!r}" if self.name else "an evaluator"


def _same(data: Any, other: Any) -> bool:
    """Whether these are the same data: one object, or two loaders of one data set."""
    if data is None or other is None:
        return False
    if data is other:
        return True
    dataset = getattr(data, "dataset", None)
    if dataset is None or dataset is not getattr(other, "dataset", None):
        return False
    return (_whole(data) and _whole(other)) or getattr(data, "sampler", data) is getattr(
        other, "sampler", other
    )


def _whole(loader: Any) -> bool:
    """Whether a loader takes all of its data set, as far as that can be told."""
    batches = type(getattr(loader, "batch_sampler", None))
    return type(getattr(loader, "sampler", None)) in _WHOLE and batches in (
        BatchSampler,
        type(None),
    )
