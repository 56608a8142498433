"""Ignite engines whose step returns named tensors, detached, on the device."""

from trainkit.engines.adversarial import adversarial_engines, adversarial_trainer
from trainkit.engines.adversarial_evaluation import adversarial_evaluator
from trainkit.engines.engines import Engines, Stateful
from trainkit.engines.evaluation import supervised_evaluator
from trainkit.engines.policy_gradient import policy_gradient_engines
from trainkit.engines.sample_score import Judge, SampleScore
from trainkit.engines.supervised import supervised_engines, supervised_trainer

__all__ = [
    "Engines",
    "Judge",
    "SampleScore",
    "Stateful",
    "adversarial_engines",
    "adversarial_evaluator",
    "adversarial_trainer",
    "policy_gradient_engines",
    "supervised_engines",
    "supervised_evaluator",
    "supervised_trainer",
]
