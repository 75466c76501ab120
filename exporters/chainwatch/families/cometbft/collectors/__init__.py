"""One file for each subject that a CometBFT node can be asked about."""

from chainwatch.exposition.collector import Registry
from chainwatch.families.cometbft.node import CometbftNode

COMETBFT: Registry[CometbftNode] = Registry(__name__)
