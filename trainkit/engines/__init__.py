"""Ignite engines whose step returns named tensors, detached, on the device."""

from trainkit.engines.engines import Engines, Stateful
from trainkit.engines.evaluation import supervised_evaluator
from trainkit.engines.supervised import supervised_engines, supervised_trainer

__all__ = [
    "Engines",
    "Stateful",
    "supervised_engines",
    "supervised_evaluator",
    "supervised_trainer",
]
