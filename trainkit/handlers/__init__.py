"""Monitors for any Ignite engine: one file per item of the checklist, and one call for all."""

from trainkit.handlers.activations import ActivationMonitor
from trainkit.handlers.attach import attach_monitors
from trainkit.handlers.attached import AttachedMonitors
from trainkit.handlers.budget import Budget, CostMonitor, Metered
from trainkit.handlers.cadence import Cadence, Every
from trainkit.handlers.calibration import CalibrationMonitor
from trainkit.handlers.gradients import GradientMonitor
from trainkit.handlers.hyperparameters import HyperparameterMonitor
from trainkit.handlers.kinds import prediction_kind
from trainkit.handlers.losses import LossMonitor
from trainkit.handlers.memory import MemoryMonitor
from trainkit.handlers.metrics import MetricMonitor
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.output import StepOutput, as_step_output
from trainkit.handlers.parameter_monitor import ParameterMonitor
from trainkit.handlers.predictions import PredictionMonitor
from trainkit.handlers.sampler import Sampler
from trainkit.handlers.throughput import ThroughputMonitor
from trainkit.handlers.updates import UpdateMonitor
from trainkit.handlers.weights import WeightMonitor

__all__ = [
    "ActivationMonitor",
    "AttachedMonitors",
    "Budget",
    "Cadence",
    "CalibrationMonitor",
    "CostMonitor",
    "Every",
    "GradientMonitor",
    "HyperparameterMonitor",
    "LossMonitor",
    "MemoryMonitor",
    "Metered",
    "MetricMonitor",
    "Monitor",
    "ParameterMonitor",
    "PredictionMonitor",
    "Sampler",
    "StepOutput",
    "ThroughputMonitor",
    "UpdateMonitor",
    "WeightMonitor",
    "as_step_output",
    "attach_monitors",
    "prediction_kind",
]
