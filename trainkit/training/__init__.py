"""One run: plain objects in, a finished run out; no Hydra."""

from trainkit.training.early_stopping import early_stopping
from trainkit.training.end_summary import summary
from trainkit.training.finite import NonFiniteLossError
from trainkit.training.replay import Replay, replay
from trainkit.training.result import RunResult
from trainkit.training.run import run
from trainkit.training.target import stop_at_target

__all__ = [
    "NonFiniteLossError",
    "Replay",
    "RunResult",
    "early_stopping",
    "replay",
    "run",
    "stop_at_target",
    "summary",
]
