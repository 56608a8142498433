"""The folder of a run: capture, checkpoints, status, log, and interruption by signals."""

from trainkit.rundir.atomic_write import replace_atomically
from trainkit.rundir.best import Best
from trainkit.rundir.bookkeeping import Bookkeeping
from trainkit.rundir.capture import capture
from trainkit.rundir.checkpoint import (
    FORMAT,
    DamagedCheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from trainkit.rundir.checkpoint_folder import CheckpointFolder
from trainkit.rundir.directory import RunDirectory
from trainkit.rundir.history import History, read_history
from trainkit.rundir.lock import RunLock, RunLockedError
from trainkit.rundir.log import logged_to
from trainkit.rundir.random_state import (
    preserved_random_state,
    random_state,
    seed_everything,
    set_random_state,
)
from trainkit.rundir.save_thread import SaveThread
from trainkit.rundir.signals import Interrupted, Interruption, interruption
from trainkit.rundir.snapshot import snapshot
from trainkit.rundir.status import Status, end_for_another, read_status

__all__ = [
    "FORMAT",
    "Best",
    "Bookkeeping",
    "CheckpointFolder",
    "DamagedCheckpointError",
    "History",
    "Interrupted",
    "Interruption",
    "RunDirectory",
    "RunLock",
    "RunLockedError",
    "SaveThread",
    "Status",
    "capture",
    "end_for_another",
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
    "snapshot",
]
