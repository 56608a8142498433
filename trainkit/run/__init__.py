"""One run: plain objects in, a finished run out; no Hydra."""

from trainkit.run.result import RunResult, summary
from trainkit.run.run import run

__all__ = ["RunResult", "run", "summary"]
