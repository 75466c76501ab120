"""A chain of its own: validators and full nodes of CometBFT on loopback, and what to do to them.

    with CometbftNet(tmp / "net") as net:
        net.wait_height(3)
        net.validators[3].freeze()     # absent in commits; its turns to propose cost a round
        net.validators[3].thaw()
        net.set_power(net.validators[1], 25)
        net.votes(5)                   # who signed block 5, by the chain's own truth

Four validators of equal power halt when two are frozen. All ports are free ones, so that nets share a machine.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from tests.lab import web
from tests.lab.cometbft import CometbftNode, Settings, cometbft
from tests.lab.waiting import LabError, wait_until

_QUICK_GOSSIP = {"consensus.peer_gossip_sleep_duration": "10ms", "p2p.flush_throttle_timeout": "10ms"}
_ROUNDS = {
    # Shorter than the defaults of 3, 1 and 1 s, and long enough for a machine that runs other tests.
    "consensus.timeout_propose": "1500ms",
    "consensus.timeout_propose_delta": "300ms",
    "consensus.timeout_prevote": "500ms",
    "consensus.timeout_prevote_delta": "200ms",
    "consensus.timeout_precommit": "500ms",
    "consensus.timeout_precommit_delta": "200ms",
}
STEADY: Settings = {**_QUICK_GOSSIP, **_ROUNDS, "consensus.timeout_commit": "900ms"}
"""About one block a second; a round without a proposal costs two more."""
BRISK: Settings = {**_QUICK_GOSSIP, **_ROUNDS, "consensus.timeout_commit": "150ms"}
"""About five blocks a second."""
FAST: Settings = {
    **_ROUNDS,
    "consensus.peer_gossip_sleep_duration": "5ms",
    "p2p.flush_throttle_timeout": "5ms",
    "consensus.timeout_commit": "0s",
    "consensus.skip_timeout_commit": "true",
}
"""Up to 28 blocks a second on two idle cores."""

# A validator that waits for no proposal prevotes nil: with the block that the original prevotes, that is evidence.
# It does wait for prevotes, or it would precommit nil too: two pieces of evidence in one block kill the kvstore, and
# with it the whole chain.
_IMPATIENT: Settings = {
    "consensus.timeout_propose": "1ms",
    "consensus.timeout_propose_delta": "1ms",
    "consensus.timeout_prevote": "1m",
}

FATAL: Settings = {
    "consensus.timeout_propose": "1ms",
    "consensus.timeout_propose_delta": "1ms",
    "consensus.timeout_prevote": "1ms",
    "consensus.timeout_prevote_delta": "1ms",
}
"""For a copy of a validator: it votes nil both times, and the chain dies of the two pieces of evidence."""

_CONFLICT = "conflicting votes from validator"

FLAGS: Mapping[int, str] = {1: "absent", 2: "block", 3: "nil"}
"""block_id_flag of a commit's signature, as our metrics' label `result`."""


class CometbftNet:
    """A chain. `with` starts all nodes but `late` ones, and stops all at the end, whoever started them.

    `validators` are `node0`, `node1`, ... with `powers` (10 each unless told), `full_nodes` the next numbers. `late`
    are names of nodes that the caller starts. `absent` more members with a power of 1 have no node at all. A tx is
    `key=value`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        validators: int = 4,
        full_nodes: int = 1,
        chain_id: str = "chainwatch-lab",
        powers: Sequence[int] = (),
        settings: Settings = STEADY,
        late: Collection[str] = (),
        absent: int = 0,
    ) -> None:
        self.folder = folder
        self.chain_id = chain_id
        self._settings = dict(settings)
        self._late = set(late)
        self._copies = self._stuffed = 0
        count = validators + full_nodes
        hosts = [part for _ in range(count) for part in ("--hostname", "127.0.0.1")]
        cometbft("testnet", "--v", str(validators), "--n", str(full_nodes), "--o", str(folder), *hosts)
        self._write_genesis(count, powers or [10] * validators, self._absent(absent))
        nodes = [CometbftNode(folder / f"node{i}", f"node{i}", settings) for i in range(count)]
        self.validators, self.full_nodes = nodes[:validators], nodes[validators:]
        self._acquaint(nodes)

    def _absent(self, count: int) -> list[dict[str, Any]]:
        """So many members of a genesis, whose keys nobody keeps."""
        if not count:
            return []
        folder = self.folder / "absent"
        hosts = [part for _ in range(count) for part in ("--hostname", "127.0.0.1")]
        cometbft("testnet", "--v", str(count), "--n", "0", "--o", str(folder), *hosts)
        members = json.loads((folder / "node0" / "config" / "genesis.json").read_text())["validators"]
        shutil.rmtree(folder)
        return [{**member, "name": f"absent{i}"} for i, member in enumerate(members)]

    def _write_genesis(self, count: int, powers: Sequence[int], absent: Sequence[dict[str, Any]]) -> None:
        """Our chain id and powers instead of random and 1, the same for all."""
        genesis = json.loads((self.folder / "node0" / "config" / "genesis.json").read_text())
        genesis["chain_id"] = self.chain_id
        for member, power in zip(genesis["validators"], powers, strict=True):
            member["power"] = str(power)
        genesis["validators"] += absent
        for i in range(count):
            (self.folder / f"node{i}" / "config" / "genesis.json").write_text(json.dumps(genesis))

    def _acquaint(self, nodes: Sequence[CometbftNode]) -> None:
        """Everybody calls everybody: whoever comes back finds the others at once."""
        addresses = {node.name: f"{node.node_id}@{node.p2p_address}" for node in nodes}
        for node in nodes:
            node.peers = [address for name, address in addresses.items() if name != node.name]

    def hide(self, node: CometbftNode, behind: CometbftNode) -> None:
        """Have a node know nobody but another one, and nobody else know it. Before the start."""
        node.peers = [peer for peer in node.peers if peer.endswith(f"@{behind.p2p_address}")]
        for other in self.nodes:
            if other not in (node, behind):
                other.peers = [peer for peer in other.peers if not peer.endswith(f"@{node.p2p_address}")]

    @property
    def nodes(self) -> list[CometbftNode]:
        """Validators, then full nodes."""
        return [*self.validators, *self.full_nodes]

    @property
    def full(self) -> CometbftNode:
        """The first full node: the one that an operator would watch."""
        return self.full_nodes[0]

    # Life cycle

    def start(self) -> None:
        """Start all nodes but the late ones and wait until their RPC answers; see wait_height for blocks."""
        prompt = [node for node in self.nodes if node.name not in self._late]
        try:
            with ThreadPoolExecutor(len(prompt)) as pool:
                list(pool.map(lambda node: node.start(), prompt))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop whatever runs, all at once: the last to go would wait for the others."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(lambda node: node.stop(), self.nodes))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # The chain's truth, from whoever can speak

    @property
    def speaker(self) -> CometbftNode:
        """A node that runs and is not frozen, full nodes first. Raises LabError when there is none."""
        for node in [*self.full_nodes, *self.validators]:
            if node.process.alive and not node.frozen:
                return node
        raise LabError(f"no node of {self.chain_id} is awake")

    @property
    def height(self) -> int:
        """Height of the newest block."""
        return self.speaker.height

    def wait_height(self, height: int, timeout: float = 30) -> None:
        """Wait until the chain has this height or more."""
        self.speaker.wait_height(height, timeout)

    def wait_blocks(self, count: int, timeout: float = 30) -> int:
        """Wait for so many more blocks, and return the height."""
        self.wait_height(self.height + count, timeout)
        return self.height

    def block(self, height: int) -> dict[str, Any]:
        """The block at this height: header, data, evidence, last_commit."""
        return dict(self.speaker.rpc("block", height=height)["block"])

    def commit(self, height: int) -> dict[str, Any]:
        """The header and the canonical commit of a height, waiting for the block after it if need be."""
        self.wait_height(height + 1)
        answer = self.speaker.rpc("commit", height=height)
        if not answer["canonical"]:
            raise LabError(f"the commit of {height} is still the node's own view")
        return dict(answer["signed_header"])

    def validators_at(self, height: int) -> dict[str, int]:
        """Power by address of the set that decides a height, in the set's order."""
        members: dict[str, int] = {}
        page, total = 1, 1
        while len(members) < total:
            answer = self.speaker.rpc("validators", height=height, page=page, per_page=100)
            members |= {one["address"]: int(one["voting_power"]) for one in answer["validators"]}
            page, total = page + 1, int(answer["total"])
        return members

    def votes(self, height: int) -> dict[str, str]:
        """`block`, `nil` or `absent` by validator address: the truth on who signed a height."""
        signatures = self.commit(height)["commit"]["signatures"]
        flags = [FLAGS[one["block_id_flag"]] for one in signatures]
        return dict(zip(self.validators_at(height), flags, strict=True))

    # What can be done to it

    def tx(self, text: str) -> int:
        """Have a transaction (`key=value`) included and return the block's height. Raises LabError when refused."""
        encoded = base64.b64encode(text.encode()).decode()
        answer = self.speaker.rpc("broadcast_tx_commit", tx=encoded, timeout=30)
        codes = answer["check_tx"].get("code", 0), answer["tx_result"].get("code", 0)
        if codes != (0, 0):
            raise LabError(f"transaction {text[:60]} refused: {json.dumps(answer)[:500]}")
        return int(answer["height"])

    def send(self, text: str) -> None:
        """Leave a transaction in the mempool and do not wait for its block."""
        self.speaker.rpc("broadcast_tx_sync", tx=base64.b64encode(text.encode()).decode())

    def stuff(self, count: int) -> None:
        """Have so many transactions of 200 kB included: their events fill the buffers of whoever reads slowly."""
        for _ in range(count):
            self._stuffed += 1
            self.send(f"stuff{self._stuffed}={'x' * 200_000}")

    def set_power(self, validator: CometbftNode, power: int) -> int:
        """Change a validator's power, 0 to remove it, anything else to have it join; return the block's height.

        The new set decides the second height after that.
        """
        return self.tx(f"val=ed25519!{validator.public_key}!{power}")

    @contextlib.contextmanager
    def duplicate(self, validator: CometbftNode) -> Iterator[CometbftNode]:
        """Run a second process with a validator's key: both sign, and the copy prevotes nil to each block.

        It joins after some seconds. End it as soon as there is evidence, or there will be more.
        """
        with self.copy(validator, _IMPATIENT) as copy:
            yield copy

    def copy(self, validator: CometbftNode, settings: Settings) -> CometbftNode:
        """A second node with a validator's key and settings of its own, which does not run yet."""
        self._copies += 1
        home = self.folder / f"{validator.name}-copy{self._copies}"
        (home / "data").mkdir(parents=True)
        shutil.copytree(validator.home / "config", home / "config")
        (home / "config" / "node_key.json").unlink()
        cometbft("gen-node-key", "--home", str(home))
        (home / "data" / "priv_validator_state.json").write_text('{"height": "0", "round": 0, "step": 0}')
        copy = CometbftNode(home, home.name, {**self._settings, **settings})
        copy.peers = validator.peers
        return copy

    def double_sign(self, validator: CometbftNode, timeout: float = 60) -> int:
        """Have a validator sign twice by a duplicated key; return the height of the block that holds the evidence.

        The application then takes 1 of its power.
        """
        witnesses = [node for node in self.nodes if node is not validator and node.process.alive]
        height, said = self.height, [node.log_size for node in witnesses]
        with self.duplicate(validator) as copy:
            # Whoever hears both votes makes the evidence, each node at another height: at the first it is time to end.
            wait_until(
                lambda: any(node.logged(_CONFLICT, since) for node, since in zip(witnesses, said, strict=True)),
                f"somebody to hear two votes of {validator.name}",
                timeout=timeout,
                interval=0.05,
            )
            copy.kill()
        heights = iter(range(height, height + 1000))

        def proven() -> int | None:
            found = next(heights)
            self.wait_height(found, timeout)
            return found if self.block(found)["evidence"]["evidence"] else None

        return wait_until(proven, "a block with evidence", timeout=timeout, interval=0, ignoring=web.NOT_ANSWERING)
