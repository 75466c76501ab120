"""How the watched node was, over the last minutes: what a missed vote is blamed on depends on it."""

from __future__ import annotations

from collections import deque

from chainwatch.families.cometbft.consensus.model import NodeCondition

# Changes remembered; a node whose peers come and go all the time makes some hundred an hour.
CHANGES = 2000
# A question that is out for longer than this is one that the node does not answer.
PATIENCE = 1.0

NEVER_ANSWERED = NodeCondition(answering=False, catching_up=False, peers=None)


class Conditions:
    """Notes of the node's condition, oldest first, each holding until the next. Times are Unix seconds."""

    def __init__(self) -> None:
        self._notes: deque[tuple[float, NodeCondition]] = deque(maxlen=CHANGES)
        self._asked: float | None = None

    @property
    def latest(self) -> NodeCondition:
        """As it told when last asked."""
        return self._notes[-1][1] if self._notes else NEVER_ANSWERED

    def asked(self, at: float) -> None:
        """The node was asked now, and has not answered yet."""
        self._asked = at

    def answered(self, catching_up: bool, peers: int | None) -> None:
        """It answered the question that is out."""
        self._note(NodeCondition(True, catching_up, peers))

    def found_peers(self, peers: int | None, asked: float) -> None:
        """It answered a question of that time, or left it unanswered: it has so many peers."""
        latest = self.latest
        if latest.answering and latest.peers != peers:
            self._notes.append((asked, NodeCondition(True, latest.catching_up, peers)))

    def failed(self) -> None:
        """It did not answer, and that since it was asked."""
        self._note(NodeCondition(False, self.latest.catching_up, None))

    def _note(self, condition: NodeCondition) -> None:
        if self._asked is not None and (not self._notes or self.latest != condition):
            self._notes.append((self._asked, condition))
        self._asked = None

    def during(self, start: float, end: float) -> NodeCondition:
        """The worst of a time: one refusal, one moment of catching up, the fewest peers.

        Of a time before it was first asked nothing is known, and nothing bad is said.
        """
        held: list[NodeCondition] = []
        for since, condition in reversed(self._notes):
            if since <= end:
                held.append(condition)
            if since <= start:
                break
        unanswered = self._asked is not None and end - self._asked > PATIENCE
        return NodeCondition(
            answering=not unanswered and all(condition.answering for condition in held),
            catching_up=any(condition.catching_up for condition in held),
            peers=min((condition.peers for condition in held if condition.peers is not None), default=None),
        )
