"""The data of a policy gradient: it makes its own, so only the number of updates counts."""

from trainkit.data.data import Data

__all__ = ["episodes"]


def episodes(updates: int = 20, batch_size: int = 100) -> Data:
    """Updates of a policy instead of batches; the engine plays the episodes itself.

    Args:
        updates: Iterations in an epoch.
        batch_size: Episodes that an evaluation plays.

    Raises:
        ValueError: One is less than 1.

    Example:
        >>> len(episodes(updates=3).train), list(episodes().test)
        (3, [(100, 2)])
    """
    for name, value in (("updates", updates), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"data.{name} must be 1 or more, got {value}")
    # With the number, what makes the starts of each part others than those of the other.
    return Data(train=range(updates), validation=[(batch_size, 1)], test=[(batch_size, 2)])
