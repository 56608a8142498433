"""Seeded splits into training, validation and test part, and scaling fitted on one of them."""

import torch
from torch import Tensor

__all__ = ["Standardization", "split"]


def split(
    samples: int, validation: float, test: float, seed: int, labels: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The indices of a random training, validation and test part.

    Args:
        samples: How many there are.
        validation: Share of the samples, in [0, 1); with 0 that part is empty.
        test: Share of the samples, in [0, 1); with 0 that part is empty.
        seed: Of the choice; the global random state is left alone.
        labels: Class index of each sample, shape `[samples]`: every part gets the same share of
            each class, up to rounding. None: no regard to classes.

    Returns:
        Training, validation, test: three index tensors, disjoint, together all samples.

    Raises:
        ValueError: The shares leave a part without a sample that should have some.

    Example:
        >>> [len(part) for part in split(10, validation=0.2, test=0.3, seed=0)]
        [5, 2, 3]
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise ValueError(
            "data.validation and data.test must be shares, from 0 on, that leave some for "
            f"training, got {validation} and {test}"
        )
    generator = torch.Generator().manual_seed(seed)
    if labels is None:
        labels = torch.zeros(samples, dtype=torch.int64)
    parts: tuple[list[Tensor], ...] = ([], [], [])
    for label in range(int(labels.max()) + 1):
        members = (labels == label).nonzero().squeeze(1)
        members = members[torch.randperm(len(members), generator=generator)]
        first = round(len(members) * test)
        second = first + round(len(members) * validation)
        for part, chosen in zip(
            parts, (members[second:], members[first:second], members[:first]), strict=True
        ):
            part.append(chosen)
    train, valid, held_out = (torch.cat(part).sort().values for part in parts)
    empty = (not len(train), validation > 0 and not len(valid), test > 0 and not len(held_out))
    if any(empty):
        raise ValueError(
            f"the split leaves a part empty: {samples} samples with data.validation={validation} "
            f"and data.test={test} give {len(train)}, {len(valid)} and {len(held_out)}"
        )
    return train, valid, held_out


class Standardization:
    """Mean 0 and standard deviation 1 in every column of the part that it was fitted on.

    z = (x − mean) / std, with the population's standard deviation; a column that does not vary
    is only shifted.

    Args:
        fitted_on: The training part, shape `[N, F]`; nothing else is ever looked at.

    Example:
        >>> scaling = Standardization(torch.tensor([[0.0], [2.0]]))
        >>> scaling(torch.tensor([[3.0]]))
        tensor([[2.]])
    """

    def __init__(self, fitted_on: Tensor) -> None:
        self.mean = fitted_on.mean(0)
        std = fitted_on.std(0, correction=0)
        self.std = torch.where(std > 0, std, torch.ones_like(std))

    def __call__(self, x: Tensor) -> Tensor:
        """The columns of `x`, shifted and scaled, shape `[M, F]`."""
        return (x - self.mean) / self.std
