"""Make deferred images and texts from what was read."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainkit.writers.deferred import Deferred, PrCurve
from trainkit.writers.protocol import LeftOut

__all__ = ["Made", "make_deferred", "note_writing"]

_log = logging.getLogger("trainkit")

# Tags whose value could not be made; each is logged once.
_told: set[str] = set()


class Made:
    """Values by tag.

    Attributes:
        images: uint8, `[1, C, H, W]`.
        texts: Texts.
        pr_curves: float32, `[6, T]`.
    """

    def __init__(self) -> None:
        self.images: dict[str, NDArray[np.uint8]] = {}
        self.texts: dict[str, str] = {}
        self.pr_curves: dict[str, NDArray[np.float32]] = {}


def make_deferred(
    deferred: Mapping[str, Deferred], arrays: Mapping[str, Sequence[NDArray[Any]]]
) -> Made:
    """Make each of them; one that fails is left out, with one line in the log.

    Args:
        deferred: Tag → what is to be made.
        arrays: Tag → its parts.
    """
    made = Made()
    for tag, one in deferred.items():
        try:
            value = one.made(arrays[tag])
            if isinstance(one, PrCurve):
                made.pr_curves[tag] = _curve(value)
            elif isinstance(value, str):
                made.texts[tag] = value
            else:
                made.images[tag] = _image(value)
        except LeftOut:
            continue
        except Exception as error:  # the rest of this step is still valid
            if tag not in _told:
                _told.add(tag)
                _log.warning(
                    "%s cannot be made and is left out: %s: %s", tag, type(error).__name__, error
                )
    return made


def note_writing(deferred: Iterable[tuple[Deferred, Any]], seconds: float) -> None:
    """Note what writing them took: the first one's time is the rest of all of it.

    Args:
        deferred: What was made and written, each in front of something else.
        seconds: Processor time of reading, making and writing all of them.
    """
    all_of_them = [one for one, _ in deferred]
    rest = seconds - sum(one.seconds for one in all_of_them)
    all_of_them[0].seconds += max(0.0, rest)


def _curve(value: Any) -> NDArray[np.float32]:
    curve = np.asarray(value, np.float32)
    if curve.ndim != 2 or len(curve) != 6:
        raise ValueError(f"a PR curve must have shape [6, T], got {list(curve.shape)}")
    return curve


def _image(value: Any) -> NDArray[np.uint8]:
    image = np.asarray(value)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise ValueError(
            "a deferred value must be a str, or an image: uint8 [H, W, C] with C in 1, 3, 4; got "
            f"{type(value).__name__} {image.dtype} {list(image.shape)}"
        )
    return image.transpose(2, 0, 1)[None]
