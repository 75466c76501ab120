"""Files with which a Grafana shows the boards by itself: provisioning, compose.yaml, what `make demo` writes."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.demo.grafana import BOARDS, commands, provision
from tests.lab.server import REPOSITORY

PROVISIONING = REPOSITORY / "dashboards" / "provisioning"
SOURCES = yaml.safe_load((PROVISIONING / "datasources" / "chainwatch.yml").read_text())
PROVIDERS = yaml.safe_load((PROVISIONING / "dashboards" / "chainwatch.yml").read_text())
COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
FOLDER_OF_BOARDS = "/var/lib/grafana/dashboards/chainwatch"


def uids() -> set[str]:
    return {json.loads(file.read_text())["uid"] for file in BOARDS.rglob("*.json")}


def test_data_sources_have_the_uids_that_links_name_and_cannot_be_edited() -> None:
    found = {source["uid"]: source for source in SOURCES["datasources"]}
    assert found.keys() == {"prometheus", "loki", "alertmanager"}
    for uid, source in found.items():
        assert source["type"] == uid
        assert source["editable"] is False
        assert source["url"].startswith("http://127.0.0.1:")
        assert "isDefault" not in source, "a Grafana with another default would not start"
        assert source["jsonData"].get("alertmanagerUid", "alertmanager") in found


def test_links_of_log_lines_lead_to_boards_by_what_the_pipelines_know() -> None:
    loki = next(source for source in SOURCES["datasources"] if source["type"] == "loki")
    for link in loki["jsonData"]["derivedFields"]:
        assert link["matcherType"] == "label"
        found = re.fullmatch(r"/d/([\w-]+)\?.*var-\w+=\$\$\{__value\.raw\}", link["url"])
        assert found, f"{link['url']}: Grafana would read a lone $ as a variable of its environment"
        assert found[1] in uids()


def test_boards_are_read_only_and_lie_in_the_folders_of_their_files() -> None:
    (provider,) = PROVIDERS["providers"]
    assert provider["type"] == "file"
    assert provider["disableDeletion"] is True
    assert provider["allowUiUpdates"] is False
    assert provider["options"] == {"path": FOLDER_OF_BOARDS, "foldersFromFilesStructure": True}


def test_compose_gives_grafana_the_shipped_boards_where_its_provisioning_looks() -> None:
    volumes = SERVICES["grafana"]["volumes"]
    assert f"./dashboards/json:{FOLDER_OF_BOARDS}:ro" in volumes
    for kind in ("datasources", "dashboards"):
        assert (
            f"./dashboards/provisioning/{kind}/chainwatch.yml:/etc/grafana/provisioning/{kind}/chainwatch.yml:ro"
            in volumes
        )
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (BOARDS / Path(home).relative_to(FOLDER_OF_BOARDS)).exists()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_stays_on_loopback_and_mounts_what_exists(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"])
    assert service["network_mode"] == "host"
    assert "ports" not in service
    assert service["healthcheck"]["test"][0] == "CMD"
    own = {volume.partition(":")[0] for volume in service["volumes"]} & COMPOSE["volumes"].keys()
    assert own == {name}
    for volume in service["volumes"]:
        source, _, rest = volume.partition(":")
        if source.startswith("./"):
            assert (REPOSITORY / source).exists(), f"{name}: {source} is not in the repository"
            assert rest.endswith(":ro")
    listening = [word for word in service["command"] if "listen" in word] if "command" in service else []
    addresses = [word.partition("=")[2] for word in listening]
    assert all(not address or address.startswith("127.0.0.1:") for address in addresses)


def test_every_server_is_told_to_listen_on_loopback() -> None:
    assert SERVICES["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    loki = yaml.safe_load((REPOSITORY / "loki" / "loki.yml").read_text())["server"]
    assert {loki["http_listen_address"], loki["grpc_listen_address"]} == {"127.0.0.1"}
    for name, flag in (
        ("prometheus", "--web.listen-address=127.0.0.1:9090"),
        ("alertmanager", "--web.listen-address=127.0.0.1:9093"),
        ("alertmanager", "--cluster.listen-address="),
        ("alloy", "--server.http.listen-addr=127.0.0.1:12345"),
    ):
        assert flag in SERVICES[name]["command"]


def test_compose_and_provisioning_hold_no_secret() -> None:
    for file in (REPOSITORY / "compose.yaml", *PROVISIONING.rglob("*.yml")):
        settings = "\n".join(line.partition("#")[0] for line in file.read_text().splitlines())
        assert not re.search(r"password|secret|token|credential|authorization", settings, re.IGNORECASE), file


def test_data_sources_are_where_compose_serves_them() -> None:
    ports = {source["type"]: source["url"].rpartition(":")[2] for source in SOURCES["datasources"]}
    assert f":{ports['prometheus']}/" in SERVICES["prometheus"]["healthcheck"]["test"][-1]
    assert f":{ports['alertmanager']}/" in SERVICES["alertmanager"]["healthcheck"]["test"][-1]
    assert f":{ports['loki']}/" in SERVICES["loki"]["healthcheck"]["test"][-1]


URLS = {"prometheus": "http://127.0.0.1:15001", "alertmanager": "http://127.0.0.1:15002"}


def test_the_demo_provisions_its_own_servers_and_the_repositorys_boards(tmp_path: Path) -> None:
    provisioning = provision(tmp_path / "grafana", URLS)
    sources = yaml.safe_load((provisioning / "datasources" / "chainwatch.yml").read_text())["datasources"]
    assert {source["type"]: source["url"] for source in sources} == URLS
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "chainwatch.yml").read_text())["providers"]
    assert len(list(Path(provider["options"]["path"]).rglob("*.json"))) == len(uids()) > 0


def test_the_demos_commands_are_whole_and_show_what_they_need(tmp_path: Path) -> None:
    lines = commands(tmp_path / "grafana", URLS)
    text = "\n".join(lines).replace("\\\n", " ")
    container, package, push = (shlex.split(line) for line in text.splitlines() if line.startswith("  "))
    mounted = [word.split(":") for before, word in itertools.pairwise(container) if before == "-v"]
    assert container[:2] == ["docker", "run"]
    assert container[-1] == SERVICES["grafana"]["image"]
    assert all(inside == outside and mode == "ro" and Path(outside).exists() for outside, inside, mode in mounted)
    given = f"GF_PATHS_PROVISIONING={tmp_path}/grafana/provisioning"
    assert given in container
    assert given in package
    assert package[0] == "env"
    assert push[:3] == ["chainwatch", "grafana", "push"]
    port = next(word.partition("=")[2] for word in package if word.startswith("GF_SERVER_HTTP_PORT="))
    assert f"http://127.0.0.1:{port}/" in lines[0]
