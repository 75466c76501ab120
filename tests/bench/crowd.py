"""A node of a chain with many validators, made of frames like those recorded: `python -m tests.bench.crowd PORT`.

It answers the exporter's questions, and sends the events of a given number of heights as fast as they are read, once
somebody asks for /go?heights=N. Run as a process of its own, so that it takes nothing of the exporter's core.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from aiohttp import WSMsgType, web

VALIDATORS = 180
CHAIN = "crowd-1"
ADDRESSES = [f"{number:040X}" for number in range(0xA0000000, 0xA0000000 + VALIDATORS)]
SET_HASH = "5E" * 32
SIGNATURE = "yZHGKVvH7fRD6eNzQv1kJHHyP4UkMtt6Wzjd1d8UccFN95RvS/32iLug2JgUCnl9/sArPIGGZJe7BeWHxoWFDw=="
# A second between blocks by their headers, however fast they are sent.
GENESIS = 1_790_000_000


def block_id(height: int) -> dict[str, Any]:
    """What names the block of a height."""
    return {"hash": f"{height:064X}", "parts": {"total": 1, "hash": f"{height + 7:064X}"}}


def moment(height: int, milliseconds: int = 0) -> str:
    """RFC 3339 time, so long after a height's beginning."""
    return datetime.fromtimestamp(GENESIS + height, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{milliseconds:03d}123456Z"


def header(height: int) -> dict[str, Any]:
    """A block's header."""
    return {
        "version": {"block": "11", "app": "1"},
        "chain_id": CHAIN,
        "height": str(height),
        "time": moment(height),
        "last_block_id": block_id(height - 1),
        "last_commit_hash": f"{height + 1:064X}",
        "data_hash": f"{height + 2:064X}",
        "validators_hash": SET_HASH,
        "next_validators_hash": SET_HASH,
        "consensus_hash": f"{height + 3:064X}",
        "app_hash": "0000000000000000",
        "last_results_hash": f"{height + 4:064X}",
        "evidence_hash": f"{height + 5:064X}",
        "proposer_address": ADDRESSES[height % VALIDATORS],
    }


def absent(height: int) -> int:
    """Index of the one validator that misses this height."""
    return (height * 7) % VALIDATORS


def commit(height: int) -> dict[str, Any]:
    """The canonical commit of a height: one is absent, everybody else signed."""
    missing = {
        "block_id_flag": 1,
        "validator_address": "",
        "timestamp": "0001-01-01T00:00:00Z",
        "signature": None,
    }
    signatures = [
        missing
        if index == absent(height)
        else {
            "block_id_flag": 2,
            "validator_address": address,
            "timestamp": moment(height, 600),
            "signature": SIGNATURE,
        }
        for index, address in enumerate(ADDRESSES)
    ]
    return {"height": str(height), "round": 0, "block_id": block_id(height), "signatures": signatures}


def block(height: int) -> dict[str, Any]:
    """A block without transactions."""
    return {
        "header": header(height),
        "data": {"txs": []},
        "evidence": {"evidence": []},
        "last_commit": commit(height - 1),
    }


def frame(name: str, kind: str, value: str, subscription: int = 1) -> str:
    """One event as a node frames it."""
    return (
        f'{{"jsonrpc":"2.0","id":{subscription},"result":{{"query":"tm.event CONTAINS \'o\'","data":'
        f'{{"type":"tendermint/event/{kind}","value":{value}}},"events":{{"tm.event":["{name}"]}}}}}}'
    )


def votes(height: int, kind: int) -> Iterator[str]:
    """The votes of one type of a height."""
    named = json.dumps(block_id(height), separators=(",", ":"))
    at = moment(height, 300 * kind)
    for index, address in enumerate(ADDRESSES):
        if kind == 2 and index == absent(height):
            continue
        yield frame(
            "Vote",
            "Vote",
            f'{{"Vote":{{"type":{kind},"height":"{height}","round":0,"block_id":{named},"timestamp":"{at}",'
            f'"validator_address":"{address}","validator_index":{index},"signature":"{SIGNATURE}","extension":null,'
            '"extension_signature":null}}',
        )


def events(height: int) -> Iterator[str]:
    """All events of one height without a failed round, in a node's order."""

    def state(name: str, step: str) -> str:
        return frame(name, "RoundState", f'{{"height":"{height}","round":0,"step":"RoundStep{step}"}}')

    proposer = json.dumps({"address": ADDRESSES[height % VALIDATORS], "index": height % VALIDATORS})
    yield state("NewRoundStep", "NewHeight")
    yield frame(
        "NewRound",
        "NewRound",
        f'{{"height":"{height}","round":0,"step":"RoundStepNewRound","proposer":{proposer}}}',
    )
    yield state("NewRoundStep", "Propose")
    yield frame(
        "CompleteProposal",
        "CompleteProposal",
        f'{{"height":"{height}","round":0,"step":"RoundStepPropose","block_id":{json.dumps(block_id(height))}}}',
    )
    yield state("NewRoundStep", "Prevote")
    yield from votes(height, 1)
    for name, step in (("ValidBlock", "Prevote"), ("Polka", "Prevote"), ("Lock", "Prevote")):
        yield state(name, step)
    yield state("NewRoundStep", "Precommit")
    yield from votes(height, 2)
    yield state("NewRoundStep", "Commit")
    value = {"block": block(height), "block_id": block_id(height), "result_finalize_block": {"validator_updates": []}}
    yield frame("NewBlock", "NewBlock", json.dumps(value, separators=(",", ":")))


class Crowd:
    """The server. Height 1 is there from the start."""

    def __init__(self) -> None:
        self.height = 1
        self._wanted = asyncio.Condition()
        self._target = 1

    def app(self) -> web.Application:
        """Return its routes."""
        app = web.Application()
        app.add_routes([web.post("/", self._rpc), web.get("/websocket", self._events), web.get("/go", self._go)])
        return app

    async def _go(self, request: web.Request) -> web.Response:
        async with self._wanted:
            self._target = self.height + int(request.query["heights"])
            self._wanted.notify_all()
        return web.Response(text=str(self._target))

    async def _rpc(self, request: web.Request) -> web.Response:
        asked = await request.json()
        params = asked.get("params") or {}
        height = int(params.get("height") or self.height)
        answers = {
            "status": self._status,
            "net_info": lambda: {"listening": True, "listeners": [], "n_peers": "0", "peers": []},
            "num_unconfirmed_txs": lambda: {"n_txs": "0", "total": "0", "total_bytes": "0", "txs": None},
            "validators": lambda: self._validators(height, int(params.get("page") or 1)),
            "block": lambda: {"block_id": block_id(height), "block": block(height)},
            "commit": lambda: {
                "signed_header": {"header": header(height), "commit": commit(height)},
                "canonical": height < self.height,
            },
            "blockchain": lambda: {"last_height": str(self.height), "block_metas": []},
        }
        answer = answers.get(asked["method"])
        if answer is None:
            error = {"code": -32601, "message": "Method not found"}
            return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": answer()})

    def _status(self) -> dict[str, Any]:
        return {
            "node_info": {"network": CHAIN, "version": "0.38.25", "moniker": "crowd"},
            "sync_info": {
                "latest_block_hash": block_id(self.height)["hash"],
                "latest_block_height": str(self.height),
                "latest_block_time": moment(self.height),
                "catching_up": False,
            },
            "validator_info": {"address": "0" * 40, "voting_power": "0"},
        }

    def _validators(self, height: int, page: int) -> dict[str, Any]:
        members = [{"address": address, "voting_power": "10"} for address in ADDRESSES[(page - 1) * 100 : page * 100]]
        return {
            "block_height": str(height), "validators": members, "count": str(len(members)), "total": str(VALIDATORS)
        }  # fmt: skip

    async def _events(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=None)
        await socket.prepare(request)
        sending: asyncio.Task[None] | None = None
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            asked = json.loads(message.data)
            await socket.send_str(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {}}))
            if asked["id"] == 1 and sending is None:
                sending = asyncio.create_task(self._send(socket))
        if sending is not None:
            sending.cancel()
        return socket

    async def _send(self, socket: web.WebSocketResponse) -> None:
        """Send what is asked for, as fast as it is read."""
        while True:
            async with self._wanted:
                await self._wanted.wait_for(lambda: self.height < self._target)
            for each in events(self.height + 1):
                await socket.send_str(each)
            self.height += 1
            await asyncio.sleep(0)


if __name__ == "__main__":
    web.run_app(Crowd().app(), host="127.0.0.1", port=int(sys.argv[1]), print=None)
