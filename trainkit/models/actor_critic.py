"""A policy and a value function."""

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["ActorCritic"]


class ActorCritic(nn.Module):
    """Two perceptrons: logits of actions, and what a state is worth.

    They share no layer: on small problems the value's large errors would drown the policy's
    gradient in shared ones.

    Args:
        observations: Numbers in an observation.
        actions: Actions to choose from.
        hidden: Units of the hidden layers of each.

    Example:
        >>> import torch
        >>> logits, value = ActorCritic(4, 2)(torch.zeros(8, 4))
        >>> logits.shape, value.shape
        (torch.Size([8, 2]), torch.Size([8]))
    """

    def __init__(self, observations: int, actions: int, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        self.policy = _perceptron(observations, hidden, actions, gain=0.01)
        self.value = _perceptron(observations, hidden, 1, gain=1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[N, actions]` and values `[N]` of observations `[N, observations]`."""
        return self.policy(x), self.value(x).squeeze(-1)


def _perceptron(inputs: int, hidden: Sequence[int], outputs: int, gain: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for units in hidden:
        layers += [_linear(inputs, units, 2**0.5), nn.Tanh()]
        inputs = units
    # A policy that starts undecided: small weights at its end.
    return nn.Sequential(*layers, _linear(inputs, outputs, gain))


def _linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
