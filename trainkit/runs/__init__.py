"""The folder of a run: capture, checkpoints, status, log, and how a run is interrupted."""

from trainkit.runs.capture import capture
from trainkit.runs.checkpoint import Best, load_checkpoint, save_checkpoint
from trainkit.runs.directory import RunDirectory
from trainkit.runs.log import logged_to
from trainkit.runs.random_state import (
    preserved_random_state,
    random_state,
    seed_everything,
    set_random_state,
)
from trainkit.runs.replacing import replace_atomically
from trainkit.runs.signals import Interrupted, Interruption, interruption
from trainkit.runs.status import Status, read_status

__all__ = [
    "Best",
    "Interrupted",
    "Interruption",
    "RunDirectory",
    "Status",
    "capture",
    "interruption",
    "load_checkpoint",
    "logged_to",
    "preserved_random_state",
    "random_state",
    "read_status",
    "replace_atomically",
    "save_checkpoint",
    "seed_everything",
    "set_random_state",
]
