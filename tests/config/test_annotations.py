"""What a parameter's annotation allows; in doubt, everything."""

import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Optional, TypeVar, Union

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from trainkit.config.annotations import accepts, described

YES: list[tuple[Any, Any]] = [
    (int, 3),
    (float, 3),
    (float, 3.5),
    (bool, True),
    (str, "a"),
    (float | None, None),
    (Optional[int], None),  # noqa: UP045
    (Union[float, Tensor], 0.1),  # noqa: UP007
    (tuple[float, float], [0.9, 0.99]),
    (tuple[int, ...], [1, 2, 3]),
    (list[int], []),
    (Sequence[str], ["a"]),
    (Mapping[str, int], {"a": 1}),
    (dict, {"a": 1}),
    (Literal["a", "b"], "a"),
    (Any, None),
    (Callable[[int], int], "anything"),
    (Path, "a/path"),
    (torch.device, "cpu"),
    (TypeVar("T"), 3),
    ("unresolved", 3),
]
NO: list[tuple[Any, Any]] = [
    (int, "3"),
    (int, 3.5),
    (int, True),
    (float, "0.1"),
    (float, True),
    (float, None),
    (int, [1]),
    (bool, "yes"),
    (str, 3),
    (list[int], "abc"),
    (list[int], ["a"]),
    (tuple[float, float], [0.9]),
    (tuple[float, float], 0.9),
    (Union[float, Tensor], "fast"),  # noqa: UP007
    (Union[float, Tensor], None),  # noqa: UP007
    (Literal["a", "b"], "c"),
    (nn.Module, 3),
]


@pytest.mark.parametrize(("annotation", "value"), YES)
def test_allowed(annotation: Any, value: Any) -> None:
    assert accepts(annotation, value)


@pytest.mark.parametrize(("annotation", "value"), NO)
def test_refused(annotation: Any, value: Any) -> None:
    assert not accepts(annotation, value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(VALUES)
def test_what_says_nothing_allows_everything(value: Any) -> None:
    assert accepts(Any, value)
    assert accepts(TypeVar("T"), value)


@given(VALUES)
def test_a_union_allows_what_one_of_its_parts_allows(value: Any) -> None:
    parts = (int, list[str], type(None))
    assert accepts(int | list[str] | None, value) == any(accepts(part, value) for part in parts)


def test_descriptions_are_as_written() -> None:
    assert described(int) == "int"
    assert described(Union[float, Tensor]) == "float | Tensor"  # noqa: UP007
    assert described(Sequence[str]) == "Sequence[str]"
    assert isinstance(int | None, types.UnionType)
