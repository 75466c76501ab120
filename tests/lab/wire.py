"""Transactions and blocks in Bitcoin's wire format, valid and deliberately invalid, for regtest.

Formats: the developer reference's block and transaction serialisation, without witness data.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.lab.node import Node

ANYONE = bytes([0x51])
"""Output script OP_TRUE: anyone can spend it. Not standard, so no node relays it."""
NOBODY = bytes.fromhex("76a914" + "00" * 20 + "88ac")
"""Standard output script (P2PKH) to which nobody has the key."""


@dataclass(frozen=True)
class Block:
    """A block with its work done."""

    hash: str  # as RPC shows it
    header: bytes
    raw: bytes


@dataclass(frozen=True)
class Input:
    """An output that a transaction spends, with the script that unlocks it."""

    txid: str
    vout: int
    script: bytes = b""
    sequence: int = 0xFFFFFFFF


def double_sha256(data: bytes) -> bytes:
    """The hash of transactions, and of Bitcoin's blocks."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def scrypt(header: bytes) -> bytes:
    """Litecoin's proof of work. Its block hash stays the double SHA-256."""
    return hashlib.scrypt(header, salt=header, n=1024, r=1, p=1, dklen=32)


def size(number: int) -> bytes:
    """A count before a list (CompactSize)."""
    if number < 0xFD:
        return bytes([number])
    return b"\xfd" + struct.pack("<H", number) if number <= 0xFFFF else b"\xfe" + struct.pack("<I", number)


def transaction(inputs: Sequence[Input], outputs: Sequence[tuple[int, bytes]]) -> bytes:
    """A version 2 transaction; outputs are satoshis and script."""
    raw = struct.pack("<i", 2) + size(len(inputs))
    for spent in inputs:
        raw += bytes.fromhex(spent.txid)[::-1] + struct.pack("<I", spent.vout)
        raw += size(len(spent.script)) + spent.script + struct.pack("<I", spent.sequence)
    raw += size(len(outputs))
    for satoshis, script in outputs:
        raw += struct.pack("<q", satoshis) + size(len(script)) + script
    return raw + struct.pack("<I", 0)


def coinbase(height: int, satoshis: int, script: bytes = ANYONE) -> bytes:
    """A block's first transaction. Its input states the height (BIP 34)."""
    number = height.to_bytes((height.bit_length() + 8) // 8, "little")
    source = Input("00" * 32, 0xFFFFFFFF, bytes([len(number)]) + number + b"\x03lab")
    return transaction([source], [(satoshis, script)])


def merkle_root(txids: Sequence[bytes]) -> bytes:
    """Root over transaction hashes in wire order."""
    row = list(txids)
    while len(row) > 1:
        row += row[-1:] if len(row) % 2 else []
        row = [double_sha256(left + right) for left, right in zip(row[::2], row[1::2], strict=True)]
    return row[0]


def build_block(
    node: Node,
    *,
    transactions: Sequence[bytes] = (),
    coinbase_satoshis: int = 0,
    parent: str | None = None,
    merkle: bytes | None = None,
    seconds: int | None = None,
    proven: bool = True,
) -> Block:
    """A block on `parent` (the node's tip by default) with its work done for the node's chain.

    Valid as it stands. More `coinbase_satoshis` than subsidy and fees give bad-cb-amount; another `merkle` root
    bad-txnmrklroot; `seconds` of the past or far future time-too-old or time-too-new; not `proven` high-hash.
    Transactions must carry no witness.
    """
    before = node.rpc("getblockheader", parent or node.tip)
    body = [coinbase(int(before["height"]) + 1, coinbase_satoshis), *transactions]
    root = merkle or merkle_root([double_sha256(tx) for tx in body])
    when = seconds if seconds is not None else max(int(time.time()), int(before["mediantime"]) + 1)
    header = _header(node, before["hash"], root, when, int(before["bits"], 16), proven)
    return Block(hash_of(header), header, header + size(len(body)) + b"".join(body))


def header_chain(node: Node, count: int) -> list[bytes]:
    """Headers on the node's tip whose blocks exist nowhere: sent to the node, they leave it `count` blocks behind."""
    before = node.rpc("getblockheader", node.tip)
    parent, bits, when = before["hash"], int(before["bits"], 16), max(int(time.time()), int(before["mediantime"]))
    headers: list[bytes] = []
    for number in range(1, count + 1):
        headers.append(_header(node, parent, number.to_bytes(32), when + number, bits, True))
        parent = hash_of(headers[-1])
    return headers


def hash_of(header: bytes) -> str:
    """A block's hash as RPC shows it."""
    return double_sha256(header)[::-1].hex()


def _header(node: Node, parent: str, root: bytes, seconds: int, bits: int, proven: bool) -> bytes:
    """A header of 80 bytes whose work fits `bits`, or does not."""
    fields = bytes.fromhex(parent)[::-1] + root + struct.pack("<II", seconds, bits)
    work = scrypt if node.kind == "litecoind" else double_sha256
    target = (bits & 0xFFFFFF) << 8 * ((bits >> 24) - 3)
    for nonce in range(1 << 32):
        header = struct.pack("<i", 0x20000000) + fields + struct.pack("<I", nonce)
        if (int.from_bytes(work(header), "little") <= target) == proven:
            return header
    raise AssertionError("no nonce fits; regtest needs about two tries")
