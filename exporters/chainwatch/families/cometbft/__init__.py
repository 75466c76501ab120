"""CometBFT 0.37 to 1.x and Tendermint 0.34: the chains of the Cosmos SDK and others."""

from chainwatch.exposition.family import Action, Family
from chainwatch.families.cometbft.collectors import COMETBFT
from chainwatch.families.cometbft.doctor import diagnose
from chainwatch.families.cometbft.exporter import CometbftExporter
from chainwatch.families.cometbft.settings import CometbftSettings, check
from chainwatch.families.cometbft.view.page import PAGES
from chainwatch.families.cometbft.view.top import run as top

FAMILY = Family(
    name="cometbft",
    summary="CometBFT and Tendermint nodes: who votes, and who does not.",
    settings=CometbftSettings,
    check=check,
    collectors=COMETBFT,
    start=CometbftExporter,
    needs_restart=frozenset({"web", "state", "vantage.urls", "validators"}),
    doctor=diagnose,
    actions=(Action("top", "Show live in the terminal who votes, from a running exporter.", top),),
    pages=PAGES,
)
