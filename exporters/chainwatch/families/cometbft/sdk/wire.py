"""Protobuf's wire format, as far as the few messages here need it: https://protobuf.dev/programming-guides/encoding/

Generated classes would bring a compiler and the SDK's whole tree of schemas for a dozen fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Malformed(ValueError):
    """The bytes are no message of protobuf."""


class Fields:
    """The fields of one message: numbers (varints) and bytes by field number, unknown ones included.

    Raises `Malformed` at once for bytes that are no message.
    """

    def __init__(self, message: bytes) -> None:
        self._values: dict[int, list[int | bytes]] = {}
        for number, value in _read(message):
            self._values.setdefault(number, []).append(value)

    def number(self, field: int) -> int:
        """A varint as int64; 0 when absent, as proto3 has it. The last one wins."""
        value = self._last(field, 0)
        if not isinstance(value, int):
            raise Malformed(f"field {field} is no number")
        return value - (1 << 64) if value >= 1 << 63 else value

    def content(self, field: int) -> bytes:
        """Bytes; empty when absent."""
        value = self._last(field, b"")
        if not isinstance(value, bytes):
            raise Malformed(f"field {field} holds no bytes")
        return value

    def text(self, field: int) -> str:
        """A string; empty when absent. What is no UTF-8 is replaced: names are shown to people."""
        return self.content(field).decode(errors="replace")

    def message(self, field: int) -> Fields:
        """A message within; one without fields when absent."""
        return Fields(self.content(field))

    def messages(self, field: int) -> Iterator[Fields]:
        """A repeated message."""
        for value in self._values.get(field, ()):
            if not isinstance(value, bytes):
                raise Malformed(f"field {field} holds no messages")
            yield Fields(value)

    def __contains__(self, field: int) -> bool:
        return field in self._values

    def _last(self, field: int, absent: int | bytes) -> int | bytes:
        return self._values.get(field, (absent,))[-1]


def encode(fields: Mapping[int, int | bytes | str]) -> bytes:
    """Encode one message; numbers must not be negative."""
    parts = []
    for number, value in fields.items():
        if isinstance(value, int):
            parts += [_varint(number << 3 | VARINT), _varint(value)]
        else:
            content = value.encode() if isinstance(value, str) else value
            parts += [_varint(number << 3 | BYTES), _varint(len(content)), content]
    return b"".join(parts)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(message):
        key, position = _read_varint(message, position)
        kind = key & 7
        if kind == VARINT:
            value, position = _read_varint(message, position)
            yield key >> 3, value
            continue
        if kind == BYTES:
            size, position = _read_varint(message, position)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise Malformed(f"wire type {kind}")
        if position + size > len(message):
            raise Malformed("cut off")
        yield key >> 3, message[position : position + size]
        position += size


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise Malformed("cut off")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, position
    raise Malformed("a number of more than 64 bits")
