"""Real Litecoin nodes on regtest: a Core 0.21 derivative that Debian packages (no ZMQ, no USDT)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.lab.node import Node, Options, RpcUser
from tests.lab.peers import program
from tests.lab.ports import free_port


class Litecoind(Node):
    """A litecoind. Needs Debian's package litecoind."""

    kind = "litecoind"
    config_name = "litecoin.conf"

    def __init__(
        self,
        folder: Path,
        name: str = "a",
        *,
        options: Options | None = None,
        users: Sequence[RpcUser] = (),
        mweb: bool = False,
    ) -> None:
        """Without `mweb` the extension blocks never activate.

        With `mweb` they do at height 432, and from there on mining fails with bad-txns-vin-empty until a
        peg-in (1 LTC to `getnewaddress "" mweb`) waits in the mempool.
        """
        super().__init__(folder, name, options=options, users=users)
        # 0.21 always binds a port for Tor's inbound peers, the same on every node unless told.
        onion = f"127.0.0.1:{free_port()}=onion"
        never = "mweb:999999999998:999999999999"
        self.base_options = {
            "bind": [f"127.0.0.1:{self.p2p_port}", onion],
            "natpmp": "0",
            **({} if mweb else {"vbparams": never}),
        }

    def program(self) -> Path:
        """Debian's litecoind."""
        return program("litecoind")

    def open_wallet(self) -> None:
        """Create the wallet `lab` on first use; the node loads it again on every start."""
        if "lab" not in self.rpc("listwallets"):
            self.rpc("createwallet", "lab", False, False, "", False, False, True)
