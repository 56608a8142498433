"""What a regression predicts: raw values, beside their targets."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainkit.stats.precision import wide

__all__ = ["ValueTotals", "regression"]

_ROWS = ("predictions", "targets", "residuals")


@dataclass(frozen=True, eq=False)
class ValueTotals:
    """Moments of values; those of several batches add up to those of all of them.

    Args:
        count: Values per output.
        mean: Per row (predictions, then targets and residuals if known) and output, `[R, D]`.
        squares: Sum of squared deviations from that mean, `[R, D]`.
        least: Smallest prediction per output, `[D]`.
        most: Largest prediction per output, `[D]`.
    """

    count: int
    mean: Tensor
    squares: Tensor
    least: Tensor
    most: Tensor

    @classmethod
    def of(cls, y_pred: Tensor, y: Tensor | None = None, *, outputs: int = 16) -> "ValueTotals":
        """The totals of one batch; arguments as in `regression`."""
        y_pred = y_pred.detach()
        dtype = wide(y_pred.device)
        several = y_pred.ndim == 2 and 1 < y_pred.shape[1] <= outputs
        columns = y_pred.shape[1] if several else 1
        rows = [y_pred.to(dtype).reshape(-1, columns)]
        if y is not None and y.numel() == y_pred.numel():
            # `reshape` and not broadcasting: [N, 1] minus [N] would be [N, N].
            rows.append(y.detach().to(dtype).reshape(-1, columns))
            rows.append(rows[1] - rows[0])
        count = rows[0].shape[0]
        if count == 0:
            nothing = rows[0].new_zeros(len(rows), columns)
            nan = rows[0].new_full((columns,), torch.nan)
            return cls(0, nothing, nothing, nan, nan)
        moments = [torch.var_mean(row, dim=0, correction=0) for row in rows]
        least, most = torch.aminmax(rows[0], dim=0)
        return cls(
            count,
            torch.stack([mean for _, mean in moments]),
            torch.stack([variance for variance, _ in moments]) * count,
            least,
            most,
        )

    def __add__(self, other: "ValueTotals") -> "ValueTotals":
        if self.count == 0 or other.count == 0:
            return other if self.count == 0 else self
        # Chan, Golub & LeVeque (1979), https://doi.org/10.2307/2683386: exact for any sizes.
        count = self.count + other.count
        shift = other.mean - self.mean
        return ValueTotals(
            count,
            self.mean + shift * (other.count / count),
            self.squares + other.squares + shift**2 * (self.count * other.count / count),
            torch.minimum(self.least, other.least),
            torch.maximum(self.most, other.most),
        )

    def statistics(self) -> dict[str, Tensor]:
        """Over all values of all outputs, 0-d each, by `<row>/<statistic>`."""
        outputs = self.mean.shape[1]
        mean = self.mean.mean(1)
        between = ((self.mean - mean[:, None]) ** 2).mean(1)
        std = (self.squares.sum(1) / (self.count or torch.nan) / outputs + between).sqrt()
        found = {"predictions/min": self.least.amin(), "predictions/max": self.most.amax()}
        for row, m, s in zip(_ROWS, mean, std, strict=False):
            found |= {f"{row}/mean": m, f"{row}/std": s}
        return found

    def per_output(self) -> dict[str, Tensor]:
        """Per output, `[D]` each, by `<row>.<statistic>`; empty where there is one output."""
        if self.mean.shape[1] == 1:
            return {}
        std = (self.squares / (self.count or torch.nan)).sqrt()
        found: dict[str, Tensor] = {}
        for row, m, s in zip(_ROWS, self.mean, std, strict=False):
            found |= {f"{row}.mean": m, f"{row}.std": s}
        return found


def regression(y_pred: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
    """Mean, standard deviation and range of raw predictions, their targets and residuals.

    residual = y − y_pred; std = √(mean of squared deviations from the mean): over the values at
    hand, without Bessel's correction, so that one value has a std of 0.

    Everything is pooled over all elements of all outputs. Targets and residuals are left out
    where `y` is missing or has another number of elements. A NaN is a NaN in all it enters.

    Args:
        y_pred: Any shape, first dimension the batch.
        y: The targets, of the same shape or `[N]` for `[N, 1]`.

    Cost:
        One pass in float64 over `y_pred`, and two for `y`.

    Example:
        >>> found = regression(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0]))
        >>> {name: value.item() for name, value in sorted(found.items())}
        {'predictions/max': 3.0, 'predictions/mean': 2.0, 'predictions/min': 1.0,
        'predictions/std': 1.0, 'residuals/mean': 0.0, 'residuals/std': 1.0,
        'targets/mean': 2.0, 'targets/std': 0.0}
    """
    return ValueTotals.of(y_pred, y, outputs=1).statistics()
