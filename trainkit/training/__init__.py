"""One run: plain objects in, a finished run out; no Hydra."""

from trainkit.training.early_stopping import early_stopping
from trainkit.training.finite import NonFiniteLossError
from trainkit.training.result import RunResult
from trainkit.training.run import run
from trainkit.training.summary import summary

__all__ = ["NonFiniteLossError", "RunResult", "early_stopping", "run", "summary"]
