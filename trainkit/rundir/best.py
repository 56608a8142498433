"""Which states of a run are the best so far, by one metric."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from trainkit.settings import CheckpointSettings

__all__ = ["Best"]

# Words in the names of metrics for which less is better.
_ERRORS = (
    "loss", "error", "mse", "mae", "rmse", "entropy", "nll", "perplexity", "bits", "nats", "brier",
    "calibration", "distance", "divergence", "deviation",
)  # fmt: skip


@dataclass
class Best:
    """The best values so far of the metric that picks the best checkpoints.

    Args:
        metric: A validation metric, or `loss`.
        mode: `min` or `max`.
        value: The best of all; None: there was no finite value yet.
        iteration: Of the trainer, when it was reached.
        count: How many of the best states are kept.
        kept: Value and iteration of each of these, the best first.

    Example:
        >>> best = Best("accuracy", "max", count=2)
        >>> [best.improve(value, i) for i, value in enumerate([0.5, 0.4, 0.3, 0.6])]
        [True, False, False, True]
        >>> best.value, best.kept
        (0.6, [(0.6, 3), (0.5, 0)])
    """

    metric: str
    mode: str
    value: float | None = None
    iteration: int = 0
    count: int = 1
    kept: list[tuple[float, int]] = field(default_factory=list)

    @classmethod
    def of(cls, settings: CheckpointSettings) -> "Best":
        """As the settings say; with mode `auto`, min for the loss and errors, else max."""
        mode = settings.mode
        if mode == "auto":
            small = any(word in settings.metric.lower() for word in _ERRORS)
            mode = "min" if small else "max"
        return cls(settings.metric, mode, count=settings.keep_best)

    def improve(self, value: float, iteration: int) -> bool:
        """Whether `value` is better than all before; NaN and infinity never are.

        It is noted among the best either way: see `keeps`.
        """
        if not isfinite(value):
            return False
        self.kept.append((value, iteration))
        # Of equal values the earlier one is the better.
        sign = 1 if self.mode == "min" else -1
        self.kept = sorted(self.kept, key=lambda each: (sign * each[0], each[1]))[: self.count]
        if self.kept[0] != (value, iteration):
            return False
        self.value, self.iteration = value, iteration
        return True

    def keeps(self, iteration: int) -> bool:
        """Whether the state of that iteration is one of those to be kept."""
        return any(each[1] == iteration for each in self.kept)

    def state_dict(self) -> dict[str, Any]:
        """The values so far."""
        return {"value": self.value, "iteration": self.iteration, "kept": list(self.kept)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.value, self.iteration = state_dict["value"], state_dict["iteration"]
        self.kept = [(float(value), int(iteration)) for value, iteration in state_dict["kept"]]
