"""Tables of numbers, one row per sample."""

from typing import Any

import torch
from torch import Tensor

from trainkit.data.batches import Batches, part
from trainkit.data.data import Data
from trainkit.data.splits import Standardization, split

__all__ = ["breast_cancer", "diabetes"]


def breast_cancer(
    batch_size: int = 32,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    split_seed: int = 0,
) -> Data:
    """569 tumours, 30 measurements of their cell nuclei: malignant (0) or benign (1).

    `x` is float32 of shape `[N, 30]`, standardized by the training part; `y` float32 of shape
    `[N, 1]`, 0 or 1. The split keeps the shares of the classes.

    Args:
        batch_size: Samples per batch.
        validation: Share of the samples that is the validation part; 0: there is none.
        test: Share of the samples that is the test part; 0: there is none.
        seed: Of the order of the training samples.
        split_seed: Of the choice of the parts.

    Raises:
        ValueError: A value out of range.

    Source: W. Wolberg, O. Mangasarian and W. Street, "Breast Cancer Wisconsin (Diagnostic)", UCI
    1995, as shipped with scikit-learn.
    """
    from sklearn.datasets import load_breast_cancer

    x, labels = _tensors(load_breast_cancer(return_X_y=True))
    parts = split(len(x), validation, test, split_seed, labels=labels.to(torch.int64))
    y = labels.to(torch.float32).unsqueeze(1)
    return _data(x, y, parts, batch_size, seed, classes=("malignant", "benign"))


def diabetes(
    batch_size: int = 32,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    split_seed: int = 0,
    standardize_targets: bool = True,
) -> Data:
    """442 patients, 10 baseline measurements: the progression of the disease a year later.

    `x` is float32 of shape `[N, 10]`, standardized by the training part; `y` float32 of shape
    `[N, 1]`, between 25 and 346 as measured. Standardized too, a mean squared error of 1 is what
    predicting the training mean gives, near enough, and predictions are in standard deviations
    of the training targets.

    Args:
        batch_size: Samples per batch.
        validation: Share of the samples that is the validation part; 0: there is none.
        test: Share of the samples that is the test part; 0: there is none.
        seed: Of the order of the training samples.
        split_seed: Of the choice of the parts.
        standardize_targets: Targets of mean 0 and standard deviation 1 in the training part;
            otherwise as measured.

    Raises:
        ValueError: A value out of range.

    Source: B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, "Least Angle Regression", 2004,
    as shipped with scikit-learn.
    """
    from sklearn.datasets import load_diabetes

    x, targets = _tensors(load_diabetes(return_X_y=True, scaled=False))
    y = targets.unsqueeze(1)
    parts = split(len(x), validation, test, split_seed)
    if standardize_targets:
        y = Standardization(y[parts[0]])(y)
    return _data(x, y.to(torch.float32), parts, batch_size, seed)


def _tensors(arrays: tuple[Any, Any]) -> tuple[Tensor, Tensor]:
    # float64: the columns differ by orders of magnitude, and are scaled before they are rounded.
    x, y = arrays
    return torch.tensor(x, dtype=torch.float64), torch.tensor(y, dtype=torch.float64)


def _data(
    x: Tensor,
    y: Tensor,
    parts: tuple[Tensor, Tensor, Tensor],
    batch_size: int,
    seed: int,
    classes: tuple[str, ...] = (),
) -> Data:
    train, valid, held_out = parts
    x = Standardization(x[train])(x).to(torch.float32)
    return Data(
        train=Batches(x[train], y[train], batch_size=batch_size, shuffle=True, seed=seed),
        validation=part(x[valid], y[valid], batch_size),
        test=part(x[held_out], y[held_out], batch_size),
        classes=classes,
    )
