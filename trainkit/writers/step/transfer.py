"""Tensors of one device, packed into one buffer and copied to the host in one read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["TRAVELS", "Arrays", "read", "read_packed", "wire"]

# Tensors as NumPy arrays.
Arrays = list[np.ndarray[Any, np.dtype[Any]]]

# What travels: dtypes of whole 32-bit lanes that NumPy knows.
TRAVELS = {
    torch.float64: np.float64,
    torch.int64: np.int64,
    torch.float32: np.float32,
    torch.int32: np.int32,
}
_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16)


def wire(values: Tensor) -> Tensor:
    """The values in a dtype that travels and holds each of them exactly, on their device.

    bf16, fp16 and the 8-bit floats become float32, small integers and bool int32, unsigned 32-bit
    int64. uint64 above 2**63 is the one thing that does not fit.
    """
    if values.dtype in TRAVELS:
        return values
    if values.dtype in _INTEGERS:
        return values.to(torch.int32)
    if values.dtype in (torch.uint32, torch.uint64):
        return values.to(torch.int64)
    return values.to(torch.float32)


def read(tensors: Sequence[Tensor], streams: Sequence[Any] = ()) -> Arrays:
    """The tensors as NumPy arrays: one copy to the host, however many tensors there are.

    Args:
        tensors: All on one device, in dtypes that `wire` returns or uint8, of any shape.
        streams: The CUDA streams on which they were computed, in order.
    """
    if all(tensor.is_cpu for tensor in tensors):  # nothing to copy
        return [tensor.numpy() for tensor in tensors]
    return read_packed(tensors, streams)


def read_packed(tensors: Sequence[Tensor], streams: Sequence[Any] = ()) -> Arrays:
    """`read`, from a device."""
    # Wider dtypes first, so that every view is aligned.
    order = sorted(range(len(tensors)), key=lambda i: -tensors[i].element_size())
    lanes = [_lanes(tensors[i]) for i in order]
    host = _to_host(lanes, streams)
    arrays: Arrays = [np.empty(0)] * len(tensors)
    start = 0
    for i, part in zip(order, lanes, strict=True):
        tensor, flat = tensors[i], host[start : start + part.numel()]
        start += part.numel()
        view = flat.view(TRAVELS.get(tensor.dtype, np.uint8))[: tensor.numel()]
        arrays[i] = view.reshape(tuple(tensor.shape))
    return arrays


def _lanes(tensor: Tensor) -> Tensor:
    flat = tensor.reshape(-1)
    if flat.dtype == torch.uint8:
        flat = torch.nn.functional.pad(flat, (0, -flat.numel() % 4))
    if flat.stride(0) != 1:
        # `contiguous` leaves a single element of a column as it is; `view` wants the stride.
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.int32)


def _to_host(lanes: Sequence[Tensor], streams: Sequence[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    if not streams:
        packed = torch.cat(list(lanes)) if len(lanes) > 1 else lanes[0]
        return np.asarray(packed.cpu().numpy())
    first, *others = streams
    # The thread that reads may not be the one that computed: pack behind what was computed.
    with torch.cuda.stream(first):
        for other in others:
            first.wait_stream(other)
        packed = torch.cat(list(lanes)) if len(lanes) > 1 else lanes[0]
        host = torch.empty(packed.shape, dtype=torch.int32, device="cpu", pin_memory=True)
        host.copy_(packed, non_blocking=True)
        arrived = first.record_event()
    arrived.synchronize()
    return np.asarray(host.numpy())
