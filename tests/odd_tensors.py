"""Tensors of every odd kind, and the numbers that are in them: None where nobody can say."""

import warnings
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch._subclasses.functional_tensor import FunctionalTensor, FunctionalTensorMode

__all__ = ["READABLE", "UNREADABLE", "Odd", "odd"]


class Odd(NamedTuple):
    """A tensor, and its elements as a plain dense one (None: it must be left out)."""

    tensor: Tensor
    numbers: Tensor | None
    #: Of a sparse one, those that it stores: a histogram is of these.
    stored: Tensor | None = None


class Wrapper(Tensor):
    """Has a shape and no memory; every operation is one of the tensor inside."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor, requires_grad: bool = False) -> "Wrapper":
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.shape, dtype=inner.dtype, device=inner.device, requires_grad=requires_grad
        )
        made.inner = inner
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None):  # type: ignore[no-untyped-def]
        def inside(x: Any) -> Any:
            return x.inner if isinstance(x, Wrapper) else x

        args, kwargs = torch.utils._pytree.tree_map(inside, (args, kwargs or {}))
        found = function(*args, **kwargs)
        return torch.utils._pytree.tree_map(lambda x: cls(x) if type(x) is Tensor else x, found)


class WithMemory(Wrapper):
    """A wrapper that has memory too, with numbers that mean nothing."""

    @staticmethod
    def __new__(cls, inner: Tensor, requires_grad: bool = False) -> "WithMemory":
        made = Tensor._make_subclass(cls, torch.full_like(inner, 77.0), requires_grad)
        made.inner = inner
        return made


class Holder(Tensor):
    """Old style: functions of torch are answered by the tensor that it holds."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Holder":
        made = torch.full_like(held, 77.0).as_subclass(cls)
        made.held = held
        return made

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None):  # type: ignore[no-untyped-def]
        with torch._C.DisableTorchFunctionSubclass():
            args = [a.held if isinstance(a, Holder) and "held" in vars(a) else a for a in args]
            return function(*args, **(kwargs or {}))


class Labelled(Tensor):
    """As torchvision's: the numbers are its own, and functions of torch keep the label."""

    label = "image"

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None):  # type: ignore[no-untyped-def]
        return super().__torch_function__(function, types, args, kwargs or {})


class Special(nn.Parameter):
    """As in libraries that load weights: a parameter with methods of its own."""


class Packed(nn.Parameter):
    """As in libraries that quantize: bytes, of which its code knows the meaning."""


def numbers(*shape: int) -> Tensor:
    found = torch.randn(*shape, generator=torch.Generator().manual_seed(3))
    found.view(-1)[::3] = 0
    return found


def freed() -> Tensor:
    found = numbers(4, 6)
    found.untyped_storage().resize_(0)
    return found


def shrunk() -> Tensor:
    found = numbers(400, 60)
    found.untyped_storage().resize_(8)
    return found


def shrunk_view() -> Tensor:
    found = numbers(100, 60)[50:]
    found.untyped_storage().resize_(50 * 60 * 4)  # as many bytes as it has elements, elsewhere
    return found


def shrunk_columns() -> Tensor:
    found = numbers(400, 60)[:, ::2]
    found.untyped_storage().resize_(40_000)
    return found


def swapped() -> Odd:
    found = nn.Parameter(numbers(4, 6))
    memory = weakref.ref(found.data)
    found.data = numbers(4, 6) + 1
    assert memory() is None
    return Odd(found, numbers(4, 6) + 1)


def of_vmap() -> Tensor:
    kept: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x)
        return x * 1

    torch.vmap(keep)(numbers(4, 6))
    return kept[0]


def of_grad() -> Tensor:
    kept: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x)
        return x.sum()

    torch.func.grad(keep)(numbers(4, 6))
    return kept[0]


def fake() -> Tensor:
    with FakeTensorMode():
        return torch.randn(4, 6)


def functional() -> Tensor:
    with FunctionalTensorMode():
        found: Tensor = FunctionalTensor.to_functional(numbers(4, 6))
    return found


def quantized(per_channel: bool) -> Odd:
    x = numbers(4, 6)
    if per_channel:
        scales, zeros = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.zeros(4, dtype=torch.int64)
        found = torch.quantize_per_channel(x, scales, zeros, 0, torch.qint8)
        steps = scales[:, None]
    else:
        found, steps = torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), torch.tensor(0.1)
    return Odd(found, (x / steps).round().clamp(-128, 127) * steps)


def sparse(convert: Callable[[Tensor], Tensor]) -> Odd:
    x = numbers(4, 6)
    return Odd(convert(x), x, x[x != 0])


def blocks(convert: Callable[..., Tensor]) -> Odd:
    x = numbers(4, 6)
    x[:2, :2] = 0
    found = convert(x, (2, 2))
    return Odd(found, x, found.values().flatten())


def uncoalesced() -> Odd:
    found = torch.sparse_coo_tensor(torch.tensor([[0, 0, 2]]), torch.tensor([1.0, 2.0, -4.0]), (5,))
    return Odd(found, torch.tensor([3.0, 0, -4, 0, 0]), torch.tensor([3.0, -4.0]))


def nested(layout: torch.layout) -> Odd:
    parts = [numbers(2, 3), numbers(4, 3) + 1]
    found = torch.nested.nested_tensor(parts, layout=layout)
    return Odd(found, torch.cat([part.flatten() for part in parts]))


def nested_with_holes() -> Odd:
    values, offsets = numbers(9, 3), torch.tensor([0, 4, 9])
    found = torch.nested.nested_tensor_from_jagged(values, offsets, lengths=torch.tensor([2, 3]))
    return Odd(found, torch.cat([values[0:2], values[4:7]]).flatten())


def transposed_nested() -> Odd:
    parts = [numbers(2, 3), numbers(4, 3) + 1]
    found = torch.nested.nested_tensor(parts).transpose(1, 2)
    return Odd(found, torch.cat([part.T.flatten() for part in parts]))


def plain_view(view: Callable[[Tensor], Tensor]) -> Odd:
    found = view(numbers(4, 6))
    return Odd(found, found.clone())


def negative() -> Odd:
    x = numbers(4, 6)
    found: Tensor = torch._neg_view(x)
    assert found.data_ptr() == x.data_ptr()
    return Odd(found, -x)


ODD: dict[str, Callable[[], Odd]] = {
    "wrapper": lambda: Odd(Wrapper(numbers(4, 6)), None),
    "wrapper as a parameter": lambda: Odd(nn.Parameter(Wrapper(numbers(4, 6))), None),
    "wrapper with memory": lambda: Odd(WithMemory(numbers(4, 6)), None),
    "holder": lambda: Odd(Holder(numbers(4, 6)), None),
    "labelled": lambda: Odd(numbers(4, 6).as_subclass(Labelled), numbers(4, 6)),
    "special parameter": lambda: Odd(Special(numbers(4, 6)), numbers(4, 6)),
    "packed bytes": lambda: Odd(Packed(torch.ones(8, dtype=torch.uint8), False), None),
    "packed dtype": lambda: Odd(torch.zeros(8, dtype=torch.uint4), None),
    "bits": lambda: Odd(torch.zeros(8, dtype=torch.bits8), None),
    "fake": lambda: Odd(fake(), None),
    "functional": lambda: Odd(functional(), None),
    "functional inside": lambda: Odd(torch._to_functional_tensor(numbers(4, 6)), None),
    "of vmap": lambda: Odd(of_vmap(), None),
    "left by grad": lambda: Odd(of_grad(), numbers(4, 6)),
    "freed": lambda: Odd(freed(), None),
    "shrunk": lambda: Odd(shrunk(), None),
    "shrunk view": lambda: Odd(shrunk_view(), None),
    "shrunk columns": lambda: Odd(shrunk_columns(), None),
    "swapped": swapped,
    "meta": lambda: Odd(torch.empty(4, 6, device="meta"), None),
    "lazy": lambda: Odd(nn.LazyLinear(3).weight, None),
    "zero of autograd": lambda: Odd(torch._efficientzerotensor((4, 6)), torch.zeros(4, 6)),
    "quantized": lambda: quantized(per_channel=False),
    "quantized by channel": lambda: quantized(per_channel=True),
    "coo": lambda: sparse(Tensor.to_sparse),
    "csr": lambda: sparse(Tensor.to_sparse_csr),
    "csc": lambda: sparse(Tensor.to_sparse_csc),
    "bsr": lambda: blocks(Tensor.to_sparse_bsr),
    "bsc": lambda: blocks(Tensor.to_sparse_bsc),
    "uncoalesced": uncoalesced,
    "nested": lambda: nested(torch.strided),
    "jagged": lambda: nested(torch.jagged),
    "jagged with holes": nested_with_holes,
    "nested, transposed": transposed_nested,
    "mkldnn": lambda: Odd(numbers(4, 6).to_mkldnn(), numbers(4, 6)),
    "expanded": lambda: plain_view(lambda x: x[:1].expand(50, 6)),
    "huge strides": lambda: plain_view(
        lambda x: torch.empty_strided((4, 6), (60_000, 7)).copy_(x)
    ),
    "columns": lambda: plain_view(lambda x: x[:, ::2]),
    "flipped sign": negative,
    "half": lambda: Odd(numbers(4, 6).half(), numbers(4, 6).half().float()),
    "bfloat16": lambda: Odd(numbers(4, 6).bfloat16(), numbers(4, 6).bfloat16().float()),
    "float8": lambda: Odd(
        numbers(4, 6).to(torch.float8_e4m3fn), numbers(4, 6).to(torch.float8_e4m3fn).float()
    ),
    "complex": lambda: Odd(torch.complex(numbers(4, 6), numbers(4, 6) + 1), torch.complex(
        numbers(4, 6), numbers(4, 6) + 1)),
    "complex half": lambda: Odd(
        torch.complex(numbers(4), numbers(4) + 1).to(torch.complex32),
        torch.complex(numbers(4), numbers(4) + 1).to(torch.complex32).to(torch.complex64),
    ),
    "whole numbers": lambda: Odd(torch.arange(6), torch.arange(6.0)),
    "no dimension": lambda: Odd(torch.tensor(-2.0), torch.tensor(-2.0)),
}  # fmt: skip


def odd(name: str) -> Odd:
    """A new one of this kind; torch warns of some kinds, which is not what is tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ODD[name]()


READABLE = [name for name in ODD if odd(name).numbers is not None]
UNREADABLE = [name for name in ODD if name not in READABLE]
