"""The folder of a run: capture, checkpoints, status, log, and interruption by signals."""

from trainkit.rundir.atomic_write import replace_atomically
from trainkit.rundir.bookkeeping import Bookkeeping
from trainkit.rundir.capture import capture
from trainkit.rundir.checkpoint import Best, load_checkpoint, save_checkpoint
from trainkit.rundir.directory import RunDirectory
from trainkit.rundir.history import History, read_history
from trainkit.rundir.log import logged_to
from trainkit.rundir.random_state import (
    preserved_random_state,
    random_state,
    seed_everything,
    set_random_state,
)
from trainkit.rundir.signals import Interrupted, Interruption, interruption
from trainkit.rundir.status import Status, read_status

__all__ = [
    "Best",
    "Bookkeeping",
    "History",
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
    "read_history",
    "read_status",
    "replace_atomically",
    "save_checkpoint",
    "seed_everything",
    "set_random_state",
]
