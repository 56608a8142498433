"""A monitor of one's own: how heavy the tails of the weights are; docs/own_monitor.md explains it.

In this folder: trainkit run +monitor.parts.kurtosis._target_=kurtosis.KurtosisMonitor
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainkit import Members, ParameterMonitor


class KurtosisMonitor(ParameterMonitor):
    """Writes `tensors.weights.kurtosis/<name>`: mean((x − mean)⁴) / variance²; 3 if normal."""

    columns = ("kurtosis",)

    def measure(self, tensors: Sequence[Tensor]) -> Mapping[str, Tensor]:
        """Mean and central moments of each tensor, on its device."""
        rows = []
        for x in tensors:
            mean = x.float().mean()
            d = x.float() - mean
            square = d * d  # and no powers of d: they are slow
            moments = [square.mean(), (square * d).mean(), (square * square).mean()]
            rows.append(torch.stack([mean, *moments]))
        return dict(zip(("mean", "m2", "m3", "m4"), torch.stack(rows, dim=1), strict=True))

    def pool(self, members: Members) -> Mapping[str, Any]:
        """Of a module from its parameters: moments around its own mean, not a mean of kurtoses."""
        d = members["mean"] - members.of_module(members.mean(members["mean"]))
        m2, m3, m4 = members["m2"], members["m3"], members["m4"]
        variance = members.mean(m2 + d**2)
        fourth = members.mean(m4 + 4 * d * m3 + 6 * d**2 * m2 + d**4)
        return {"kurtosis": fourth / variance**2}
