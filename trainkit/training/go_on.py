"""Put an earlier run's state into what was built anew, and record that it goes on."""

from collections.abc import Sequence
from pathlib import Path

import ignite.distributed as idist

from trainkit.rundir import RunDirectory, capture
from trainkit.training.build import Built
from trainkit.training.earlier import Earlier
from trainkit.training.state import StateMismatchError, as_of_process, restore

__all__ = ["go_on", "record"]


def go_on(built: Built, earlier: Earlier) -> list[str]:
    """Restore the state and cut the event files back to it.

    Nothing in the folder is changed before the whole state fits.

    Args:
        built: What takes part in the run now.
        earlier: The run that goes on.

    Returns:
        What the user must know, a line each.

    Raises:
        StateMismatchError: The state does not fit what was built.
        OSError: An event file cannot be cut.
    """
    state = earlier.state
    if state is None:
        if idist.get_rank() == 0:
            earlier.cut_back()
        return []
    if built.iterations < state["iteration"]:
        raise StateMismatchError(
            f"the run is at iteration {state['iteration']}, behind its new end at "
            f"{built.iterations}: trainer.epochs and trainer.max_iterations must leave something"
        )
    notes = [f"resumed at iteration {state['iteration']} of {built.iterations}"]
    notes += as_of_process(state)
    restore(built, state)
    within = state["data"]["drawn"] not in (0, built.source.length)
    if built.source.doubt and within:
        notes.append(built.source.doubt)
    if built.iterations > state["iterations"] and any(
        schedule.length is not None and schedule.length > 0 for schedule in built.schedules.values()
    ):
        notes.append(
            f"the schedule keeps the shape that it had for {state['iterations']} iterations: "
            "behind them the learning rate stands still"
        )
    if idist.get_rank() == 0:
        earlier.cut_back()
    return notes


def record(
    place: RunDirectory, config: str, overrides: Sequence[str], earlier: Earlier | None
) -> None:
    """Write what the run was started with; of one that goes on into a folder of its own.

    There the overrides are those with which it goes on; in the run's own `config.yaml` and
    `overrides.txt` stands what holds from now on.

    Raises:
        OSError: It cannot be written.
    """
    if earlier is None:
        capture(place.path, config, overrides)
        return
    iteration = 0 if earlier.state is None else earlier.state["iteration"]
    folder = place.path / "resumed" / _number(place.path / "resumed", iteration)
    folder.mkdir(parents=True)
    capture(folder, config, overrides)
    if overrides:
        with (place.path / "overrides.txt").open("a", encoding="utf-8") as file:
            file.write((folder / "overrides.txt").read_text(encoding="utf-8"))
        if config:
            (folder / "config.yaml").replace(place.path / "config.yaml")


def _number(folder: Path, iteration: int) -> str:
    """A name that no folder has: a run may be resumed twice at the same iteration."""
    taken = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    name, number = str(iteration), 1
    while name in taken:
        number += 1
        name = f"{iteration}_{number}"
    return name
