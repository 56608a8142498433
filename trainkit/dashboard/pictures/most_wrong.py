"""The samples that were predicted worst: images as a picture, rows of a table as a text."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainkit.dashboard.pictures.canvas import SMALL, TEXT, TITLE, WIDTH, Canvas
from trainkit.dashboard.pictures.colours import BLUE, GREY, LIGHT, RED
from trainkit.dashboard.pictures.names import names_of

__all__ = [
    "most_wrong_classes_table",
    "most_wrong_images",
    "most_wrong_tokens_table",
    "most_wrong_values_table",
]

_COLUMNS, _CELL = 4, 148
_FEATURES = 8  # of a row of a table


def most_wrong_images(
    inputs: NDArray[np.float32],
    found: NDArray[np.float64],
    *,
    classes: int,
    class_names: Sequence[str] = (),
) -> NDArray[np.uint8]:
    """The images whose true class was given the smallest probability, the worst one first.

    Below each its true class, and the class that was predicted with its probability: red where
    that is another one. All images have one scale of brightness.

    Args:
        inputs: Shape `[k, C, H, W]` with C 1 or 3, or `[k, H, W]`.
        found: Per sample: position in the data, true class, predicted class, probability of the
            predicted and of the true class; shape `[k, 5]`.
        classes: How many classes there are.
        class_names: Of the classes.

    Returns:
        uint8, shape `[H', 640, 3]`: a row for every four images.

    Cost:
        About 10 ms for 12 images.

    Example:
        >>> found = np.array([[7, 0, 1, 0.9, 0.1]])
        >>> most_wrong_images(np.zeros((1, 1, 8, 8), np.float32), found, classes=2).shape
        (262, 640, 3)
    """
    pictures = _bright(inputs)
    names = names_of(classes, class_names, 8)
    rows = -(-len(pictures) // _COLUMNS)
    height = _CELL + 62
    canvas = Canvas(WIDTH, 44 + rows * height + 8)
    canvas.text(12, 12, "Most wrong: least probable true class first", TITLE)
    for i, (picture, row) in enumerate(zip(pictures, found, strict=True)):
        x = 10 + (i % _COLUMNS) * (_CELL + 9)
        y = 44 + (i // _COLUMNS) * height
        tall, wide = picture.shape[:2]
        scale = _CELL / max(tall, wide)
        size = max(1, round(wide * scale)), max(1, round(tall * scale))
        canvas.paste(picture, x + (_CELL - size[0]) // 2, y + (_CELL - size[1]) // 2, size)
        canvas.box(x - 1, y - 1, x + _CELL, y + _CELL, outline=LIGHT)
        _, true, chosen, likely, _ = row.tolist()
        colour = BLUE if true == chosen else RED
        canvas.text(x, y + _CELL + 5, f"true {names[int(true)]}", TEXT)
        predicted = f"{names[int(chosen)]}?  {100 * likely:.0f} %"
        canvas.text(x, y + _CELL + 30, predicted, TEXT, colour=colour)
    if not len(pictures):
        canvas.text(12, 44, "no sample", SMALL, colour=GREY)
    return canvas.pixels()


def most_wrong_classes_table(
    inputs: NDArray[np.float32],
    found: NDArray[np.float64],
    *,
    classes: int,
    class_names: Sequence[str] = (),
) -> str:
    """The rows whose true class was given the smallest probability, as a Markdown table.

    Args:
        inputs: Shape `[k, ...]`; the first eight numbers of each are shown.
        found: As in `most_wrong_images`.
        classes: How many classes there are.
        class_names: Of the classes.

    Example:
        >>> found = np.array([[7, 0, 1, 0.9, 0.1]])
        >>> print(most_wrong_classes_table(np.ones((1, 2)), found, classes=2))
        | sample | true | predicted | probability of predicted | of true | x0 | x1 |
        |---|---|---|---|---|---|---|
        | 7 | 0 | 1 | 0.9 | 0.1 | 1 | 1 |
    """
    names = [_cell(name) for name in names_of(classes, class_names, 40)]
    rows = [
        [str(int(at)), names[int(true)], names[int(chosen)], f"{likely:.3g}", f"{of_true:.3g}"]
        for at, true, chosen, likely, of_true in found.tolist()
    ]
    heads = ["sample", "true", "predicted", "probability of predicted", "of true"]
    return _table(heads, rows, inputs)


def most_wrong_tokens_table(
    inputs: NDArray[np.int64], found: NDArray[np.float64], *, class_names: Sequence[str]
) -> str:
    """The tokens that were given the smallest probability, and what stands before them.

    Args:
        inputs: Class indices of the tokens before each, shape `[k, context]`; -1: none.
        found: As in `most_wrong_images`.
        class_names: The tokens.

    Example:
        >>> tokens, found = np.array([[-1, 0, 1]]), np.array([[5, 1, 0, 0.8, 0.1]])
        >>> print(most_wrong_tokens_table(tokens, found, class_names=("a", "b")))
        | after | true | predicted | probability of predicted | of true |
        |---|---|---|---|---|
        | `ab` | `b` | `a` | 0.8 | 0.1 |
    """
    heads = ["after", "true", "predicted", "probability of predicted", "of true"]
    rows = []
    for tokens, (_, true, chosen, likely, of_true) in zip(
        inputs.tolist(), found.tolist(), strict=True
    ):
        before = "".join(class_names[i] for i in tokens if 0 <= i < len(class_names))
        texts = (before, class_names[int(true)], class_names[int(chosen)])
        rows.append([*map(_code, texts), f"{likely:.3g}", f"{of_true:.3g}"])
    return _table(heads, rows, np.zeros((len(rows), 0), np.float32))


def most_wrong_values_table(inputs: NDArray[np.float32], found: NDArray[np.float64]) -> str:
    """The rows with the largest residuals, as a Markdown table.

    Args:
        inputs: Shape `[k, ...]`; the first eight numbers of each are shown.
        found: Per sample: position in the data, target, prediction; shape `[k, 3]`.

    Example:
        >>> print(most_wrong_values_table(np.ones((1, 1)), np.array([[3, 2.0, 1.5]])))
        | sample | true | predicted | residual | x0 |
        |---|---|---|---|---|
        | 3 | 2 | 1.5 | 0.5 | 1 |
    """
    rows = [
        [str(int(at)), f"{true:.4g}", f"{guess:.4g}", f"{true - guess:.4g}"]
        for at, true, guess in found.tolist()
    ]
    return _table(["sample", "true", "predicted", "residual"], rows, inputs)


def _table(heads: list[str], rows: list[list[str]], inputs: NDArray[np.float32]) -> str:
    features = inputs.reshape(len(inputs), -1)[:, :_FEATURES].tolist()
    width = len(features[0]) if features else 0
    heads = heads + [f"x{i}" for i in range(width)]
    lines = [heads, ["---"] * len(heads)]
    lines += [
        row + [f"{number:.4g}" for number in numbers]
        for row, numbers in zip(rows, features, strict=True)
    ]
    ruled = ["| " + " | ".join(line) + " |" for line in lines]
    ruled[1] = "|" + "---|" * len(heads)
    return "\n".join(ruled)


def _cell(text: str) -> str:
    """A name as a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("`", "'")


def _code(text: str) -> str:
    """Text in which every blank counts, as a cell of a Markdown table."""
    shown = text.replace("\n", "↵").replace("\t", "→").replace("|", "¦").replace("`", "'")
    return f"`{shown}`" if shown.strip() else f"`·{shown}·`"


def _bright(inputs: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Images as RGB, `[k, H, W, 3]`, with one scale of brightness for all."""
    images = inputs[:, None] if inputs.ndim == 3 else inputs
    images = np.moveaxis(images.astype(np.float64), 1, -1)
    finite = images[np.isfinite(images)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= -1 and high <= 1:
        low, high = -1.0, 1.0
    scaled = (images - low) / (high - low or 1.0)
    grey = np.round(255 * np.clip(np.nan_to_num(scaled), 0, 1)).astype(np.uint8)
    return np.repeat(grey, 3, -1) if grey.shape[-1] == 1 else grey
