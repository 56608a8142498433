"""Names of layers in a config."""

from torch import nn

__all__ = ["activation_layer", "output_layer"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
_OUTPUTS = ("log_softmax", "sigmoid", "softmax")


def activation_layer(name: str) -> nn.Module:
    """The activation called `name`.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in _ACTIVATIONS:
        raise ValueError(f"model.activation must be one of {', '.join(_ACTIVATIONS)}, got {name!r}")
    return _ACTIVATIONS[name]()


def output_layer(name: str) -> nn.Module:
    """What a model may end in: `log_softmax` or `softmax` over the classes, or `sigmoid`.

    Raises:
        ValueError: `name` is none of these.
    """
    if name == "log_softmax":
        return nn.LogSoftmax(dim=1)
    if name == "softmax":
        return nn.Softmax(dim=1)
    if name == "sigmoid":
        return nn.Sigmoid()
    raise ValueError(
        f"model.output must be one of {', '.join(_OUTPUTS)}, or null for raw values, got {name!r}"
    )
