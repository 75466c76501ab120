"""What a Grafana of the user's needs to show the boards of a running story: provisioning, and the commands."""

from __future__ import annotations

import shlex
from pathlib import Path

import yaml

from tests.lab import free_port
from tests.lab.server import REPOSITORY

SHIPPED = REPOSITORY / "dashboards" / "provisioning"
BOARDS = REPOSITORY / "dashboards" / "json"
IMAGE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]["grafana"]["image"]

# Nobody else reaches loopback, and a demo should not ask for a password.
_SETTINGS = {
    "GF_SERVER_HTTP_ADDR": "127.0.0.1",
    "GF_AUTH_ANONYMOUS_ENABLED": "true",
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
}


def provision(folder: Path, urls: dict[str, str]) -> Path:
    """Write the shipped provisioning with the data sources of these types at these addresses, without the others.

    Boards are read where they are in the repository. Returns the folder for GF_PATHS_PROVISIONING.
    """
    sources = yaml.safe_load((SHIPPED / "datasources" / "chainwatch.yml").read_text())
    sources["datasources"] = [
        {**source, "url": urls[source["type"]]} for source in sources["datasources"] if source["type"] in urls
    ]
    boards = yaml.safe_load((SHIPPED / "dashboards" / "chainwatch.yml").read_text())
    for provider in boards["providers"]:
        provider["options"]["path"] = str(BOARDS)
    provisioning = folder / "provisioning"
    for kind, content in (("datasources", sources), ("dashboards", boards)):
        (provisioning / kind).mkdir(parents=True)
        (provisioning / kind / "chainwatch.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    for kind in ("plugins", "alerting"):  # Grafana complains where one is missing
        (provisioning / kind).mkdir()
    return provisioning


def commands(folder: Path, urls: dict[str, str]) -> list[str]:
    """Provision, and return the lines that tell how a Grafana shows the boards."""
    provisioning = provision(folder, urls)
    port = free_port()
    settings = {**_SETTINGS, "GF_SERVER_HTTP_PORT": str(port)}
    # The same paths inside as outside.
    seen = [f"    -v {shlex.quote(f'{path}:{path}:ro')}" for path in (provisioning, BOARDS)]
    given = [f"    -e {key}={value}" for key, value in {**settings, "GF_PATHS_PROVISIONING": str(provisioning)}.items()]
    own = {**settings, "GF_PATHS_PROVISIONING": str(provisioning), "GF_PATHS_DATA": str(folder / "data")}
    own["GF_PATHS_LOGS"] = str(folder / "logs")
    container = ["  docker run --rm --network host", *given, *seen, f"    {IMAGE}"]
    package = ["  env", *(f"    {key}={shlex.quote(value)}" for key, value in own.items()), "    grafana server"]
    return [
        f"To see it on the boards, give one of these to another terminal, then open http://127.0.0.1:{port}/dashboards",
        "a container (podman takes the same):",
        *_continued(container),
        "the Grafana of a package:",
        *_continued([*package, "    --homepath /usr/share/grafana"]),
        "a Grafana that you have, on this machine; add data sources there: "
        + ", ".join(map(" at ".join, urls.items())),
        "  chainwatch grafana push --grafana.url http://127.0.0.1:3000 --grafana.token-file FILE",
    ]


def _continued(words: list[str]) -> list[str]:
    """One command on several lines."""
    return [f"{word} \\" for word in words[:-1]] + words[-1:]
