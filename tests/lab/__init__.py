"""The lab: real programs on loopback, in temporary folders, for the live tests, the demo and the benchmark.

    from tests.lab import Litecoind, join, part, same_tip

    with Litecoind(tmp / "a", "a") as a, Litecoind(tmp / "b", "b") as b:
        a.connect(b)
        a.mine(101)
        same_tip(a, b)
        part(a, b)
        a.mine(2)
        b.mine(3)
        join(a, b)            # a reorganises, depth 2

    with (
        Webhook() as hook,
        Alertmanager(tmp / "alertmanager", webhook=hook.url) as alertmanager,
        Exporter(tmp / "exporter", a) as exporter,
        Prometheus(
            tmp / "prometheus", targets={"bitcoin": [exporter.address]}, alertmanager=alertmanager.address
        ) as prometheus,
    ):
        exporter.page().value("chainwatch_up")
        prometheus.wait_for("chainwatch_up == 1")
        a.kill()
        hook.wait_for("NodeDown")

    with CometbftNet(tmp / "net") as net, Exporter(tmp / "exporter", net.full) as exporter:
        net.wait_height(3)
        net.validators[3].freeze()

    with Loki(tmp / "loki", alertmanager=alertmanager.address) as loki:
        target = {"__path__": str(a.log_file), "chain": "litecoin-regtest", "instance": exporter.address}
        with Promtail(tmp / "promtail", loki.url, targets={"bitcoin": [target]}):
            loki.wait_lines('{event="update_tip"}')

Every class is a context manager and also has `start` and `stop`; nodes have `restart`, `kill`, `freeze` and `thaw`.
Nothing that the lab starts outlives the process that started it, even when that is killed (see process.py).
A program that is not installed raises PeerMissingError, whose text says what to do. Loki and promtail, which
take minutes to build, raise LokiMissingError, a PeerMissingError that is never a fault.
"""

from tests.lab.alertmanager import Alertmanager
from tests.lab.bitcoinsv import BitcoinSV
from tests.lab.cometbft import CometbftNode, CometbftRpcError
from tests.lab.cometbftnet import BRISK, FAST, FATAL, STEADY, CometbftNet
from tests.lab.exporter import Exporter, Watched
from tests.lab.litecoind import Litecoind
from tests.lab.loki import Loki, LokiMissingError, Promtail
from tests.lab.node import Node, RpcUser, join, part, same_tip
from tests.lab.node_exporter import NodeExporter
from tests.lab.p2p import P2PClient
from tests.lab.page import Page
from tests.lab.ports import free_port, free_ports
from tests.lab.process import Process
from tests.lab.prometheus import Prometheus
from tests.lab.rpc import NOT_ANSWERING, RpcError
from tests.lab.waiting import LabError, PeerMissingError, wait_until
from tests.lab.webhook import Notice, Webhook
from tests.lab.zmqrelay import ZmqRelay

__all__ = [
    "BRISK",
    "FAST",
    "FATAL",
    "NOT_ANSWERING",
    "STEADY",
    "Alertmanager",
    "BitcoinSV",
    "CometbftNet",
    "CometbftNode",
    "CometbftRpcError",
    "Exporter",
    "LabError",
    "Litecoind",
    "Loki",
    "LokiMissingError",
    "Node",
    "NodeExporter",
    "Notice",
    "P2PClient",
    "Page",
    "PeerMissingError",
    "Process",
    "Prometheus",
    "Promtail",
    "RpcError",
    "RpcUser",
    "Watched",
    "Webhook",
    "ZmqRelay",
    "free_port",
    "free_ports",
    "join",
    "part",
    "same_tip",
    "wait_until",
]
