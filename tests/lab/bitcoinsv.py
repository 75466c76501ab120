"""Real Bitcoin SV nodes on regtest: a Core derivative whose binary has ZMQ built in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.lab.node import Node, Options, RpcUser
from tests.lab.peers import bitcoinsv_program
from tests.lab.ports import free_port

ZMQ_TOPICS = ("hashblock", "hashtx", "rawblock", "rawtx", "removedfrommempoolblock", "invalidtx")


class BitcoinSV(Node):
    """A bitcoind of Bitcoin SV, publishing `topics` on one ZMQ socket (there is no `sequence` topic)."""

    kind = "bitcoinsv"
    log_name = "bitcoind.log"
    config_has_sections = False
    magic = bytes.fromhex("dab5bffa")

    def __init__(
        self,
        folder: Path,
        name: str = "a",
        *,
        options: Options | None = None,
        users: Sequence[RpcUser] = (),
        topics: Sequence[str] = ZMQ_TOPICS,
    ) -> None:
        super().__init__(folder, name, options=options, users=users)
        self.zmq_port = free_port()
        self.zmq_url = f"tcp://127.0.0.1:{self.zmq_port}"
        self.base_options = {
            "standalone": "1",
            "excessiveblocksize": "10GB",
            "maxstackmemoryusageconsensus": "200MB",
            "minminingtxfee": "0.00000050",
            **({"invalidtxsink": "ZMQ"} if "invalidtx" in topics else {}),
            **{f"zmqpub{topic}": self.zmq_url for topic in topics},
        }

    def program(self) -> Path:
        """The bitcoind in the cache of tests.lab.peers."""
        return bitcoinsv_program()
