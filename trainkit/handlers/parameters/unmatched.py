"""Whether what is to be watched names anything: a misspelt name is said and not passed over."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from trainkit.handlers.parameters.model_names import named_parameters
from trainkit.handlers.sampling.random_numbers import preserved_random_state
from trainkit.names import Selection, selected, unmatched
from trainkit.unwrap import unwrapped

__all__ = ["check_selection", "chosen"]


def chosen(names: Sequence[str], include: Selection, exclude: Selection) -> list[str]:
    """As `names.selected`; random numbers that a function of the user's draws are put back."""
    with preserved_random_state():
        return selected(names, include, exclude)


def check_selection(
    models: Mapping[str, nn.Module], include: Selection, exclude: Selection
) -> list[str]:
    """What to say of a selection: a line for each pattern that matches nothing, or if none is left.

    Args:
        models: Name → module; one that is alone may be called ``.
        include: As in `names.selected`.
        exclude: As in `names.selected`.

    Raises:
        TypeError: They are something else than `selected` takes.
        ValueError: They name a model that is none.

    Example:
        >>> check_selection({"": nn.ReLU()}, ["encoder"], [])
        ["include: no parameter or module matches 'encoder'; nearest: (none)"]
    """
    selected((), include, exclude)
    if (include, exclude) == (("*",), ()):
        return []
    lines: list[str] = []
    parameters = [_joined(m, n) for m, module in models.items() for n in _parameters(module)]
    modules = [_joined(m, n) for m, module in models.items() for n in _modules(module)]
    names = parameters + modules
    for key, selection in (("include", include), ("exclude", exclude)):
        for model, patterns in _by_model(selection):
            if model and model not in models:
                known = ", ".join(filter(None, models))
                raise ValueError(
                    f"{key} is for the model {model!r}, but there is "
                    + (known or "one model, which has no name: leave the mapping out")
                )
            place, start = (f"{key} of {model}", f"{model}.") if model else (key, "")
            inside = [n.removeprefix(start) for n in names if n.startswith(start)]
            lines += [f"{place}: {line}" for line in unmatched(inside, patterns)]
    if parameters and not selected(parameters, include, exclude):
        lines.append("include and exclude leave no parameter: only global values are written")
    return lines


def _by_model(selection: Any) -> Iterable[tuple[str, Any]]:
    return selection.items() if isinstance(selection, Mapping) else [("", selection)]


def _parameters(module: nn.Module) -> Iterator[str]:
    for name, _ in named_parameters(unwrapped(module)):
        yield name.replace("_orig_mod.", "")


def _modules(module: nn.Module) -> Iterator[str]:
    for name, _ in unwrapped(module).named_modules():
        if name:
            yield name.replace("_orig_mod.", "")


def _joined(model: str, name: str) -> str:
    return f"{model}.{name}" if model else name
