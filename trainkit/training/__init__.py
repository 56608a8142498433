"""One run: plain objects in, a finished run out; no Hydra."""

from trainkit.training.result import RunResult, summary
from trainkit.training.run import run

__all__ = ["RunResult", "run", "summary"]
