"""CometBFT validator: what one's own validator, or any other, signed and missed, why, and how fast it is."""

from __future__ import annotations

from dataclasses import replace

from dashboards import lines
from dashboards.common import choices
from dashboards.model import Board, Panel, Row, Unit
from dashboards.panels import Column, bars, graph, heatmap, stat, table, timeline
from dashboards.signals import cometbft_chain as chain
from dashboards.signals import cometbft_validator as validator
from dashboards.signals.cometbft_validator import grown, named, share

_RANGE = "$__range"


def _counted(metric: str, *selectors: str) -> str:
    """Return what a counter of each chosen validator gained in the board's time range."""
    return named(f"round({grown(metric, *selectors, within=_RANGE)})")


def _chosen() -> Panel:
    """The chosen validators side by side."""
    precommits, proposals = "cometbft_validator_precommits_total", "cometbft_validator_proposals_total"
    return table(
        "Side by side",
        "The chosen validators over the time range above. Choose several at the top to compare one with others.",
        (
            Column("Name", label="name"),
            Column("Address", label="validator", width=345),
            Column("Signed", named(share(precommits, 'result!="absent"', within=_RANGE)), unit=Unit.RATIO, width=75),
            Column("Missed", _counted(precommits, 'result="absent"'), width=75),
            Column("Missed alone", _counted("cometbft_validator_missed_alone_total"), width=105),
            Column("Left out", _counted("cometbft_validator_precommit_left_out_total"), width=80),
            Column("Proposed", _counted(proposals, 'result="committed"'), width=90),
            Column("Proposals failed", _counted(proposals, 'result="failed"'), width=130),
            Column("Power", named(validator.POWER_SHARE), unit=Unit.RATIO, width=75),
            Column("Chain", label="chain"),
        ),
        height=7,
        sort="Signed",
    )


_COLORS = {"block": "green", "nil": "yellow", "absent": "red", "committed": "green", "failed": "red"}


def _states(panel: Panel) -> Panel:
    """Colour each series by the result with which its legend begins."""
    overrides = (
        {
            "matcher": {"id": "byRegexp", "options": f"/^{result}, /"},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
        }
        for result, color in _COLORS.items()
    )
    return replace(panel, overrides=(*panel.overrides, *overrides))


BOARD = Board(
    uid="chainwatch-cometbft-validator",
    title="CometBFT validator",
    folder="chainwatch-cometbft",
    family="cometbft",
    description="What the chosen validators signed and missed, why, and how fast they are; own ones come first.",
    variables=(*choices("cometbft_power"), validator.VALIDATOR),
    annotations=chain.MARKS,
    rows=(
        Row(
            "Now",
            (
                stat(validator.SIGNED_NOW, 3),
                stat(validator.IN_A_ROW_NOW, 5, logs=lines.MISSED),
                stat(validator.MEMBERSHIP, 3),
                stat(validator.DELAY_NOW),
                stat(validator.FAILED_PROPOSALS_NOW, 5, logs={"event": "timed_out"}),
                stat(validator.DOUBLE_SIGNS, logs=lines.DOUBLE_SIGNS),
                timeline(validator.HISTORY, 24, 5, logs=lines.MISSED),
                bars(validator.MISSED_BY_CAUSE, 12, logs=lines.MISSED_BY_CAUSE),
                graph(validator.IN_A_ROW, 12, steps=True, logs=lines.MISSED),
                graph(validator.MISSED_SHARE, 12),
                graph(validator.DELAY, 12),
            ),
        ),
        Row(
            "Votes",
            (
                heatmap(validator.DELAYS, 24),
                _states(bars(validator.PREVOTES)),
                _states(bars(validator.PRECOMMITS)),
                bars(validator.MISSED_ALONE),
                graph(validator.PREVOTED_ONLY, logs=lines.SIGNER),
                graph(validator.MISSED_FOR_SIGNER, logs=lines.SIGNER),
                graph(validator.LEFT_OUT),
            ),
            folded=True,
        ),
        Row(
            "Proposals and power",
            (
                _states(bars(validator.PROPOSALS, logs=lines.PROPOSALS)),
                graph(validator.EMPTY_PROPOSALS),
                graph(validator.POWER, steps=True),
                _chosen(),
            ),
            folded=True,
        ),
        Row(
            "Slashing window (chains of the Cosmos SDK alone)",
            (
                graph(validator.WINDOW_MISSED, steps=True),
                graph(validator.JAIL_DISTANCE, steps=True),
                graph(validator.JAIL_DISTANCE_RATIO),
            ),
            folded=True,
        ),
    ),
)
