"""Learning-rate schedules that know when they move: per iteration, per epoch, or on a plateau."""

from trainkit.schedules.curves import (
    constant,
    cosine,
    multi_step,
    one_cycle,
    reduce_on_plateau,
    step,
)
from trainkit.schedules.schedule import Schedule, as_schedule

__all__ = [
    "Schedule",
    "as_schedule",
    "constant",
    "cosine",
    "multi_step",
    "one_cycle",
    "reduce_on_plateau",
    "step",
]
