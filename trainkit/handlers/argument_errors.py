"""Tell apart exceptions about a wrong argument and those about an unusual model or value."""

from opcode import opname

__all__ = ["is_about_arguments"]


def is_about_arguments(error: Exception) -> bool:
    """Whether trainkit raised it on purpose, to refuse what its caller has passed.

    A `TypeError` or `ValueError` of the same kind may come out of a user's model, which is asked
    for its parameters, or from an oversight here: that must not end a program.
    """
    trace = error.__traceback__
    if not isinstance(error, TypeError | ValueError) or trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    frame = trace.tb_frame
    ours = str(frame.f_globals.get("__name__", "")).partition(".")[0] == "trainkit"
    return ours and opname[frame.f_code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"
