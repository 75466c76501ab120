"""One file for each subject that a Bitcoin-family node can be asked about."""

from chainwatch.exposition.collector import Registry
from chainwatch.families.bitcoin.node import BitcoinNode

BITCOIN: Registry[BitcoinNode] = Registry(__name__)
