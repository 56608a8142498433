"""The random generators that data hold: of loaders, samplers and data sets."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["generator_states", "set_generator_states", "set_state_of", "state_of"]

# Attributes in which a loader keeps what it draws its samples from.
_INSIDE = ("sampler", "batch_sampler", "dataset")
_DEEPEST = 4


def generator_states(data: Any) -> dict[str, Any]:
    """The state of every generator in some data, as tensors and plain numbers.

    Found are the attributes of the data, their `sampler`, `batch_sampler` and `dataset` (and so
    on, four deep) that are a `torch.Generator`, NumPy's `Generator` or `RandomState`, or a
    `random.Random`.

    Args:
        data: A loader, or anything else.

    Returns:
        Where it stands → its state.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> loader = DataLoader([1, 2], generator=torch.Generator())
        >>> list(generator_states(loader))
        ['generator']
    """
    return {place: state_of(generator) for place, generator in _generators(data)}


def set_generator_states(data: Any, states: Mapping[str, Any]) -> None:
    """Put the states back that `generator_states` returned; others stay."""
    for place, generator in _generators(data):
        if place in states:
            set_state_of(generator, states[place])


def _generators(data: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    attributes = getattr(data, "__dict__", None)
    if not isinstance(attributes, dict) or isinstance(data, type):
        return
    for name, value in list(attributes.items()):
        if isinstance(
            value, torch.Generator | np.random.Generator | np.random.RandomState | random.Random
        ):
            yield f"{place}{name}", value
    if depth < _DEEPEST:
        for name in _INSIDE:
            inside = attributes.get(name)
            if inside is not None:
                yield from _generators(inside, f"{place}{name}.", depth + 1)


def state_of(generator: Any) -> Any:
    """The state of a generator of torch, NumPy or Python, as tensors and plain numbers."""
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return _plain(generator.bit_generator.state)
    if isinstance(generator, np.random.RandomState):
        return _plain(generator.get_state(legacy=False))
    version, words, gauss = generator.getstate()
    return [version, list(words), gauss]


def set_state_of(generator: Any, state: Any) -> None:
    """Put back what `state_of` returned."""
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = _arrays(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(_arrays(state))
    else:
        version, words, gauss = state
        generator.setstate((version, tuple(words), gauss))


def _plain(value: Any) -> Any:
    """NumPy's state without NumPy: a checkpoint holds tensors and plain values only."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return {"words": value.tolist(), "dtype": str(value.dtype)}
    return value.item() if isinstance(value, np.generic) else value


def _arrays(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"words", "dtype"}:
            return np.array(value["words"], dtype=value["dtype"])
        return {key: _arrays(item) for key, item in value.items()}
    return value
