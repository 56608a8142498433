"""Named, weighted loss components; the total is their sum."""

from trainkit.losses.entropy_bonus import EntropyBonus
from trainkit.losses.heads import HeadLoss
from trainkit.losses.losses import Component, LossError, Losses
from trainkit.losses.penalties import L1, L2
from trainkit.losses.targets import adapt_target

__all__ = [
    "L1",
    "L2",
    "Component",
    "EntropyBonus",
    "HeadLoss",
    "LossError",
    "Losses",
    "adapt_target",
]
