"""The modules of a model as a table: type, output shape, parameters."""

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

__all__ = ["model_table", "output_shapes"]

_MOST_ROWS = 200


@contextmanager
def output_shapes(
    models: Mapping[str, nn.Module], found: MutableMapping[nn.Module, str]
) -> Iterator[None]:
    """Note the shape of what each module returns while the context is open.

    Args:
        models: By name.
        found: Module → shape of its last output, as text; filled in.
    """

    def note(module: nn.Module, _: Any, output: Any) -> None:
        found[module] = _shape(output)

    handles = [
        module.register_forward_hook(note)
        for model in models.values()
        for module in model.modules()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def model_table(models: Mapping[str, nn.Module], shapes: Mapping[nn.Module, str]) -> str:
    """The modules of models in Markdown: name, type, output shape, parameters.

    Args:
        models: By name; a single one is called `model`.
        shapes: From `output_shapes`; modules that were not called have none.

    Example:
        >>> import torch
        >>> model, shapes = nn.Sequential(nn.Linear(2, 3), nn.ReLU()), {}
        >>> with output_shapes({"model": model}, shapes):
        ...     _ = model(torch.zeros(4, 2))
        >>> print(model_table({"model": model}, shapes))
        **9 parameters, 9 trainable**
        <BLANKLINE>
        | module | type | output | parameters |
        |---|---|---|---|
        | (model) | Sequential | [4, 3] | 9 |
        | 0 | Linear | [4, 3] | 9 |
        | 1 | ReLU | [4, 3] | |
    """
    rows: list[str] = []
    for prefix, model in models.items():
        single = len(models) == 1 and prefix == "model"
        for name, module in model.named_modules():
            path = name if single else ".".join(part for part in (prefix, name) if part)
            count = _count(module)
            rows.append(
                f"| {path or '(model)'} | {type(module).__name__} | {shapes.get(module, '')} | "
                f"{f'{count:,} ' if count else ''}|"
            )
    more = len(rows) - _MOST_ROWS
    if more > 0:
        rows = [*rows[:_MOST_ROWS], f"| and {more:,} more | | | |"]
    total = sum(_count(model) for model in models.values())
    trained = sum(_count(model, trainable=True) for model in models.values())
    head = "| module | type | output | parameters |\n|---|---|---|---|"
    return f"**{total:,} parameters, {trained:,} trainable**\n\n{head}\n" + "\n".join(rows)


def _count(module: nn.Module, *, trainable: bool = False) -> int:
    lazy = nn.parameter.is_lazy
    parameters = (p for p in module.parameters() if p.requires_grad or not trainable)
    return sum(p.numel() for p in parameters if not lazy(p))


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(list(value.shape))
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shape(inner)}" for key, inner in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(map(_shape, value))
    return type(value).__name__
