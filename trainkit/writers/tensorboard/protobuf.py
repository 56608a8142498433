"""The few pieces of protobuf's wire format that are written by hand, because they repeat."""

import struct

__all__ = ["event", "message", "utf8", "varint"]

_WALL_TIME, _STEP = b"\x09", b"\x10"  # of event.proto: a double, and a varint


def varint(number: int) -> bytes:
    """A non-negative number as protobuf writes lengths."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def event(step: int, wall_time: float, content: bytes) -> bytes:
    """An Event with this content, which is one more serialized field."""
    # A negative number is written as the 64 bits of its complement.
    moment = _WALL_TIME + struct.pack("<d", wall_time)
    return moment + _STEP + varint(step & (2**64 - 1)) + content


def message(key: bytes, data: bytes) -> bytes:
    """A field of known length: a message, a string, or packed numbers.

    Args:
        key: Eight times the field's number plus two.
        data: The field's content.
    """
    return key + varint(len(data)) + data


def utf8(text: str) -> bytes:
    """UTF-8; half a surrogate pair, which has none, is written as its escape."""
    return text.encode("utf-8", "backslashreplace")
