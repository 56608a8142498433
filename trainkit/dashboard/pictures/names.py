"""Names of classes in pictures."""

from collections.abc import Sequence

from trainkit.dashboard.pictures.canvas import shortened

__all__ = ["names_of"]


def names_of(classes: int, given: Sequence[str], most: int = 12) -> list[str]:
    """A name for each class, at most so many characters long.

    Args:
        classes: How many there are.
        given: Their names; where there are not as many names as classes, they are for something
            else, and the classes are called by their index.
        most: Characters.

    Example:
        >>> names_of(2, ("malignant", "benign"), 6), names_of(3, ("malignant", "benign"))
        (['mal…nt', 'benign'], ['0', '1', '2'])
    """
    if len(given) != classes:
        return [str(i) for i in range(classes)]
    return [shortened(str(name), most) for name in given]
