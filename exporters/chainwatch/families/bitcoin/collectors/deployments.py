"""Changes of the consensus rules: which are active, and how many blocks signal for those that are not.

From getdeploymentinfo (23+), before that from getblockchaininfo.softforks: an object, in Bitcoin SV a list.
"""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct
from prometheus_client import Metric

from chainwatch.errors import MethodNotFound, Unsupported
from chainwatch.exposition.collector import Collector
from chainwatch.exposition.metrics import gauge
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode

STATE = gauge(
    "bitcoin_deployment_state",
    "1 for the state that the deployment is in, from getdeploymentinfo (before 23 getblockchaininfo.softforks).",
    labels=("deployment", "state"),
)
SIGNALLING = gauge(
    "bitcoin_deployment_signalling_blocks",
    "Blocks of this period that signal for the deployment, from getdeploymentinfo.bip9.statistics.count.",
    labels=("deployment",),
)
THRESHOLD = gauge(
    "bitcoin_deployment_threshold_blocks",
    "Signalling blocks in one period that lock the deployment in, from getdeploymentinfo.bip9.statistics.threshold.",
    labels=("deployment",),
)
ELAPSED = gauge(
    "bitcoin_deployment_elapsed_blocks",
    "Blocks of this period so far, from getdeploymentinfo.bip9.statistics.elapsed.",
    labels=("deployment",),
)
STATES = ("defined", "started", "locked_in", "active", "failed")
# Names come from the node's own source; a broken node must still not flood the page.
NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
MAX_DEPLOYMENTS = 32


class Statistics(Struct):
    """Signalling in the current period; only while started, or locked in."""

    elapsed: int | None = None
    count: int | None = None
    threshold: int | None = None  # only while started


class Bip9(Struct):
    """How far a deployment by version bits is."""

    status: str
    statistics: Statistics | None = None


class Deployment(Struct):
    """One deployment; without `bip9` its activation height is fixed in the node's source (buried)."""

    active: bool
    bip9: Bip9 | None = None

    @property
    def state(self) -> str:
        """The state in BIP 9's words."""
        if self.bip9 is None:
            return "active" if self.active else "defined"
        return self.bip9.status

    @property
    def statistics(self) -> Statistics:
        """Signalling, empty where the node reports none."""
        return (self.bip9 and self.bip9.statistics) or Statistics()


class DeploymentInfo(Struct):
    """The answer of getdeploymentinfo."""

    deployments: dict[str, Deployment]


class Reject(Struct):
    """Whether blocks that break the rule are rejected."""

    status: bool


class ListedSoftfork(Struct):
    """One entry of the list that Bitcoin SV has."""

    id: str
    reject: Reject


class Softforks(Struct):
    """The part of getblockchaininfo that was in use before getdeploymentinfo."""

    softforks: dict[str, Deployment] | list[ListedSoftfork] | None = None


@BITCOIN.register("deployments")
class DeploymentsCollector(Collector[BitcoinNode]):
    """State of each change of the consensus rules, and the signalling for it."""

    async def collect(self) -> Iterable[Metric]:
        """Ask getdeploymentinfo, or getblockchaininfo where the node lacks it."""
        found = {name: deployment for name, deployment in (await self._ask()).items() if NAME.fullmatch(name)}
        deployments = dict(list(found.items())[:MAX_DEPLOYMENTS])
        return [
            *STATE.samples(
                {
                    (name, state): deployment.state == state
                    for name, deployment in deployments.items()
                    for state in STATES
                }
            ),
            *SIGNALLING.samples({(name,): deployment.statistics.count for name, deployment in deployments.items()}),
            *THRESHOLD.samples({(name,): deployment.statistics.threshold for name, deployment in deployments.items()}),
            *ELAPSED.samples({(name,): deployment.statistics.elapsed for name, deployment in deployments.items()}),
        ]

    async def _ask(self) -> Mapping[str, Deployment]:
        try:
            return (await self.node.rpc.call("getdeploymentinfo", into=DeploymentInfo)).deployments
        except MethodNotFound:
            softforks = (await self.node.rpc.call("getblockchaininfo", into=Softforks)).softforks
        if softforks is None:
            raise Unsupported("neither getdeploymentinfo nor getblockchaininfo.softforks: this node does not tell")
        if isinstance(softforks, dict):
            return softforks
        return {fork.id: Deployment(active=fork.reject.status) for fork in softforks}
