"""Monitors for any Ignite engine: one file per item of the checklist, and one call for all."""

from trainkit.handlers.attach import attach_monitors
from trainkit.handlers.handle import AttachedMonitors
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.monitors.activations import ActivationMonitor
from trainkit.handlers.monitors.calibration import CalibrationMonitor
from trainkit.handlers.monitors.cost import CostMonitor
from trainkit.handlers.monitors.gradients import GradientMonitor
from trainkit.handlers.monitors.hyperparameters import HyperparameterMonitor
from trainkit.handlers.monitors.losses import LossMonitor
from trainkit.handlers.monitors.memory import MemoryMonitor
from trainkit.handlers.monitors.metrics import MetricMonitor
from trainkit.handlers.monitors.pictures import PictureMonitor
from trainkit.handlers.monitors.predictions import PredictionMonitor
from trainkit.handlers.monitors.throughput import ThroughputMonitor
from trainkit.handlers.monitors.updates import UpdateMonitor
from trainkit.handlers.monitors.weights import WeightMonitor
from trainkit.handlers.output.as_step_output import StepOutput, as_step_output
from trainkit.handlers.output.prediction_kind import prediction_kind
from trainkit.handlers.parameter_monitor import ParameterMonitor
from trainkit.handlers.sampling.budget import Budget
from trainkit.handlers.sampling.cadence import Cadence, Every
from trainkit.handlers.sampling.metered import Metered
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.sampler import Sampler

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
    "Moment",
    "Monitor",
    "ParameterMonitor",
    "PictureMonitor",
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
