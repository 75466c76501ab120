"""Lines of the log behind what panels show: values of variables of the board Logs, for a panel's link.

A link names every event that feeds the panel's counter, since a node writes some of them only, by its version, its
debug categories and what happened. Events are those of families/bitcoin/log/patterns.py.
"""

from __future__ import annotations

from dashboards.model import Chosen

# A block that leaves is written with debug=bench alone; the tips before and after it are written always.
REORGS: Chosen = {"event": ("disconnect_block", "update_tip")}
REFUSED: Chosen = {"event": ("rejected", "rejected_sv")}
ACCEPTED: Chosen = {"event": ("accepted", "accepted_sv")}
INVALID_BLOCKS: Chosen = {
    "event": (
        "block_checked",
        "invalid_chain",
        "connect_failed",
        "accept_block_failed",
        "header_refused",
        "header_on_invalid",
        "block_mutated",
        "mutated_from",
    )
}
BLOCK_TROUBLE: Chosen = {"event": ("block_timeout", "block_stalling", "stale_tip")}
# The way to the tip begins with a header, or, up to version 24, with the request for the block.
HEADER_TO_TIP: Chosen = {"event": ("new_header", "requested_block", "update_tip")}
TROUBLE: Chosen = {"level": ("error", "warning")}

# CometBFT's lines tell by their category which of a validator's troubles they are about.
HALTS: Chosen = {"category": ("fatal", "round")}
ROUNDS: Chosen = {"category": "round"}
MISSED: Chosen = {"category": ("signer", "round", "peer")}
MISSED_BY_CAUSE: Chosen = {"category": ("signer", "round", "proposal", "peer")}
PROPOSALS: Chosen = {"category": ("proposal", "round")}
DOUBLE_SIGNS: Chosen = {"category": "double_sign"}
SIGNER: Chosen = {"category": "signer"}
