"""The writers of the trainer and of each evaluator."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from trainkit.writers import open_writer, subrun
from trainkit.writers.folder_names import check_name, folder_inside
from trainkit.writers.open import as_writer, existing_runs
from trainkit.writers.protocol import Sink, Writer

__all__ = ["Destinations", "destinations"]

_log = logging.getLogger("trainkit")


@dataclass(frozen=True)
class Destinations:
    """Writers by name, `train` for the trainer; `owned` are those that were opened here."""

    writers: Mapping[str, Writer]
    owned: Sequence[Writer]

    def flush(self) -> None:
        """Flush the writers that were opened here."""
        for writer in self.owned:
            writer.flush()

    def close(self) -> None:
        """Close the writers that were opened here."""
        for writer in self.owned:
            writer.close()


def destinations(
    writer: Writer | Sink | str | PathLike[str] | Mapping[str, Writer | Sink],
    evaluators: Sequence[str],
) -> Destinations:
    """One writer for the trainer and one for each evaluator.

    Args:
        writer: A writer (evaluators get its sub-runs); a sink, which is written in the background
            and closed at the end; a folder (event files in a folder each); or a mapping that has
            `train` and every evaluator.
        evaluators: Their names; one called `train` shares the trainer's writer.

    Raises:
        TypeError: It is none of these.
        ValueError: The mapping has no writer for one of them, or the name of an evaluator is none
            that a folder can have.
    """
    for name in evaluators:
        check_name(name, "an evaluator")
    names = ["train", *(name for name in evaluators if name != "train")]
    if isinstance(writer, Mapping):
        missing = [name for name in names if name not in writer]
        if missing:
            raise ValueError(
                f"writer must have a writer for each of {', '.join(names)}; "
                f"{', '.join(missing)} missing, got {', '.join(map(str, writer)) or 'none'}"
            )
        given = {name: _checked(writer[name]) for name in names}
        return Destinations(_apart(given), _opened(writer.values(), given.values()))
    if isinstance(writer, str | PathLike):
        folder = Path(writer)
        _tell_of_runs(folder)
        folders = {name: folder_inside(folder, name, "an evaluator") for name in names}
        opened = {name: open_writer(folders[name]) for name in names}
        return Destinations(opened, list(opened.values()))
    run = _checked(writer)
    inside = {name: subrun(run, name) for name in names[1:]}
    return Destinations({"train": run, **inside}, _opened([writer], [run]))


def _apart(writers: dict[str, Writer]) -> dict[str, Writer]:
    """A writer that several share would have their tags twice: all but the first get a sub-run."""
    found: dict[str, Writer] = {}
    for name, writer in writers.items():
        first = next((other for other in found if writers[other] is writer), None)
        if first is not None:
            _log.warning(
                "%s and %s have the same writer: what %s writes goes into its sub-run %r",
                first, name, name, name,
            )  # fmt: skip
        found[name] = writer if first is None else subrun(writer, name)
    return found


def _checked(writer: Any) -> Writer:
    try:
        return as_writer(writer)
    except TypeError as error:
        raise TypeError(
            "writer must have write_scalars and the other verbs of a Writer, or be a Sink (or a "
            f"folder, or a mapping of names to writers), got {writer!r}; an Ignite logger is "
            "wrapped: IgniteLoggerWriter(logger)"
        ) from error


def _opened(given: Iterable[Writer | Sink], writers: Iterable[Writer]) -> list[Writer]:
    """Put a writer in front of every sink."""
    known = list(given)
    return [writer for writer in writers if not any(writer is other for other in known)]


def _tell_of_runs(folder: Path) -> None:
    """Say that the folder holds a run, before another one is written into it."""
    found = existing_runs(folder)
    if found:
        where = ", ".join(dict.fromkeys(str(path) for path in found[:3])) + ", …" * (len(found) > 3)
        _log.warning(
            "writer=%r already holds a run (event files in %s), and TensorBoard will draw both as "
            "one. Give each run a folder of its own, e.g. "
            "writer=f%r, or delete the old one",
            str(folder), where, f"{folder}/{{time.strftime('%Y-%m-%d_%H%M%S')}}",
        )  # fmt: skip
