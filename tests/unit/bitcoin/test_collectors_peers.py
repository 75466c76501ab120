"""What the collectors make of peers and the network, hostile ones included."""

from typing import Any

import pytest

from chainwatch.errors import RpcError
from chainwatch.families.bitcoin import labels
from chainwatch.families.bitcoin.collectors import (
    clock,
    network,
    peers,
    traffic,
)
from tests.unit.bitcoin.fake_node import (
    FIXTURES,
    FakeNode,
    Page,
    a_peer,
    collect,
    recorded,
    watched,
)

# Peers


async def test_directions_are_the_nodes_own_counts_where_it_has_them() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        fake.answers["getnetworkinfo"] = {
            **recorded("bitcoind31", "getnetworkinfo"),
            "connections_in": 7,
            "connections_out": 10,
        }
        assert (await collect(peers.PeersCollector(node)))["chainwatch_peers"] == {("inbound",): 7, ("outbound",): 10}


async def test_directions_are_counted_where_the_node_does_not() -> None:
    async with FakeNode(FIXTURES / "bitcoinsv") as fake, watched(fake) as node:
        one = recorded("bitcoinsv", "getpeerinfo")[0]
        fake.answers["getpeerinfo"] = [one, {**one, "inbound": True}, {**one, "inbound": True}]
        made = await collect(peers.PeersCollector(node))
        assert made["chainwatch_peers"] == {("inbound",): 2, ("outbound",): 1}
        for absent in ("network", "connection_type", "transport"):
            assert f"bitcoin_peers_by_{absent}" not in made
        assert "bitcoin_peers_compact_block_high_bandwidth" not in made


async def test_statistics_of_no_peers_are_absent_not_zero() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        fake.answers["getpeerinfo"] = []
        fake.answers["getnetworkinfo"] = recorded("bitcoind31", "getnetworkinfo_inactive")
        made = await collect(peers.PeersCollector(node))
        assert made["chainwatch_peers"] == {("inbound",): 0, ("outbound",): 0}
        assert made["bitcoin_peers_by_network"]["ipv4", "inbound"] == 0
        assert "bitcoin_peers_ping_seconds" not in made
        assert "bitcoin_peers_time_offset_seconds" not in made


async def test_statistics_over_ten_peers() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        fake.answers["getpeerinfo"] = [
            a_peer(pingtime=number / 100, timeoffset=number - 5, inflight=[1, 2]) for number in range(1, 11)
        ] + [{key: value for key, value in a_peer(timeoffset=0).items() if key != "pingtime"}]
        made = await collect(peers.PeersCollector(node))
        assert made["bitcoin_peers_ping_seconds"] == {
            ("min",): 0.01, ("median",): 0.055, ("p90",): 0.09, ("max",): 0.1
        }  # fmt: skip
        assert made["bitcoin_peers_time_offset_seconds"] == {("min",): -4, ("median",): 0, ("max",): 5}
        assert made["bitcoin_peers_inflight_blocks"][()] == 20


async def test_peer_our_test_client_made_is_other_everywhere() -> None:
    async with FakeNode(FIXTURES / "litecoind") as fake, watched(fake) as node:
        fake.answers["getpeerinfo"] = recorded("litecoind", "getpeerinfo_with_p2p_client")
        made = await collect(peers.PeersCollector(node))
        assert made["bitcoin_peers_by_client"] == {("litecoincore-0.21",): 1, ("other",): 1}
        assert made["bitcoin_peers_by_network"]["onion", "inbound"] == 1
        assert made["bitcoin_peers_by_network"]["not_publicly_routable", "outbound"] == 1


async def test_words_of_a_hostile_or_newer_node_become_other() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        fake.answers["getpeerinfo"] = [
            a_peer(
                network=f"net{number}",
                connection_type=f'x"{number}\n',
                transport_protocol_type=f"v{number}",
                subver=f"/Satoshi:{number}.0/\n",
                services=f"{1 << number:016x}",
            )
            for number in range(40, 60)
        ]
        made = await collect(peers.PeersCollector(node))
        assert made["bitcoin_peers_by_network"]["other", "outbound"] == 20
        assert made["bitcoin_peers_by_connection_type"]["other",] == 20
        assert made["bitcoin_peers_by_transport"]["other",] == 20
        assert made["bitcoin_peers_by_client"] == {("other",): 20}
        assert made["bitcoin_peers_by_service"]["other",] == 20


@pytest.mark.parametrize(
    ("user_agent", "label"),
    [
        ("/Satoshi:27.1.0/", "satoshi-27"),
        ("/Satoshi:30.99.0/", "satoshi-30"),
        ("/Satoshi:0.21.2/", "satoshi-0.21"),
        ("/Satoshi:28.1.0(inquisition)/", "satoshi-28"),
        ("/Satoshi:27.1.0/Knots:20240801/", "knots-27"),
        ("/LitecoinCore:0.21.2.1/", "litecoincore-0.21"),
        ("/Bitcoin SV:1.0.13/", "bitcoinsv-1"),
        ("/btcwire:0.5.0/btcd:0.24.2/", "btcd-0.24"),
        ("/bcoin:2.2.0/", "other"),
        ("", "other"),
        ("Satoshi:27", "other"),
        ("/Satoshi:99.0.0/", "other"),
        ("/Satoshi:0.99.0/", "other"),
        ("/Satoshi:27000/", "other"),
        ("/Satoshi:٢٧.0/", "other"),
        ("/Satoshi:-27/", "other"),
        ("/Knots:20240801/", "other"),
        ('/Satoshi:27.0/",chain="x"} 1\n', "satoshi-27"),
        ("/" * 100_000, "other"),
    ],
)
def test_client_label(user_agent: str, label: str) -> None:
    assert labels.client(user_agent) == label


def test_client_labels_are_few_whatever_peers_claim() -> None:
    claims = [
        f"/{name}:{a}.{b}.0/" for name in ("Satoshi", "btcd", "LitecoinCore") for a in range(120) for b in range(120)
    ]
    assert len({labels.client(claim) for claim in claims}) < 120


# Traffic


def traffic_peer(number: int, conntime: int, received: dict[str, int], sent: dict[str, int]) -> dict[str, Any]:
    return {"id": number, "conntime": conntime, "bytesrecv_per_msg": received, "bytessent_per_msg": sent}


async def message_bytes(fake: FakeNode, collector: traffic.TrafficCollector, *found: dict[str, Any]) -> Page:
    fake.answers["getpeerinfo"] = list(found)
    return await collect(collector)


async def test_message_totals_keep_what_a_peer_sent_that_left() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        collector = traffic.TrafficCollector(node)
        first = await message_bytes(fake, collector, traffic_peer(1, 100, {"inv": 1000}, {"tx": 50}))
        assert first["bitcoin_message_received_bytes_total"]["inv",] == 0  # what was before the first look
        await message_bytes(fake, collector, traffic_peer(1, 100, {"inv": 1500, "tx": 9}, {"tx": 60}))
        gone = await message_bytes(fake, collector)
        assert gone["bitcoin_message_received_bytes_total"]["inv",] == 500
        assert gone["bitcoin_message_received_bytes_total"]["tx",] == 9
        assert gone["bitcoin_message_sent_bytes_total"]["tx",] == 10
        back = await message_bytes(fake, collector, traffic_peer(2, 200, {"inv": 70}, {}))
        assert back["bitcoin_message_received_bytes_total"]["inv",] == 570


async def test_message_totals_go_on_when_the_node_starts_its_peer_ids_again() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        collector = traffic.TrafficCollector(node)
        await message_bytes(fake, collector, traffic_peer(0, 100, {"inv": 1000}, {}))
        again = await message_bytes(fake, collector, traffic_peer(0, 500, {"inv": 1200}, {}))
        assert again["bitcoin_message_received_bytes_total"]["inv",] == 1200


async def test_a_failed_scrape_loses_no_message_bytes() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        collector = traffic.TrafficCollector(node)
        await message_bytes(fake, collector, traffic_peer(0, 100, {"inv": 1000}, {}))
        fake.errors["getnettotals"] = (-1, "no")
        with pytest.raises(RpcError):
            await message_bytes(fake, collector, traffic_peer(0, 100, {"inv": 1300}, {}))
        fake.errors.clear()
        made = await message_bytes(fake, collector, traffic_peer(0, 100, {"inv": 1400}, {}))
        assert made["bitcoin_message_received_bytes_total"]["inv",] == 400


async def test_message_types_that_peers_invent_are_one_series_and_no_memory() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        collector = traffic.TrafficCollector(node)
        await message_bytes(fake, collector)
        for turn in range(20):
            invented = {f'a"{turn}{number}\n': 1 for number in range(50)}
            made = await message_bytes(fake, collector, traffic_peer(turn, turn, invented, {"*other*": 3}))
        assert made["bitcoin_message_received_bytes_total"]["other",] == 1000
        assert made["bitcoin_message_sent_bytes_total"]["other",] == 60
        assert set(made["bitcoin_message_received_bytes_total"]) <= {
            (name,) for name in (*traffic.MESSAGES, *traffic.RARE_MESSAGES, "other")
        }
        assert len(collector._received._seen or {}) == 1


async def test_upload_target_is_absent_without_a_limit() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        collector = traffic.TrafficCollector(node)
        assert "bitcoin_upload_target_bytes" not in await collect(collector)
        totals = recorded("bitcoind31", "getnettotals")
        totals["uploadtarget"].update(target=5_000_000, target_reached=True)
        fake.answers["getnettotals"] = totals
        made = await collect(collector)
        assert made["bitcoin_upload_target_bytes"][()] == 5_000_000
        assert made["bitcoin_upload_target_reached"][()] == 1


# Network and warnings


@pytest.mark.parametrize(
    ("warnings", "kinds"),
    [
        ("", set()),
        ([], set()),
        (["This is a pre-release test build - use at your own risk - do not use for mining"], {"prerelease"}),
        ("This is a pre-release or beta test build - use at your own risk", {"prerelease"}),
        (["Unknown new rules activated (versionbit 4)"], {"unknown_rules"}),
        ("Warning: Unknown block versions being mined! It's possible unknown rules are in effect", {"unknown_rules"}),
        (["Warning: Found invalid chain more than 6 blocks longer than our best chain."], {"invalid_chain"}),
        ("Warning: We do not appear to fully agree with our peers! You may need to upgrade", {"invalid_chain"}),
        (
            "Warning: The network does not appear to fully agree! Some miners appear to be experiencing issues.",
            {"fork"},
        ),
        ("Please check that your computer's date and time are correct!", {"clock"}),
        (["Your computer's date and time appear to be more than 10 minutes out of sync"], {"clock"}),
        ('Disk space for "/var/lib/node" may not accommodate the block files.', {"disk"}),
        (["Disk space is too low!", "Unknown new rules activated (versionbit 1)"], {"disk", "unknown_rules"}),
        (["something\nnew", "Disk space is too low!"], {"disk", "other"}),
    ],
)
async def test_warnings_by_kind(warnings: str | list[str], kinds: set[str]) -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        fake.answers["getnetworkinfo"] = {**recorded("bitcoind31", "getnetworkinfo"), "warnings": warnings}
        made = (await collect(network.NetworkCollector(node)))["bitcoin_warnings"]
        assert len(made) == 7
        assert {kind for (kind,), on in made.items() if on} == kinds


async def test_warnings_are_absent_where_the_node_has_no_such_field() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        info = recorded("bitcoind31", "getnetworkinfo")
        del info["warnings"]
        fake.answers["getnetworkinfo"] = info
        assert "bitcoin_warnings" not in await collect(network.NetworkCollector(node))


async def test_switched_off_network_is_reported() -> None:
    async with FakeNode(FIXTURES / "litecoind") as fake, watched(fake) as node:
        fake.answers["getnetworkinfo"] = recorded("litecoind", "getnetworkinfo_inactive")
        assert (await collect(network.NetworkCollector(node)))["bitcoin_network_active"][()] == 0


async def test_clock_offset_is_absent_without_peers() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        assert (await collect(clock.ClockCollector(node)))["chainwatch_clock_offset_seconds"][()] == 0
        fake.answers["getnetworkinfo"] = recorded("bitcoind31", "getnetworkinfo_inactive")
        assert await collect(clock.ClockCollector(node)) == {}
