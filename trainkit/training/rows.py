"""What of an evaluation goes into a row of `history.csv`, and how it compares with the last."""

from collections.abc import Mapping

from torch.optim import Optimizer

from trainkit.rundir import Best

__all__ = ["change", "history_row"]

Values = Mapping[str, Mapping[str, float]]


def history_row(
    iteration: int,
    epoch: int,
    seconds: float,
    optimizers: Mapping[str, Optimizer],
    values: Values,
) -> dict[str, float | None]:
    """Where the run is, the learning rates, and every value of every part of the data.

    Columns: `iteration`, `epoch`, `seconds`, `lr` (`lr/<optimizer>`, `lr/<group>` where there are
    several), `<part>/<name>`.

    Example:
        >>> history_row(7, 1, 0.51, {}, {"train": {"loss": 0.5}})
        {'iteration': 7, 'epoch': 1, 'seconds': 0.51, 'train/loss': 0.5}
    """
    row: dict[str, float | None] = {
        "iteration": iteration,
        "epoch": epoch,
        "seconds": round(seconds, 3),
    }
    for name, optimizer in optimizers.items():
        groups = optimizer.param_groups
        for i, group in enumerate(groups):
            whose = [] if len(optimizers) == 1 else [name]
            which = [] if len(groups) == 1 else [str(group.get("name", i))]
            if "lr" in group:  # a stranger's optimizer may call it otherwise
                row["/".join(["lr", *whose, *which])] = float(group["lr"])
    for part, numbers in values.items():
        row |= {f"{part}/{name}": value for name, value in numbers.items()}
    return row


def change(best: Best, values: Values, before: Values) -> tuple[float | None, bool]:
    """Of the metric that decides, else of the training loss; and whether that is for the better.

    Example:
        >>> best = Best("loss", "min")
        >>> change(best, {"validation": {"loss": 1.5}}, {"validation": {"loss": 2.0}})
        (-0.5, True)
    """
    part, metric, less_is_better = "validation", best.metric, best.mode == "min"
    if metric not in values.get(part, {}):
        part, metric, less_is_better = "train", "loss", True
    now, then = values.get(part, {}).get(metric), before.get(part, {}).get(metric)
    if now is None or then is None:
        return None, False
    return now - then, now != then and (now < then) == less_is_better
