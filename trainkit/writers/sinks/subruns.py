"""Sub-runs of any writer."""

from trainkit.writers.folder_names import check_name
from trainkit.writers.protocol import Subruns, Writer
from trainkit.writers.sinks.prefix import PrefixWriter

__all__ = ["subrun"]


def subrun(writer: Writer, name: str) -> Writer:
    """The writer of a sub-run: where the same tags belong to another part of the run.

    A writer that knows sub-runs opens its own: TensorBoard draws `loss/total` of the sub-runs
    `train` and `validation` on one chart. Any other writer gets the name before each tag. Either
    way the sub-run ends with `writer`, which is the one to close.

    Args:
        writer: Of the run.
        name: Of the sub-run, such as `validation`: a name that a folder can have.

    Raises:
        TypeError, ValueError: It is no such name, e.g. `../x`.

    Example:
        >>> from trainkit.writers import MemoryWriter
        >>> run = MemoryWriter()
        >>> subrun(run, "validation").write_scalars(1, {"loss/total": 2.0})
        >>> run.subruns["validation"].scalars
        {'loss/total': [(1, 2.0)]}
    """
    check_name(name)
    return writer.subrun(name) if isinstance(writer, Subruns) else PrefixWriter(writer, name)
