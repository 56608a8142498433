"""A classifier of real data that judges what a generator makes."""

from collections.abc import Callable, Iterable
from math import log
from typing import Any, Protocol

import ignite.distributed as idist
import torch
from ignite.metrics import Metric
from torch import Tensor, nn

__all__ = ["Judge", "SampleScore"]


class _HasTrain(Protocol):
    @property
    def train(self) -> Any:
        """Batches `(x, y)`."""


class Judge:
    """A classifier, trained on the real training data when it is first asked.

    Adam at a learning rate of 1e-3, cross entropy. Everything random about it (weights, order,
    dropout) comes from `seed`; the random state of the program is put back.

    Args:
        data: Whose `train` holds batches `(x, y)`, `y` class indices.
        device: Of the classifier.
        classifier: Makes the module: `x` in, logits `[N, C]` out.
        epochs: Passes over the training data.
        batch_size: Samples per step.
        seed: Of everything random.

    Raises:
        TypeError: The data have no batches `(x, y)` of tensors.
        ValueError: `epochs` or `batch_size` is less than 1.

    Cost: the training, once, on the first call.
    """

    def __init__(
        self,
        data: _HasTrain,
        device: torch.device | str,
        classifier: Callable[[], nn.Module],
        epochs: int = 15,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        for name, value in (("epochs", epochs), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"engine.judge.{name} must be 1 or more, got {value}")
        self._batches = data.train
        self._device = torch.device(device)
        self._make = classifier
        self._epochs, self._batch_size, self._seed = epochs, batch_size, seed
        self._classifier: nn.Module | None = None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Probabilities of the classes, shape `[N, C]`."""
        if self._classifier is None:
            self._classifier = self._trained()
        return torch.softmax(self._classifier(images).float(), 1)

    def _trained(self) -> nn.Module:
        x, y = self._whole()
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.enable_grad():
            torch.manual_seed(self._seed)
            classifier = self._make().to(self._device)
            adam = torch.optim.Adam(classifier.parameters(), lr=1e-3)
            for _ in range(self._epochs):
                order = torch.randperm(len(x)).to(self._device)
                for rows in torch.split(order, self._batch_size):
                    adam.zero_grad()
                    loss = nn.functional.cross_entropy(classifier(x[rows]), y[rows])
                    loss.backward()  # type: ignore[no-untyped-call]
                    adam.step()
        return classifier.eval().requires_grad_(False)

    def _whole(self) -> tuple[Tensor, Tensor]:
        # In their own order where they have one: a pass of `Batches` counts its epochs.
        ordered = getattr(self._batches, "in_order", None)
        batches: Iterable[Any] = ordered() if callable(ordered) else self._batches
        pairs = [batch for batch in batches if isinstance(batch, list | tuple) and len(batch) == 2]
        if not pairs:
            raise TypeError("engine.judge needs batches (x, y) in data.train, got none; judge=null")
        x, y = (torch.cat(list(part)).to(self._device) for part in zip(*pairs, strict=True))
        return x, y


class SampleScore(Metric):
    """A number about samples of a generator, as a classifier of real data sees them.

    With p_ic the probability of class c for sample i, and s_c the share of the samples whose most
    probable class is c:

    - `confidence`: mean over i of max_c p_ic;
    - `classes`: how many classes have s_c of `least` or more;
    - `balance`: −Σ_c s_c ln s_c / ln C, 1 where all classes come equally often.

    The samples are made anew, from the same latent vectors, at the end of each pass of the
    evaluator to which it is attached; nothing of the data of that pass is looked at. In several
    processes the p_ic of all of them count, so that all have the same number.

    Args:
        score: One of the three.
        probabilities: Makes samples and returns the p_ic, shape `[N, C]`.
        least: Share of the samples that a class needs, in order to count as seen.

    Raises:
        ValueError: No such score.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.7, 0.3]])
        >>> [round(SampleScore(s, lambda: p).compute(), 6) for s in SampleScore.SCORES]
        [0.8, 1.0, 0.0]
    """

    SCORES = ("confidence", "classes", "balance")

    def __init__(
        self, score: str, probabilities: Callable[[], Tensor], least: float = 0.01
    ) -> None:
        if score not in self.SCORES:
            raise ValueError(f"score must be one of {', '.join(self.SCORES)}, got {score!r}")
        self._score = score
        self._probabilities = probabilities
        self._least = least
        super().__init__()

    def reset(self) -> None:
        """Nothing is kept between passes."""

    def update(self, output: Any) -> None:
        """Nothing: the samples are not those of the pass."""

    def compute(self) -> float:
        """The number."""
        p = self._probabilities()
        if idist.get_world_size() > 1:
            p = torch.as_tensor(idist.all_gather(p))
        if self._score == "confidence":
            return float(p.amax(1).double().mean())
        classes = p.shape[1]
        shares = p.argmax(1).bincount(minlength=classes).double() / len(p)
        if self._score == "classes":
            return float((shares >= self._least).sum())
        # + 0.0: −0 would be shown with its sign
        return -float(torch.special.xlogy(shares, shares).sum()) / log(classes) + 0.0
