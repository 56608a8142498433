"""The public names of trainkit, listed here and nowhere else.

`trainkit/__init__.py` reads this file and imports a name when it is first used; type checkers and
editors read it too. `docs/public_names.md` shows the list with a sentence for each name.
"""

from .config.loading import LoadedRun as LoadedRun
from .config.loading import load_run as load_run
from .data import Batches as Batches
from .data import Data as Data
from .engines import supervised_evaluator as supervised_evaluator
from .engines import supervised_trainer as supervised_trainer
from .handlers import ActivationMonitor as ActivationMonitor
from .handlers import AttachedMonitors as AttachedMonitors
from .handlers import Budget as Budget
from .handlers import CalibrationMonitor as CalibrationMonitor
from .handlers import CostMonitor as CostMonitor
from .handlers import Every as Every
from .handlers import GradientMonitor as GradientMonitor
from .handlers import HyperparameterMonitor as HyperparameterMonitor
from .handlers import LossMonitor as LossMonitor
from .handlers import MemoryMonitor as MemoryMonitor
from .handlers import Metered as Metered
from .handlers import MetricMonitor as MetricMonitor
from .handlers import Moment as Moment
from .handlers import Monitor as Monitor
from .handlers import ParameterMonitor as ParameterMonitor
from .handlers import PictureMonitor as PictureMonitor
from .handlers import PredictionMonitor as PredictionMonitor
from .handlers import Sampler as Sampler
from .handlers import ThroughputMonitor as ThroughputMonitor
from .handlers import UpdateMonitor as UpdateMonitor
from .handlers import WeightMonitor as WeightMonitor
from .handlers import as_step_output as as_step_output
from .handlers import attach_monitors as attach_monitors
from .handlers import prediction_kind as prediction_kind
from .losses import L1 as L1
from .losses import L2 as L2
from .losses import EntropyBonus as EntropyBonus
from .losses import Losses as Losses
from .settings import CheckpointSettings as CheckpointSettings
from .settings import MonitorSettings as MonitorSettings
from .settings import TrainerSettings as TrainerSettings
from .stats import Members as Members
from .training import RunResult as RunResult
from .training import run as run
from .writers import BackgroundWriter as BackgroundWriter
from .writers import Curve as Curve
from .writers import Deferred as Deferred
from .writers import EventFileWriter as EventFileWriter
from .writers import Histogram as Histogram
from .writers import Histograms as Histograms
from .writers import IgniteLoggerWriter as IgniteLoggerWriter
from .writers import JsonLinesSink as JsonLinesSink
from .writers import MemoryWriter as MemoryWriter
from .writers import Point as Point
from .writers import PrCurve as PrCurve
from .writers import PrefixWriter as PrefixWriter
from .writers import PrometheusSink as PrometheusSink
from .writers import Scalars as Scalars
from .writers import SeveralWriter as SeveralWriter
from .writers import Sink as Sink
from .writers import Step as Step
from .writers import Writer as Writer
from .writers import open_writer as open_writer
from .writers import subrun as subrun

__version__: str
