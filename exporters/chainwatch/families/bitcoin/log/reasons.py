"""Why nodes refuse transactions and blocks: the node's own words, as closed sets.

The text of a refusal can hold anything a sender put into it, so only words of these tables become labels.
Sources: the reject reasons of Bitcoin Core 0.12 to 31, as printed by mempoolrej and BlockChecked lines.
"""

import re
from types import MappingProxyType

OTHER = "other"

_TRANSACTION_CLASSES: dict[str, tuple[str, ...]] = {
    "orphan": ("bad-txns-inputs-missingorspent",),
    "fee": (
        "min relay fee not met",
        "mempool min fee not met",
        "mempool full",
        "insufficient fee",
        "replacement-failed",
    ),
    "conflict": (
        "txn-mempool-conflict",
        "bip125-replacement-disallowed",
        "too many potential replacements",
        "replacement-adds-unconfirmed",
        "bad-txns-spends-conflicting-tx",
    ),
    "known": ("txn-already-in-mempool", "txn-already-known", "txn-same-nonwitness-data-in-mempool"),
    "limits": ("too-long-mempool-chain", "too-large-cluster", "TRUC-violation", "v3-rule-violation"),
    "standard": (
        "version",
        "scriptpubkey",
        "scriptsig-size",
        "scriptsig-not-pushonly",
        "dust",
        "bare-multisig",
        "multi-op-return",
        "datacarrier",
        "tx-size",
        "tx-size-small",
        "bad-txns-nonstandard-inputs",
        "bad-witness-nonstandard",
        "bad-txns-too-many-sigops",
        "non-mandatory-script-verify-flag",
        "mempool-script-verify-flag-failed",
    ),
    "time": ("non-final", "non-BIP68-final", "bad-txns-premature-spend-of-coinbase"),
    "consensus": (
        "mandatory-script-verify-flag-failed",
        "bad-txns-in-belowout",
        "bad-txns-inputvalues-outofrange",
        "bad-txns-txouttotal-toolarge",
        "bad-txns-vin-empty",
        "bad-txns-vout-empty",
        "bad-txns-vout-negative",
        "bad-txns-vout-toolarge",
        "bad-txns-inputs-duplicate",
        "bad-txns-prevout-null",
        "bad-txns-oversize",
        "bad-txns-fee-outofrange",
        "coinbase",
    ),
}
# Reason to (class, reason), in the order of the metric's labels.
TRANSACTION_REASONS = MappingProxyType(
    {reason: (name, reason) for name, reasons in _TRANSACTION_CLASSES.items() for reason in reasons}
)

BLOCK_CLASSES = ("consensus", "mutated", "header", OTHER)
_BLOCK_REASONS = {
    "mutated": (
        "bad-txnmrklroot",
        "bad-txns-duplicate",
        "bad-witness-nonce-size",
        "bad-witness-merkle-match",
        "unexpected-witness",
    ),
    "header": (
        "high-hash",
        "bad-diffbits",
        "time-too-old",
        "time-too-new",
        "time-timewarp-attack",
        "bad-version",
        "bad-prevblk",
        "duplicate-invalid",
        "prev-blk-not-found",
        "too-little-chainwork",
    ),
    "consensus": (
        "block-validation-failed",
        "mandatory-script-verify-flag-failed",
        "block-script-verify-flag-failed",
        "bad-signet-blksig",
    ),
}
_BLOCK_CLASS = {reason: name for name, reasons in _BLOCK_REASONS.items() for reason in reasons}
_BLOCK_CONSENSUS_PREFIXES = ("bad-cb-", "bad-blk-", "bad-txns-")

DETAILS = re.compile(r"[,(:;]")


def bare_reason(text: str) -> str:
    """Return the reason without its details, which follow a comma or stand in parentheses."""
    return DETAILS.split(text, 1)[0].strip()


def transaction_labels(text: str) -> tuple[str, str]:
    """Return class and reason of a refused transaction; both are `other` for words not in the table."""
    return TRANSACTION_REASONS.get(bare_reason(text), (OTHER, OTHER))


def block_class(text: str) -> str:
    """Return the class of a refused block: consensus, mutated, header or other."""
    reason = bare_reason(text)
    found = _BLOCK_CLASS.get(reason)
    if found is None and reason.startswith(_BLOCK_CONSENSUS_PREFIXES):
        return "consensus"
    return found or OTHER
