"""Terminal output: streams that never raise, a progress bar, tables, numbers as text."""

from trainkit.screen.bar import Bar
from trainkit.screen.commands import (
    again_command,
    board_command,
    is_of_sweep,
    replay_command,
    resume_command,
    shown_path,
)
from trainkit.screen.frames import own_frames
from trainkit.screen.streams import (
    Guard,
    guarded_streams,
    open_closed_streams,
    settle_streams,
)
from trainkit.screen.table import Column, Table
from trainkit.screen.terminal import has_color, is_interactive, width_of
from trainkit.screen.wording import (
    counted,
    duration,
    number,
    numbers_text,
    titled,
    values_text,
)

__all__ = [
    "Bar",
    "Column",
    "Guard",
    "Table",
    "again_command",
    "board_command",
    "counted",
    "duration",
    "guarded_streams",
    "has_color",
    "is_interactive",
    "is_of_sweep",
    "number",
    "numbers_text",
    "open_closed_streams",
    "own_frames",
    "replay_command",
    "resume_command",
    "settle_streams",
    "shown_path",
    "titled",
    "values_text",
    "width_of",
]
