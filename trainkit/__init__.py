"""Training monitoring for PyTorch: right numbers, undisturbed training, a cost you allow.

The handlers and writers work in any Ignite project:

    from trainkit import attach_monitors

    attach_monitors(trainer, model=model, optimizers=optimizer, loss_fn=loss_fn, writer="runs/mine")

Every public name can be imported from here; it is loaded when it is first used, so that
`import trainkit` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainkit.config.loading import LoadedRun as LoadedRun
    from trainkit.config.loading import load_run as load_run
    from trainkit.data import Batches as Batches
    from trainkit.data import Data as Data
    from trainkit.engines import supervised_evaluator as supervised_evaluator
    from trainkit.engines import supervised_trainer as supervised_trainer
    from trainkit.handlers import ActivationMonitor as ActivationMonitor
    from trainkit.handlers import AttachedMonitors as AttachedMonitors
    from trainkit.handlers import Budget as Budget
    from trainkit.handlers import CalibrationMonitor as CalibrationMonitor
    from trainkit.handlers import CostMonitor as CostMonitor
    from trainkit.handlers import Every as Every
    from trainkit.handlers import GradientMonitor as GradientMonitor
    from trainkit.handlers import HyperparameterMonitor as HyperparameterMonitor
    from trainkit.handlers import LossMonitor as LossMonitor
    from trainkit.handlers import MemoryMonitor as MemoryMonitor
    from trainkit.handlers import Metered as Metered
    from trainkit.handlers import MetricMonitor as MetricMonitor
    from trainkit.handlers import Monitor as Monitor
    from trainkit.handlers import ParameterMonitor as ParameterMonitor
    from trainkit.handlers import PredictionMonitor as PredictionMonitor
    from trainkit.handlers import Sampler as Sampler
    from trainkit.handlers import ThroughputMonitor as ThroughputMonitor
    from trainkit.handlers import UpdateMonitor as UpdateMonitor
    from trainkit.handlers import WeightMonitor as WeightMonitor
    from trainkit.handlers import as_step_output as as_step_output
    from trainkit.handlers import attach_monitors as attach_monitors
    from trainkit.handlers import prediction_kind as prediction_kind
    from trainkit.losses import L1 as L1
    from trainkit.losses import L2 as L2
    from trainkit.losses import EntropyBonus as EntropyBonus
    from trainkit.losses import Losses as Losses
    from trainkit.settings import CheckpointSettings as CheckpointSettings
    from trainkit.settings import MonitorSettings as MonitorSettings
    from trainkit.settings import TrainerSettings as TrainerSettings
    from trainkit.stats import Members as Members
    from trainkit.training import RunResult as RunResult
    from trainkit.training import run as run
    from trainkit.writers import BackgroundWriter as BackgroundWriter
    from trainkit.writers import EventFileWriter as EventFileWriter
    from trainkit.writers import Histogram as Histogram
    from trainkit.writers import Histograms as Histograms
    from trainkit.writers import IgniteLoggerWriter as IgniteLoggerWriter
    from trainkit.writers import MemoryWriter as MemoryWriter
    from trainkit.writers import PrefixWriter as PrefixWriter
    from trainkit.writers import Scalars as Scalars
    from trainkit.writers import SeveralWriter as SeveralWriter
    from trainkit.writers import Writer as Writer
    from trainkit.writers import open_writer as open_writer
    from trainkit.writers import subrun as subrun

_MODULES = {
    "trainkit.config.loading": ("LoadedRun", "load_run"),
    "trainkit.data": ("Batches", "Data"),
    "trainkit.engines": ("supervised_evaluator", "supervised_trainer"),
    "trainkit.handlers": (
        "ActivationMonitor",
        "AttachedMonitors",
        "Budget",
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
        "ThroughputMonitor",
        "UpdateMonitor",
        "WeightMonitor",
        "as_step_output",
        "attach_monitors",
        "prediction_kind",
    ),
    "trainkit.losses": ("EntropyBonus", "L1", "L2", "Losses"),
    "trainkit.training": ("RunResult", "run"),
    "trainkit.settings": ("CheckpointSettings", "MonitorSettings", "TrainerSettings"),
    "trainkit.stats": ("Members",),
    "trainkit.writers": (
        "BackgroundWriter",
        "EventFileWriter",
        "Histogram",
        "Histograms",
        "IgniteLoggerWriter",
        "MemoryWriter",
        "PrefixWriter",
        "Scalars",
        "SeveralWriter",
        "Writer",
        "open_writer",
        "subrun",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "L1",
    "L2",
    "ActivationMonitor",
    "AttachedMonitors",
    "BackgroundWriter",
    "Batches",
    "Budget",
    "CalibrationMonitor",
    "CheckpointSettings",
    "CostMonitor",
    "Data",
    "EntropyBonus",
    "EventFileWriter",
    "Every",
    "GradientMonitor",
    "Histogram",
    "Histograms",
    "HyperparameterMonitor",
    "IgniteLoggerWriter",
    "LoadedRun",
    "LossMonitor",
    "Losses",
    "Members",
    "MemoryMonitor",
    "MemoryWriter",
    "Metered",
    "MetricMonitor",
    "Monitor",
    "MonitorSettings",
    "ParameterMonitor",
    "PredictionMonitor",
    "PrefixWriter",
    "RunResult",
    "Sampler",
    "Scalars",
    "SeveralWriter",
    "ThroughputMonitor",
    "TrainerSettings",
    "UpdateMonitor",
    "WeightMonitor",
    "Writer",
    "as_step_output",
    "attach_monitors",
    "load_run",
    "open_writer",
    "prediction_kind",
    "run",
    "subrun",
    "supervised_evaluator",
    "supervised_trainer",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("trainkit")
    if name not in _HOMES:
        raise AttributeError(f"module 'trainkit' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
