"""The monitors and writers of a run, and what they found."""

from collections.abc import Callable, Mapping
from typing import Any

from trainkit.run.building import Built
from trainkit.run.evaluating import Evaluation
from trainkit.runs import RunDirectory
from trainkit.settings import MonitorSettings

__all__ = ["Monitoring"]


class Monitoring:
    def __init__(self, place, settings, built, evaluations, *, enabled=True):
        self.overhead = None
        self.every = None
        self.non_finite = {}
        self.disabled = {}

    def attach(self):
        pass

    def describe(self, config, hparams):
        pass

    def newest_loss(self):
        return None

    def show(self, step, samples):
        pass

    def facts(self):
        return {}

    def close(self):
        pass
