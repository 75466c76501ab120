"""The neighbours of a Bitcoin-family node, and the bytes exchanged with them."""

from __future__ import annotations

from dashboards.model import Query, Signal, Unit

BY_DIRECTION = Signal(
    title="Peers",
    description="Connections by who opened them. A node keeps 8 to 10 outbound ones; inbound ones come over hours, up"
    " to its slots, if it can be reached.",
    unit=Unit.NUMBER,
    queries=(Query("chainwatch_peers{*} and on (job, instance) bitcoin_headers{*}", "{{instance}} {{direction}}"),),
    minimum=0,
)
BY_NETWORK = Signal(
    title="Peers by network",
    description="By the network of the peer's address. A network that the node can reach and has no peers in is a"
    " proxy that is down.",
    unit=Unit.NUMBER,
    queries=(Query("sum by (network) (bitcoin_peers_by_network{*})", "{{network}}"),),
    minimum=0,
)
KINDS = Signal(
    title="Peers by kind",
    description="What the connections are for, their transport (v2 is encrypted), what the peers offer (a peer offers"
    " several), and who sends compact blocks unasked (to: this node asked for it, from: it was asked).",
    unit=Unit.NUMBER,
    queries=(
        Query("sum by (connection_type) (bitcoin_peers_by_connection_type{*}) > 0", "{{connection_type}}"),
        Query("sum by (service) (bitcoin_peers_by_service{*}) > 0", "offers {{service}}"),
        Query("sum by (transport) (bitcoin_peers_by_transport{*}) > 0", "transport {{transport}}"),
        Query("sum by (side) (bitcoin_peers_compact_block_high_bandwidth{*}) > 0", "compact blocks {{side}}"),
    ),
    levels=((None, "blue"),),
    minimum=0,
)
CLIENTS = Signal(
    title="What the peers run",
    description="The most frequent software among the peers, as they say themselves.",
    unit=Unit.NUMBER,
    queries=(Query("topk(10, sum by (client) (bitcoin_peers_by_client{*}) > 0)", "{{client}}"),),
    levels=((None, "blue"),),
    minimum=0,
)
PING = Signal(
    title="Round trip to peers",
    description="Median and slowest tenth. Up to a second by Tor; all slow together means a busy node or a full line.",
    unit=Unit.SECONDS,
    queries=(Query('bitcoin_peers_ping_seconds{stat=~"median|p90",*}', "{{instance}} {{stat}}"),),
    minimum=0,
)
MISBEHAVING = Signal(
    title="Misbehaving peers",
    description="Violations of the protocol by peers, from the log (debug=net). Some are daily life for a node that can"
    " be reached.",
    unit=Unit.NUMBER,
    queries=(Query("round(sum by (instance) (increase(bitcoin_misbehaving_total{*}[$__rate_interval])))"),),
    minimum=0,
)
TRAFFIC = Signal(
    title="Traffic",
    description="Bytes exchanged with peers. A node that serves blocks to newcomers sends megabytes a second at times."
    " The alert's line is for both ways together, over half an hour.",
    unit=Unit.BYTES_PER_SECOND,
    queries=(
        Query("rate(bitcoin_network_received_bytes_total{*}[$__rate_interval])", "{{instance}} received"),
        Query("rate(bitcoin_network_sent_bytes_total{*}[$__rate_interval])", "{{instance}} sent"),
        Query(
            "rate(bitcoin_network_received_bytes_total{*}[$__rate_interval])"
            " + rate(bitcoin_network_sent_bytes_total{*}[$__rate_interval])",
            "{{instance}} together",
        ),
    ),
    threshold="bitcoin_traffic_bytes_per_second",
    minimum=0,
)
ADDRMAN = Signal(
    title="Known addresses",
    description="Addresses of other nodes: heard of (new), once connected to (tried). Tens of thousands on a public"
    " network; few make a node easy to surround. 26 and later.",
    unit=Unit.SHORT,
    queries=(Query("sum by (instance, table) (bitcoin_addrman_addresses{*})", "{{instance}} {{table}}"),),
    minimum=0,
)
