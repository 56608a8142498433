"""What really happened in a training step: everything cloned, recomputed in float64 with NumPy."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

__all__ = ["Probe", "Truth"]

Arrays = dict[str, NDArray[Any]]


def to_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    tensor = tensor.detach()
    tensor = tensor.to_dense() if tensor.layout is not torch.strided else tensor
    if tensor.is_complex():
        return tensor.to(torch.complex128).numpy().copy()
    return tensor.to(torch.float64).numpy().copy()


@dataclass
class Truth:
    """One optimizer step: gradients and weights by name, in float64."""

    raw: Arrays = field(default_factory=dict)
    seen: Arrays = field(default_factory=dict)
    before: Arrays = field(default_factory=dict)
    after: Arrays = field(default_factory=dict)

    @staticmethod
    def global_norm(arrays: Arrays) -> float:
        return float(np.sqrt(sum(np.sum(np.abs(a) ** 2) for a in arrays.values())))

    def expected(self) -> dict[str, float]:
        """Tag → value, by definition."""
        found = {
            "gradients/global_norm_raw": self.global_norm(self.raw),
            "gradients/global_norm": self.global_norm(self.seen),
            "gradients/non_finite": float(sum(np.sum(~np.isfinite(a)) for a in self.seen.values())),
            "weights/global_norm": self.global_norm(self.after),
        }
        clipped = any(
            np.linalg.norm(self.seen[n]) < np.linalg.norm(self.raw[n]) * (1 - 1e-5)
            for n in self.seen
        )
        found["gradients/clipped"] = float(clipped)
        for name, gradient in self.seen.items():
            if gradient.size:  # what has no elements is left out
                g = np.abs(gradient) if np.iscomplexobj(gradient) else gradient
                found[f"tensors.gradients.norm/{name}"] = float(np.sqrt(np.sum(g**2)))
                found[f"tensors.gradients.max_abs/{name}"] = float(np.max(np.abs(g)))
                found[f"tensors.gradients.mean/{name}"] = float(np.mean(g))
                found[f"tensors.gradients.std/{name}"] = float(np.std(g))
                found[f"tensors.gradients.zero_fraction/{name}"] = float(np.mean(g == 0))
        for name, weight in self.after.items():
            if weight.size:
                w = np.abs(weight) if np.iscomplexobj(weight) else weight
                found[f"tensors.weights.norm/{name}"] = float(np.sqrt(np.sum(w**2)))
                found[f"tensors.weights.max_abs/{name}"] = float(np.max(np.abs(w)))
                found[f"tensors.weights.mean/{name}"] = float(np.mean(w))
                found[f"tensors.weights.std/{name}"] = float(np.std(w))
        moved = {n: self.after[n] - self.before[n] for n in self.seen}
        start = {n: self.before[n] for n in self.seen}
        found["updates/global_ratio"] = self.ratio(self.global_norm(moved), self.global_norm(start))
        for name, difference in moved.items():
            if difference.size:
                a, b = np.linalg.norm(difference), np.linalg.norm(start[name])
                found[f"tensors.updates.ratio/{name}"] = self.ratio(float(a), float(b))
        for tag in ("gradients/global_norm_raw", "gradients/global_norm", "updates/global_ratio"):
            section, _, name = tag.partition("/")
            found[f"{section}/log10_{name}"] = self.log10(found[tag])
        norms = [v for tag, v in found.items() if tag.startswith("tensors.gradients.norm/")]
        found["tensors/log10_gradient_norm_min"] = self.log10(min(norms))
        found["tensors/log10_gradient_norm_max"] = self.log10(max(norms))
        found["tensors/log10_update_ratio_usual_min"] = -4.0
        found["tensors/log10_update_ratio_usual_max"] = -2.0
        return found

    @staticmethod
    def log10(value: float) -> float:
        return math.log10(value) if value else -38.0

    @staticmethod
    def ratio(moved: float, before: float) -> float:
        if moved == 0:
            return 0.0
        return moved / before if before else 1.0


class Probe:
    """Called by a loop at the moments that matter; keeps a `Truth` per optimizer step."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.steps: dict[int, Truth] = {}
        self._now = Truth()

    def gradients(self, scale: float = 1.0) -> Arrays:
        return {
            name: to_numpy(p.grad) / scale
            for name, p in self.model.named_parameters()
            if p.grad is not None
        }

    def weights(self) -> Arrays:
        return {name: to_numpy(p) for name, p in self.model.named_parameters()}

    def after_backward(self, scale: float = 1.0) -> None:
        self._now.raw = self.gradients(scale)

    def before_step(self) -> None:
        self._now.seen, self._now.before = self.gradients(), self.weights()

    def after_step(self, iteration: int) -> None:
        self._now.after = self.weights()
        self.steps[iteration] = self._now
        self._now = Truth()
