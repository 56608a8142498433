"""Texts and tables about a run on the dashboard: how it began and how it ended."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from trainkit.dashboard.graph import write_graph
from trainkit.dashboard.hyperparameters import RunRow
from trainkit.dashboard.layout import write_layout
from trainkit.dashboard.model_table import model_table
from trainkit.dashboard.projector import write_projector
from trainkit.dashboard.texts import OUTCOME, starting_texts
from trainkit.rundir import Bookkeeping, RunDirectory, preserved_random_state
from trainkit.settings import MonitorSettings
from trainkit.training.build import Built
from trainkit.training.dry_run import preserved_buffers
from trainkit.training.embeddings import embeddings_of, thumbnails_of
from trainkit.training.evaluating import in_order
from trainkit.writers.protocol import Writer

__all__ = ["About", "preserved_modes"]

KeepIn = Callable[[str, Callable[[], object]], None]


class About:
    """Writes texts, the row in HPARAMS, and, when asked for, graph and embeddings.

    Args:
        place: The folder of the run.
        built: What takes part in the run.
        settings: Whether graph and embeddings are asked for.
        keep_in: Calls a function; what it raises is told under a name, and ends nothing.
    """

    def __init__(
        self,
        place: RunDirectory,
        built: Built,
        settings: MonitorSettings,
        keep_in: KeepIn,
    ) -> None:
        self._train: Writer | None = None
        self._place = place
        self._built = built
        self._settings = settings
        self._keep_in = keep_in
        self._row: RunRow | None = None
        self._books = Bookkeeping()

    def prepare(self) -> None:
        """Write what must stand in `train/` before its writer is opened.

        TensorBoard reads the files of a folder in the order of their names, and never goes back.

        Raises:
            OSError: The layout cannot be written.
        """
        folder = self._place.events("train")
        write_layout(folder)
        if self._settings.graph:
            self._keep_in("monitor.graph", self._write_graph)

    def started(
        self,
        train: Writer,
        config: str,
        hparams: Mapping[str, bool | float | str],
        shapes: Mapping[nn.Module, str],
        books: Bookkeeping,
        began: float | None = None,
        resumed: bool = False,
    ) -> None:
        """Write what the run was started with; of a run that is resumed it is there already.

        Args:
            train: The writer of `train/`.
            config: Resolved, YAML.
            hparams: Of the row in the table of runs; empty: no row.
            shapes: Module → shape of what it returns.
            books: Keeps a full disk from ending the run.
            began: When the run began, in seconds since the epoch; None: now.
            resumed: It is resumed now.
        """
        self._train, self._books = train, books

        if not resumed:
            self.changed(0, config, shapes)
        if hparams:
            self._row = RunRow(self._place.results, self._place.label, hparams, began)
            if not resumed:
                self.record(0, {}, {})

    def changed(self, step: int, config: str, shapes: Mapping[nn.Module, str]) -> None:
        """Write with what the run goes on from a step, 0 at its start."""
        train = self._train

        def describe() -> None:
            if train is not None:
                table = model_table(self._built.models, shapes)
                train.write_texts(step, starting_texts(self._place.path, config, table))

        self._keep_in("texts about the run", describe)

    def record(
        self,
        step: int,
        best: Mapping[str, Mapping[str, float]],
        last: Mapping[str, Mapping[str, float]],
        test: Mapping[str, float] | None = None,
        outcome: str = "running",
    ) -> None:
        """Bring the row of this run in the table of runs up to date; see `RunRow.update`.

        Args:
            step: The trainer's iteration.
            best: Part of the data → metric → value, where the run was best.
            last: The same of the last evaluation.
            test: Metric → value of the test data.
            outcome: How it ended.
        """
        row = self._row
        if row is not None:
            part = "validation" if "validation" in last else "train"
            values = best.get(part, {}), last.get(part, {}), test
            self._keep_in(
                "the row in HPARAMS",
                lambda: self._books.keep("results", lambda: row.update(step, *values, outcome)),
            )

    def ended(self, step: int, text: str) -> None:
        """Write how the run ended.

        Args:
            step: The trainer's iteration.
            text: In Markdown.
        """
        train = self._train
        if train is not None:
            self._keep_in("outcome", lambda: train.write_texts(step, {OUTCOME: text}))
        if self._settings.projector:
            self._keep_in("monitor.projector", self._write_projector)

    def _write_graph(self) -> None:
        model, batches = self._only_model("graph")
        x = next(iter(batches))[0]
        with self._in_evaluation():
            write_graph(self._place.events("train"), model, x.to(self._built.device))

    def _write_projector(self) -> None:
        model, batches = self._only_model("projector")
        with self._in_evaluation():
            found = embeddings_of(model, batches, self._built.device)
        names = tuple(getattr(self._built.data, "classes", ()))
        labels = [_label(y, names) for y in found.targets] if found.targets is not None else []
        write_projector(
            self._place.events("train"), found.values,
            labels or [str(i) for i in range(len(found.values))], thumbnails_of(found.inputs),
        )  # fmt: skip

    def _only_model(self, key: str) -> tuple[nn.Module, Iterable[Any]]:
        built = self._built
        part = built.data.train if built.data.validation is None else built.data.validation
        if list(built.models) != ["model"] or hasattr(part, "__next__"):
            raise ValueError(f"monitor.{key} needs one model and data that can be read again")
        return built.models["model"], in_order(part)

    @contextmanager
    def _in_evaluation(self) -> Iterator[None]:
        """Evaluation mode; random state, modes and buffers are put back."""
        models = self._built.models
        with (
            preserved_random_state(),
            preserved_modes(models),
            preserved_buffers(models.values()),
        ):
            for model in models.values():
                model.eval()
            yield


def _label(target: Tensor, names: Sequence[str]) -> str:
    if target.numel() != 1:
        return " ".join(f"{value:.4g}" for value in target.flatten().tolist()[:8])
    value = target.item()
    whole = not target.is_floating_point() and 0 <= value < len(names)
    return names[int(value)] if whole else f"{value:.4g}"


@contextmanager
def preserved_modes(models: Mapping[str, nn.Module]) -> Iterator[None]:
    """Put the modules' training or evaluation mode back."""
    modes = [(module, module.training) for root in models.values() for module in root.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
