"""Bitcoin Core 0.21 to 31, Litecoin, Bitcoin SV and other derivatives."""

from chainwatch.exposition.family import Family
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.doctor import diagnose
from chainwatch.families.bitcoin.exporter import BitcoinExporter
from chainwatch.families.bitcoin.settings import BitcoinSettings, check

FAMILY = Family(
    name="bitcoin",
    summary="Bitcoin Core, Litecoin, Bitcoin SV and other nodes of the Bitcoin family.",
    settings=BitcoinSettings,
    check=check,
    collectors=BITCOIN,
    start=BitcoinExporter,
    needs_restart=frozenset({"web", "state", "log.file"}),
    doctor=diagnose,
)
