"""The state of gymnasium's environments, as far as it stands in plain attributes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from trainkit.data.generators import set_state_of, state_of

__all__ = ["environment_state", "keeps_its_state", "set_environment_state"]

_PLAIN = (bool, int, float, str, type(None), np.generic)
_DEEPEST = 12  # wrappers around wrappers
# Steps that two copies are compared for, before and behind the copy: most episodes of an untrained
# policy end within them.
_BEFORE, _BEHIND = 12, 48


def environment_state(environments: Any) -> dict[str, Any]:
    """Numbers, arrays and random generators of environments, through all wrappers.

    Args:
        environments: A vector environment, or a single one.

    Returns:
        Where it stands → its value, as tensors and plain values.
    """
    return {
        f"{place}.{name}": _kept(value)
        for place, each in _layers(environments)
        for name, value in vars(each).items()
        if _is_state(value)
    }


def set_environment_state(environments: Any, state: Mapping[str, Any]) -> None:
    """Put back what `environment_state` returned."""
    for place, each in _layers(environments):
        for name, value in list(vars(each).items()):
            kept = state.get(f"{place}.{name}")
            if isinstance(value, np.random.Generator) and isinstance(kept, dict):
                set_state_of(value, kept["generator"])
            elif f"{place}.{name}" in state:
                setattr(each, name, _restored(kept))


def keeps_its_state(make: Callable[[], Any]) -> bool:
    """Whether environments go on exactly from their `environment_state`: tries it.

    Not those whose state lies elsewhere, in a simulator's own memory, say.

    Args:
        make: Makes two or more environments as one vector.

    Cost: some hundred steps of environments, twice.
    """
    one, other = make(), make()
    try:
        one.reset(seed=1)
        other.reset(seed=2)
        one.action_space.seed(3)
        for _ in range(_BEFORE):
            one.step(one.action_space.sample())
        set_environment_state(other, environment_state(one))
        for _ in range(_BEHIND):
            action = one.action_space.sample()
            for a, b in zip(one.step(action)[:4], other.step(action)[:4], strict=True):
                if not np.array_equal(a, b, equal_nan=True):
                    return False
        return True
    except Exception:  # an environment may refuse anything
        return False
    finally:
        one.close()
        other.close()


def _layers(environment: Any, place: str = "env", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > _DEEPEST or not hasattr(environment, "__dict__"):
        return
    yield place, environment
    inside = vars(environment)
    if "env" in inside:
        yield from _layers(inside["env"], f"{place}.env", depth + 1)
    for i, each in enumerate(inside.get("envs") or ()):
        yield from _layers(each, f"{place}.envs.{i}", depth + 1)


def _is_state(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf"
    if isinstance(value, list | tuple):
        return all(_is_state(item) for item in value)
    return isinstance(value, (*_PLAIN, np.random.Generator))


def _kept(value: Any) -> Any:
    if isinstance(value, np.random.Generator):
        return {"generator": state_of(value)}
    if isinstance(value, np.ndarray):
        return {"array": torch.from_numpy(np.array(value)), "dtype": str(value.dtype)}
    if isinstance(value, np.generic):
        return {"array": torch.from_numpy(np.array(value)), "dtype": str(value.dtype), "item": True}
    if isinstance(value, list | tuple):
        return {"items": [_kept(item) for item in value], "tuple": isinstance(value, tuple)}
    return value


def _restored(kept: Any) -> Any:
    if not isinstance(kept, dict):
        return kept
    if "items" in kept:
        items = [_restored(item) for item in kept["items"]]
        return tuple(items) if kept["tuple"] else items
    array = kept["array"].numpy().astype(kept["dtype"])
    return array[()] if kept.get("item") else array
