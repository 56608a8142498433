"""Handwritten digits."""

import torch

from trainkit.data.batches import Batches, part
from trainkit.data.data import Data
from trainkit.data.splits import split

__all__ = ["digits"]


def digits(
    batch_size: int = 64,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    split_seed: int = 0,
    signed: bool = False,
) -> Data:
    """1,797 images of handwritten digits, 8 × 8 pixels of 17 grey levels, in ten classes.

    `x` is float32 of shape `[N, 1, 8, 8]` in [0, 1]
    (or, `signed`, in [−1, 1]), `y` int64 of shape `[N]`. The split keeps
    the shares of the classes.

    Args:
        batch_size: Samples per batch.
        validation: Share of the samples that is the validation part; 0: there is none.
        test: Share of the samples that is the test part; 0: there is none.
        seed: Of the order of the training samples.
        split_seed: Of the choice of the parts.
        signed: Black is −1 instead of 0, as the generators of adversarial training have it.

    Raises:
        ValueError: A value out of range.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI 1998, as
    shipped with scikit-learn.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).div_(16).reshape(-1, 1, 8, 8)
    if signed:
        x = x.mul_(2).sub_(1)
    y = torch.tensor(labels, dtype=torch.int64)
    train, valid, held_out = split(len(x), validation, test, split_seed, labels=y)
    return Data(
        train=Batches(x[train], y[train], batch_size=batch_size, shuffle=True, seed=seed),
        validation=part(x[valid], y[valid], batch_size),
        test=part(x[held_out], y[held_out], batch_size),
        classes=tuple("0123456789"),
    )
