"""What is counted of settled heights: definitions only.

How the chain stands now (condition, present round, the set's size, power online) is the tracker's, see
`tracker/metrics.py`.
The truth on who signed is a block's `last_commit`; delays are measured where whole heights were watched.
"""

from __future__ import annotations

from chainwatch.exposition.metrics import counter, gauge, histogram

# The steps of consensus that nodes publish; PrecommitWait never is one.
STEPS = ("NewHeight", "Propose", "Prevote", "PrevoteWait", "Precommit", "Commit")

# --- Heights and rounds

HEIGHTS_SETTLED = counter(
    "cometbft_heights_settled_total",
    "Committed heights whose signatures were counted: watched from first round to block, partial (some events were "
    "lost) or filled (read afterwards from /block and /commit).",
    labels=("how",),
)
HEIGHTS_SKIPPED = counter(
    "cometbft_heights_skipped_total",
    "Committed heights that were given up: no node that was asked had their block or commit any more.",
)
BLOCK_INTERVAL = histogram(
    "cometbft_block_interval_seconds",
    "Time between two blocks as NewBlock told them, where both heights were watched.",
    # Fast chains commit in 0.4 s, most in 1 to 7 s; a minute is trouble, five are a halt.
    buckets=(0.5, 1, 2, 4, 6, 8, 12, 20, 60, 300),
)
ROUNDS_PER_HEIGHT = histogram(
    "cometbft_rounds_per_height",
    "Rounds that a height took, from the commit's round; 1 is healthy.",
    # Above three rounds in a row a network is sick; latency alone was seen to cost up to four.
    buckets=(1, 2, 3, 5, 10),
)
ROUND_FAILURES = counter(
    "cometbft_round_failures_total",
    "Rounds without a commit, by whose turn to propose it was (NewRound) and by reason: no_proposal (none came), "
    "late_proposal (CompleteProposal after the timeout), votes (proposal in time, too few votes for it), unknown.",
    labels=("whose", "reason"),
)
STEP_DURATION = histogram(
    "cometbft_step_duration_seconds",
    "Time from one step of consensus to the next, from NewRoundStep and NewRound of watched heights.",
    labels=("step",),
    # A healthy step takes 10 to 500 ms; 1 s to 5 s are the usual timeouts (commit 1 s or 5 s, propose 3 s).
    buckets=(0.25, 1, 3, 10),
)

# --- Votes

VOTE_EVENTS = counter(
    "cometbft_vote_events_total",
    "Votes that were seen as Vote events, each once, in heights settled since; for a block or for nil.",
    labels=("type", "vote"),
)
VOTE_DUPLICATES = counter(
    "cometbft_vote_duplicates_total",
    "Vote events that said again what was known: from a second vantage point, or delivered twice.",
)
VOTE_LATE = counter(
    "cometbft_vote_late_total",
    "Vote events for heights that were settled already; not counted elsewhere.",
)
VOTE_UNSEEN = counter(
    "cometbft_vote_unseen_total",
    "Signatures in commits of watched heights whose Vote event no node that is watched has published.",
)
VOTE_CONTRADICTIONS = counter(
    "cometbft_vote_contradictions_total",
    "Signatures in commits for another block than the validator's Vote event in the same round said.",
)
VOTE_ARRIVAL = histogram(
    "cometbft_vote_arrival_seconds",
    "Arrival of Vote events in watched heights: since the proposal was complete (votes for it), or since the "
    "validator's own timestamp. Before that, by clocks that differ, counts as 0.",
    labels=("type", "since"),
    # One hop takes 20 to 100 ms, a world-wide net 0.2 to 1 s, a struggling validator several seconds.
    buckets=(0.02, 0.1, 0.25, 0.5, 1, 4),
)
# Two gossip hops at least; from 4 s on the usual timeouts have ended the round.
_QUORUM_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 4)
VOTE_QUORUM_DELAY = histogram(
    "cometbft_vote_quorum_delay_seconds",
    "From the complete proposal to votes for it of more than 2/3 of the power, in the committed round.",
    labels=("type",),
    buckets=_QUORUM_BUCKETS,
)
VOTE_FULL_DELAY = histogram(
    "cometbft_vote_full_delay_seconds",
    "From the complete proposal to a vote of every member (for the block or nil), where all voted in the committed "
    "round.",
    labels=("type",),
    buckets=_QUORUM_BUCKETS,
)

# --- The set

SET_CHANGES = counter(
    "cometbft_validator_set_changes_total",
    "Members that joined or left, or whose power was raised or lowered, between sets of settled heights.",
    labels=("change",),
)
SET_CHANGED = gauge(
    "cometbft_validator_set_changed_timestamp_seconds",
    "Time of the last block with such a change in its validator set, from its header.",
    labels=("change",),
)

# --- Misbehaviour

EVIDENCE = counter(
    "cometbft_evidence_total",
    "Evidence of misbehaviour that went into blocks, from block.evidence; own where it accuses one of one's own.",
    labels=("type", "whose"),
)
DOUBLE_SIGNS = counter(
    "cometbft_double_signs_total",
    "Pairs of different votes by one validator in one round, by what showed them first: evidence in a block, two "
    "vantage points that published different votes, or a commit that is not what its Vote event said.",
    labels=("whose", "proof"),
)

# --- Each validator

VALIDATOR_POWER = gauge(
    "cometbft_validator_power",
    "Voting power in the set of the last settled height, from /validators; absent outside the set.",
    labels=("validator",),
)
PRECOMMITS = counter(
    "cometbft_validator_precommits_total",
    "Precommits by the canonical commit (last_commit of the next block): for the block, nil, or absent.",
    labels=("validator", "result"),
)
PREVOTES = counter(
    "cometbft_validator_prevotes_total",
    "Prevotes of committed rounds by Vote events; counted where the height was watched and a quorum was seen.",
    labels=("validator", "result"),
)
MISSED = counter(
    "cometbft_validator_missed_total",
    "Missed heights: by the Cosmos SDK's rule (sdk) no signature, by CometBFT's a nil precommit too; from last_commit.",
    labels=("validator", "rule"),
)
MISSED_ALONE = counter(
    "cometbft_validator_missed_alone_total",
    "Heights without its signature that more than 2/3 of the set by number signed; from last_commit.",
    labels=("validator",),
)
CONSECUTIVE_MISSED = gauge(
    "cometbft_validator_consecutive_missed",
    "Heights without its signature in a row until the last settled one, from last_commit; absent outside the set.",
    labels=("validator",),
)
PREVOTE_WITHOUT_PRECOMMIT = counter(
    "cometbft_validator_prevote_without_precommit_total",
    "Heights where it prevoted for the committed block (Vote event) and last_commit has no precommit of it.",
    labels=("validator",),
)
LEFT_OUT = counter(
    "cometbft_validator_precommit_left_out_total",
    "Precommits (block or nil) that were seen in time (Vote event) and that the next block's last_commit leaves out.",
    labels=("validator",),
)
PROPOSALS = counter(
    "cometbft_validator_proposals_total",
    "Proposals: committed, by the header's proposer_address; failed, rounds that NewRound named it for without commit.",
    labels=("validator", "result"),
)
EMPTY_PROPOSALS = counter(
    "cometbft_validator_empty_proposals_total",
    "Committed blocks of its own without a transaction, from the block.",
    labels=("validator",),
)
VOTE_DELAY = histogram(
    "cometbft_validator_vote_delay_seconds",
    "Its precommit for the block (Vote event) since the proposal was complete, in committed rounds of watched heights.",
    labels=("validator",),
    # Four bounds for each of 180 validators: quick, usual world-wide, slow, in danger. A page has 5,000 series at most.
    buckets=(0.25, 0.5, 1, 3),
)
VALIDATOR_DOUBLE_SIGNS = counter(
    "cometbft_validator_double_signs_total",
    "Double signs by this validator, as cometbft_double_signs_total; others than one's own only once they have one.",
    labels=("validator",),
)

# --- One's own validators

OWN_INFO = gauge(
    "cometbft_validator_own_info",
    "1 for each validator that `validators.own` or `validators.file` names, with its name there.",
    labels=("validator", "name"),
)
IN_SET = gauge(
    "cometbft_validator_in_set",
    "1 while one's own validator is a member of the set of the last settled height, else 0; from /validators.",
    labels=("validator",),
)
MISSED_BY_CAUSE = counter(
    "cometbft_validator_missed_by_cause_total",
    "Heights without one's own validator's signature, by cause: network (many missed), node (it was behind, alone or "
    "had no proposal in time), signer (the node was well), proposer (the vote was left out), unknown (nobody watched).",
    labels=("validator", "cause"),
)
