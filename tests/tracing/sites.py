"""Small models in which a value stops to be finite at a known place."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class Site(nn.Module):
    """Does one thing to what passes through."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Network(nn.Module):
    def __init__(self, site: Callable[[Tensor], Tensor], head: float = 1.0) -> None:
        super().__init__()
        self.body, self.site = nn.Linear(4, 4), Site(site)
        self.after, self.head = nn.Identity(), nn.Linear(4, 3)
        with torch.no_grad():
            self.head.weight.mul_(head)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.after(self.site(self.body(x))))
        return y


class BadBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient / 0.0


def third_row(x: Tensor) -> Tensor:
    """1, but 0 for the third sample."""
    ones = torch.ones_like(x)
    ones[2] = 0
    return ones


def attention(x: Tensor) -> Tensor:
    mask = torch.zeros(len(x), 4, dtype=torch.bool)
    mask[2] = True  # nothing is left to attend to
    return x.masked_fill(mask, float("-inf")).softmax(1)


def healthy_attention(x: Tensor) -> Tensor:
    mask = torch.zeros(len(x), 4, dtype=torch.bool)
    mask[:, 1] = True
    return x.masked_fill(mask, float("-inf")).softmax(1)


class LogLoss(nn.Module):
    def forward(self, y_pred: Tensor, y: Tensor) -> Tensor:
        p = y_pred.softmax(1).gather(1, y[:, None])
        return -(p * third_row(p)).log().mean()


def plain_loss(y_pred: Tensor, y: Tensor) -> Tensor:
    return (y_pred.sum(1) * 0 / third_row(y_pred)[:, 0]).mean()


@dataclass(frozen=True)
class Case:
    site: Callable[[Tensor], Tensor]
    phase: str
    place: str
    loss: Any = None
    optimizer: Any = None
    head: float = 1.0
    rows: bool = True


def identity(x: Tensor) -> Tensor:
    return x * 1


SITES = {
    "log of zero": Case(lambda x: third_row(x).log() + x, "forward", "site"),
    "root of less than zero": Case(lambda x: (third_row(x) - 0.5).sqrt() + x, "forward", "site"),
    "zero by zero": Case(lambda x: x * 0 / third_row(x), "forward", "site"),
    "overflow of exp": Case(lambda x: x + (200 * (1 - third_row(x))).exp(), "forward", "site"),
    "infinite minus infinite": Case(
        lambda x: (300 * (1 - third_row(x))).exp() - (400 * (1 - third_row(x))).exp() + x,
        "forward", "site",
    ),
    "overflow of a product": Case(lambda x: x / x * 1e38, "forward", "head", head=1e4, rows=False),
    "attention without keys": Case(attention, "forward", "site"),
    "no spread": Case(
        lambda x: (x - x.detach()) / (x - x.detach()).std(0), "forward", "site", rows=False
    ),
    "loss module": Case(identity, "forward", "loss", loss=LogLoss()),
    "loss function": Case(identity, "forward", "loss", loss=plain_loss),
    "root at zero": Case(lambda x: x + (x * 0).sqrt(), "backward", "site", rows=False),
    "length of zero": Case(
        lambda x: x + ((x * 0) ** 2).sum(1, keepdim=True).sqrt(), "backward", "site", rows=False
    ),
    "where": Case(
        lambda x: x + torch.where(third_row(x) > 0, x, (x * third_row(x)).sqrt() * 0),
        "", "site", rows=False,
    ),
    "backward of its own": Case(BadBackward.apply, "backward", "site", rows=False),
    "power at zero": Case(lambda x: x + (x * 0).abs().pow(0.3), "backward", "site", rows=False),
    "Adam without eps": Case(
        lambda x: x * 0, "optimizer", "body.weight",
        optimizer=lambda p: torch.optim.Adam(p, lr=0.1, eps=0.0), rows=False,
    ),
}  # fmt: skip
