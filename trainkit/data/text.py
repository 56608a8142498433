"""English text, character by character."""

from collections.abc import Iterable

import torch
from torch import Tensor

from trainkit.data.batches import Batches
from trainkit.data.data import Data

__all__ = ["ALPHABET", "encode", "python_reference"]

ALPHABET = "\n" + "".join(map(chr, range(32, 127))) + "\N{REPLACEMENT CHARACTER}"
"""The characters of a text, in the order of their class indices; the last stands for all others.

It is fixed, so that a model has the same size whatever the text and the version of Python."""


def python_reference(
    batch_size: int = 8,
    length: int = 64,
    stride: int = 16,
    validation: float = 0.05,
    test: float = 0.05,
    seed: int = 0,
) -> Data:
    """The language reference that Python carries for its `help()`, about 370,000 characters.

    `x` is int64 of shape `[N, length]`, `y` the same text one character later. Paragraphs that
    the reference repeats under several topics are taken once, so that held-out text is not also
    training text. The parts follow each other: training, validation, test.

    Args:
        batch_size: Windows per batch.
        length: Of a window, in characters.
        stride: Between the beginnings of two training windows, in characters; the windows of
            validation and test part do not overlap.
        validation: Share of the characters that is the validation part; 0: there is none.
        test: Share of the characters that is the test part; 0: there is none.
        seed: Of the order of the training windows.

    Raises:
        ValueError: A value out of range, or a part shorter than one window.

    Source: `pydoc_data.topics` of Python's standard library; it differs a little from version to
    version.
    """
    from pydoc_data.topics import topics

    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise ValueError(
            "data.validation and data.test must be shares, from 0 on, that leave some for "
            f"training, got {validation} and {test}"
        )
    characters = encode("\n\n".join(_different_paragraphs(topics.values())))
    last = len(characters) - round(len(characters) * test)
    first = last - round(len(characters) * validation)
    train = _windows(characters[:first], length, stride)
    valid = _windows(characters[first:last], length, length) if validation else None
    held_out = _windows(characters[last:], length, length) if test else None
    return Data(
        train=Batches(*train, batch_size=batch_size, shuffle=True, seed=seed),
        validation=None if valid is None else Batches(*valid, batch_size=8 * batch_size),
        test=None if held_out is None else Batches(*held_out, batch_size=8 * batch_size),
        classes=tuple(ALPHABET),
    )


def encode(text: str) -> Tensor:
    """The class index of each character, int64, shape `[len(text)]`.

    Example:
        >>> encode("a b\N{SNOWMAN}").tolist()
        [66, 1, 67, 96]
    """
    index = {character: i for i, character in enumerate(ALPHABET)}
    other = len(ALPHABET) - 1
    return torch.tensor([index.get(character, other) for character in text], dtype=torch.int64)


def _different_paragraphs(texts: Iterable[str]) -> list[str]:
    paragraphs = (paragraph for text in texts for paragraph in text.strip("\n").split("\n\n"))
    return list(dict.fromkeys(paragraphs))


def _windows(characters: Tensor, length: int, stride: int) -> tuple[Tensor, Tensor]:
    for key, value in (("data.length", length), ("data.stride", stride)):
        if value < 1:
            raise ValueError(f"{key} must be 1 character or more, got {value}")
    if len(characters) <= length:
        raise ValueError(
            f"data.length={length} is longer than one of the parts of the text, which has "
            f"{len(characters)} characters"
        )
    windows = characters.unfold(0, length + 1, stride)  # a view: the text is in memory once
    return windows[:, :-1], windows[:, 1:]
