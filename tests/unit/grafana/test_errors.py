"""Whatever stands in the way of Grafana, one line says what was asked, whom, what came back and what to check."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainwatch import cli
from chainwatch.errors import ChainwatchError, ConfigError
from chainwatch.grafana.errors import GrafanaError
from tests.unit.exposition.certificates import Authority
from tests.unit.grafana.conftest import Run
from tests.unit.grafana.stub import TOKEN, Grafana


def grafana_command(*arguments: str) -> int:
    return cli.run(["grafana", "push", *arguments])


def test_a_wrong_token_is_named_as_the_cause(run: Run, grafana: Grafana, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("glsa_revoked_1234\n")
    with pytest.raises(
        ChainwatchError,
        match=rf"^board fleet at {grafana.url}: 401 Invalid API key\. The token is not accepted: expired",
    ) as raised:
        run("push", f"--grafana.token-file={wrong}")
    assert "glsa_revoked" not in str(raised.value)
    assert grafana.writes == []


@pytest.mark.parametrize(
    ("health", "said"),
    [
        ((404, {"message": "Not found"}), r"its version at .*: 404; no Grafana answers there\. Is it served below"),
        ((404, "<html>nginx</html>"), r"its version at .*: 404; no Grafana answers there"),
        ((200, "<html>log in</html>"), r"text instead of JSON; no Grafana answers there\. .* login"),
        ((200, {"status": "UP"}), r"an answer without `database`; no Grafana answers there"),
        ((200, ["database"]), r"the answer is not as Grafana documents it"),
        ((200, {"database": "ok", "version": "9.5.2"}), r"is 9\.5\.2; the boards need 10\.0 or later"),
        ((503, "<html>bad gateway</html>"), r"its version at .*: 503 without a word of Grafana's; see Grafana's log"),
        ((302, "https://sso.example/login?key=secret"), r"redirected to https://sso\.example/login; give the address"),
    ],
)
def test_what_is_no_grafana_of_today_is_told_apart(run: Run, grafana: Grafana, health: Any, said: str) -> None:
    grafana.health = health
    with pytest.raises(ChainwatchError, match=said) as raised:
        run("push")
    assert "secret" not in str(raised.value)
    assert [path for _, path, _ in grafana.requests] == ["/api/health"]


BOARD, FOLDERS = "GET /api/dashboards/uid/fleet", "GET /api/folders"


@pytest.mark.parametrize("action", ["push", "diff"])
@pytest.mark.parametrize(
    ("asked", "answer", "what"),
    [
        (BOARD, [], "board fleet"),
        (BOARD, {}, "board fleet"),
        (BOARD, {"dashboard": None, "meta": {}}, "board fleet"),
        (BOARD, {"dashboard": {}, "meta": []}, "board fleet"),
        (BOARD, {"dashboard": {}, "meta": {"folderUid": 5}}, "board fleet"),
        (FOLDERS, {"folders": []}, "its folders"),
        (FOLDERS, ["chainwatch"], "its folders"),
        (FOLDERS, [None], "its folders"),
        (FOLDERS, [{"title": "chainwatch"}], "its folders"),
        (FOLDERS, [{"title": "chainwatch", "uid": None}], "its folders"),
        (FOLDERS, [{"title": "chainwatch", "uid": ""}], "its folders"),
        (FOLDERS + "/folder-chainwatch", [], "folder folder-chainwatch"),
        (FOLDERS + "/folder-chainwatch", {"title": "chainwatch"}, "folder folder-chainwatch"),
        (FOLDERS + "/folder-chainwatch", {"uid": None}, "folder folder-chainwatch"),
    ],
)
def test_an_answer_of_another_shape_is_one_line_and_nothing_is_written(
    run: Run, grafana: Grafana, action: str, asked: str, answer: object, what: str
) -> None:
    grafana.misshapen = {asked: answer}
    said = rf"^{what} at {grafana.url}: the answer is not as Grafana documents it; which version is it\?$"
    with pytest.raises(GrafanaError, match=said):
        run(action)
    assert grafana.writes == []


@pytest.mark.parametrize("answer", [[], {}, {"uid": None}, {"uid": 5}])
def test_a_folder_made_without_a_uid_gets_no_board(run: Run, grafana: Grafana, answer: object) -> None:
    grafana.misshapen = {"POST /api/folders": answer}
    with pytest.raises(GrafanaError, match=r"^making folder chainwatch at .*: the answer is not as Grafana documents"):
        run("push")
    assert grafana.writes == ["/api/folders"]


def test_a_folder_without_a_uid_that_is_none_of_ours_is_no_hindrance(run: Run, grafana: Grafana) -> None:
    grafana.misshapen = {FOLDERS: [{"title": "General"}]}
    assert run("push")[0] == 0


def test_a_grafana_that_hides_its_version_is_taken_as_it_is(run: Run, grafana: Grafana) -> None:
    grafana.health = (200, {"database": "ok"})
    assert run("push")[0] == 0


def test_a_sub_path_that_is_not_given_is_asked_for(boards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINWATCH_GRAFANA_TOKEN", TOKEN)
    with Grafana("/grafana") as stub, pytest.raises(ChainwatchError, match="Is it served below a path, such as"):
        grafana_command(f"--grafana.url={stub.url.removesuffix('/grafana')}", f"--boards={boards}")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        yield found


def test_nobody_at_the_address_is_said_in_the_systems_words(run: Run, listener: socket.socket) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ChainwatchError, match=rf"^its version at {url}: Connection refused; does Grafana run"):
        run("push", f"--grafana.url={url}")


def test_silence_ends_with_the_timeout(run: Run, listener: socket.socket) -> None:
    listener.listen()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ChainwatchError, match=r"no answer within 0\.3 s; is Grafana overloaded, or grafana\.timeout"):
        run("push", f"--grafana.url={url}", "--grafana.timeout=0.3")


def test_https_where_there_is_none_is_said(run: Run, grafana: Grafana) -> None:
    with pytest.raises(ChainwatchError, match=r"no TLS there; is the address http and not https\?"):
        run("push", f"--grafana.url={grafana.url.replace('http:', 'https:')}")


def test_a_certificate_is_accepted_by_its_own_authority_only(run: Run, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("grafana"))
    with Grafana(tls=context) as stub:
        with pytest.raises(ChainwatchError, match=r"certificate is not accepted \(.*\); see grafana\.ca_file"):
            run("push", f"--grafana.url={stub.url}")
        assert stub.requests == []
        assert run("push", f"--grafana.url={stub.url}", f"--grafana.ca-file={authority.file}")[0] == 0
        assert stub.boards.keys() == {"fleet", "node"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--grafana.url=grafana.example"],
            r"grafana\.url: 'grafana\.example' is no address of a Grafana; expected http",
        ),
        (["--grafana.url=http://g/?orgId=2"], r"grafana\.url: 'http://g' is no address"),
        (["--grafana.url=http://admin:hunter2@g"], r"grafana\.url: contains a user or password; expected a token in"),
        (["--grafana.ca-file=/none"], r"grafana\.ca_file: cannot read /none; expected a PEM file"),
        (["--grafana.token-file=/none"], r"grafana\.token_file: cannot read /none"),
        (["--grafana.token-file=TOKENS"], r"grafana\.token_file: the first line is no token; expected the token of a"),
        (["--grafana.token=hunter2"], r"--grafana\.token: unknown flag: .*; expected CHAINWATCH_GRAFANA_TOKEN, or"),
        (["--grafana.folders=x"], r"--grafana\.folders: unknown flag; expected --grafana\.folder"),
    ],
)
def test_a_wrong_setting_is_named_and_no_secret_is_shown(
    run: Run, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "tokens").write_text("hunter2 and more\n")
    with pytest.raises(ConfigError, match=rf"^{said}") as raised:
        run("push", *(argument.replace("TOKENS", str(tmp_path / "tokens")) for argument in arguments))
    assert "hunter2" not in str(raised.value)


def test_a_token_is_needed_and_one_is_enough(boards: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^grafana\.token_file: no token given; expected a file with the token"):
        grafana_command(f"--boards={boards}")
    monkeypatch.setenv("CHAINWATCH_GRAFANA_TOKEN", TOKEN)
    with pytest.raises(ConfigError, match=r"^grafana\.token_file: given together with grafana\.token"):
        run("push")


def test_a_configuration_file_says_the_same_as_flags(
    grafana: Grafana, boards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    settings = tmp_path / "grafana.yml"
    settings.write_text(f"grafana: {{url: '{grafana.url}', token_file: {tmp_path}/token}}\nboards: {boards}\n")
    assert grafana_command(f"--config.file={settings}") == 0
    assert re.search(r": 2 created\.$", capsys.readouterr().out.strip())
