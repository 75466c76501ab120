"""Addresses as the Cosmos SDK writes them (BIP 173's Bech32), to the hex that CometBFT uses."""

from __future__ import annotations

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {char: value for value, char in enumerate(_CHARSET)}
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_CHARS = 6
_MAX_CHARS = 1023  # the SDK's own limit


def address(text: str) -> str | None:
    """Return the upper-case hex of a Bech32 address of any prefix; None for what is none, be it by its checksum."""
    if len(text) > _MAX_CHARS:
        return None
    prefix, separator, data = text.lower().rpartition("1")
    if not separator or not prefix.isascii() or len(data) <= _CHECKSUM_CHARS or not _VALUES.keys() >= set(data):
        return None
    values = [_VALUES[char] for char in data]
    if _checksum([*(ord(char) >> 5 for char in prefix), 0, *(ord(char) & 31 for char in prefix), *values]) != 1:
        return None
    bits = size = 0
    content = bytearray()
    for value in values[:-_CHECKSUM_CHARS]:
        bits, size = bits << 5 | value, size + 5
        if size >= 8:
            size -= 8
            content.append(bits >> size & 0xFF)
            bits &= (1 << size) - 1
    return content.hex().upper()


def _checksum(values: list[int]) -> int:
    state = 1
    for value in values:
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATORS):
            state ^= generator if top >> bit & 1 else 0
    return state
