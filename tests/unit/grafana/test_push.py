"""`chainwatch grafana push` creates, updates, leaves alone, and never harms what is not ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainwatch import __version__, cli
from chainwatch.errors import ConfigError
from chainwatch.grafana.board import read
from chainwatch.grafana.push import uid_of_folder
from tests.unit.grafana.conftest import Run, board, write
from tests.unit.grafana.stub import TOKEN, Grafana, Stored


def test_boards_are_created_in_folders_named_as_those_of_their_files(run: Run, grafana: Grafana) -> None:
    code, out = run("push")
    assert code == 0
    assert grafana.folders == {"folder-chainwatch": "chainwatch", "folder-chainwatch-btc": "chainwatch-btc"}
    assert {uid: stored.folder for uid, stored in grafana.boards.items()} == {
        "fleet": "folder-chainwatch",
        "node": "folder-chainwatch-btc",
    }
    assert grafana.boards["fleet"].messages == [f"chainwatch {__version__}"]
    created, _, summary = out.splitlines()
    assert created.split(maxsplit=2) == [
        "created", "fleet", f"Board fleet, in the folder chainwatch: {grafana.url}/d/fleet",
    ]  # fmt: skip
    assert summary == f"2 boards at {grafana.url}: 2 created."


def test_a_second_push_changes_nothing_and_writes_nothing(run: Run, grafana: Grafana) -> None:
    run("push")
    grafana.requests.clear()
    code, out = run("push")
    assert (code, grafana.writes) == (0, [])
    assert [line.split()[0] for line in out.splitlines()[:-1]] == ["unchanged", "unchanged"]
    assert out.endswith(": 2 unchanged.\n")


def test_a_board_that_differs_is_updated_on_the_version_that_was_compared(
    run: Run, grafana: Grafana, boards: Path
) -> None:
    run("push")
    write(boards, board("fleet", {"type": "text", "title": "New"}))
    code, out = run("push")
    assert code == 0
    assert out.endswith(": 1 unchanged, 1 updated.\n")
    assert grafana.boards["fleet"].data["panels"] == [{"type": "text", "title": "New"}]
    assert grafana.boards["fleet"].version == 2


def test_what_somebody_saves_meanwhile_is_not_overwritten(run: Run, grafana: Grafana, boards: Path) -> None:
    run("push")
    write(boards, board("fleet", description="ours"))

    def somebody_saves() -> None:
        grafana.boards["fleet"] = Stored(board("fleet", description="theirs"), "folder-chainwatch", version=9)

    grafana.before_save = somebody_saves
    code, out = run("push")
    assert code == 1
    assert "412 The dashboard has been changed by someone else" in out
    assert grafana.boards["fleet"].data["description"] == "theirs"


def test_a_board_of_the_same_uid_without_our_tag_is_refused_and_the_rest_goes_on(run: Run, grafana: Grafana) -> None:
    grafana.boards["fleet"] = Stored({"uid": "fleet", "title": "Mine", "tags": ["finance"]}, "")
    code, out = run("push")
    assert code == 1
    assert out.startswith("refused    fleet")
    assert "lacks the tag chainwatch: it is not ours" in out
    assert grafana.boards["fleet"].data["title"] == "Mine"
    assert grafana.boards["node"].version == 1
    assert out.endswith(": 1 created, 1 refused.\n")


def test_a_provisioned_board_is_refused_unless_it_is_the_same(run: Run, grafana: Grafana) -> None:
    old = board("fleet", description="of last year")
    grafana.boards["fleet"] = Stored(old, "", provisioned=True)
    same = board("node", {"type": "stat", "title": "Height", "targets": [
        {"refId": "A", "expr": "up", "datasource": {"type": "prometheus", "uid": "${datasource}"}}]})  # fmt: skip
    grafana.boards["node"] = Stored(same, "", provisioned=True)
    code, out = run("push")
    assert (code, grafana.writes) == (1, [])
    assert "Grafana reads this board from a file (fleet.json)" in out
    assert out.endswith(": 1 unchanged, 1 refused.\n")


def test_a_folder_without_rights_is_refused_with_grafanas_words_and_the_rest_goes_on(
    run: Run, grafana: Grafana
) -> None:
    grafana.folders["folder-chainwatch"] = "chainwatch"
    grafana.closed_folders = {"folder-chainwatch"}
    code, out = run("push")
    assert code == 1
    assert f"saving board fleet at {grafana.url}: 403 You'll need additional permissions" in out
    assert "it needs the role Editor" in out
    assert list(grafana.boards) == ["node"]


def test_folders_that_may_not_be_made_are_refused(run: Run, grafana: Grafana) -> None:
    grafana.closed_folders = {"*"}
    code, out = run("push")
    assert (code, grafana.boards) == (1, {})
    assert f"making folder chainwatch at {grafana.url}: 403" in out


def test_a_board_that_the_token_may_only_read_is_refused_also_in_a_dry_run(
    run: Run, grafana: Grafana, boards: Path
) -> None:
    run("push")
    write(boards, board("fleet", description="new"))
    grafana.boards["fleet"].can_save = False
    for arguments in ((), ("--dry-run",)):
        code, out = run("push", *arguments)
        assert code == 1
        assert "may read this board and not save it" in out


def test_a_dry_run_says_what_would_be_and_writes_nothing(run: Run, grafana: Grafana, boards: Path) -> None:
    grafana.folders["folder-chainwatch"] = "chainwatch"
    code, out = run("push", "--dry-run")
    assert (code, grafana.writes) == (0, [])
    assert "Board fleet, in the folder chainwatch\n" in out
    assert "Board node, in the new folder chainwatch-btc\n" in out
    assert out.endswith(": 2 created.\nDry run: nothing was written.\n")
    run("push")
    write(boards, board("fleet", description="new"))
    grafana.requests.clear()
    code, out = run("push", "--dry-run")
    assert (code, grafana.writes) == (0, [])
    assert ": 1 unchanged, 1 updated.\n" in out


def test_a_folder_of_the_name_that_somebody_made_is_used(run: Run, grafana: Grafana) -> None:
    grafana.folders["theirs"] = "chainwatch"
    run("push")
    assert grafana.boards["fleet"].folder == "theirs"
    assert list(grafana.folders.values()) == ["chainwatch", "chainwatch-btc"]


def test_a_board_stays_in_the_folder_to_which_somebody_moved_it(run: Run, grafana: Grafana, boards: Path) -> None:
    run("push")
    grafana.folders["nodes"] = "Nodes"
    grafana.boards["fleet"].folder = "nodes"
    assert run("push")[1].endswith(": 2 unchanged.\n")
    write(boards, board("fleet", description="new"))
    run("push")
    assert (grafana.boards["fleet"].folder, grafana.boards["fleet"].version) == ("nodes", 2)


@pytest.mark.parametrize(
    ("given", "folders"), [("Block chains", {"Block chains"}), ("site1-", {"site1-chainwatch", "site1-chainwatch-btc"})]
)
def test_a_given_folder_holds_all_and_a_given_prefix_precedes_each(
    run: Run, grafana: Grafana, given: str, folders: set[str]
) -> None:
    run("push")
    assert run("push", f"--grafana.folder={given}")[1].endswith(": 2 updated.\n")
    assert {grafana.folders[stored.folder] for stored in grafana.boards.values()} == folders
    grafana.requests.clear()
    assert run("push", f"--grafana.folder={given}")[1].endswith(": 2 unchanged.\n")
    assert grafana.writes == []


@pytest.mark.parametrize("title", ["chainwatch", "x" * 200, "Ketten und Knoten/⛓", ""])
def test_a_folders_uid_is_always_the_same_and_one_that_grafana_takes(title: str) -> None:
    uid = uid_of_folder(title)
    assert uid == uid_of_folder(title)
    assert len(uid) <= 40
    assert uid.replace("-", "").isalnum()
    assert uid.isascii()


def test_grafana_below_a_path_is_reached(boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINWATCH_GRAFANA_TOKEN", TOKEN)
    with Grafana("/grafana") as stub:
        for url in (stub.url, stub.url + "/"):
            assert cli.run(["grafana", "push", f"--grafana.url={url}", f"--boards={boards}"]) == 0
        assert stub.boards.keys() == {"fleet", "node"}


def test_the_shipped_boards_are_pushed_when_no_others_are_named(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHAINWATCH_GRAFANA_TOKEN", TOKEN)
    monkeypatch.setenv("CHAINWATCH_GRAFANA_URL", grafana.url)
    assert cli.run(["grafana", "push"]) == 0
    assert cli.run(["grafana", "push"]) == 0
    assert capsys.readouterr().out.endswith(f": {len(grafana.boards)} unchanged.\n")
    ours = read(None)
    assert grafana.boards.keys() == {each.uid for each in ours}
    assert {grafana.folders[grafana.boards[each.uid].folder] for each in ours} == {each.folder for each in ours}


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("{", "is not JSON"),
        ("[]", "has no uid and title"),
        ('{"uid": "x"}', "has no uid and title"),
        ('{"uid": "x", "title": "X"}', "lacks the tag chainwatch"),
        ('{"uid": "fleet", "title": "X", "tags": ["chainwatch"]}', "has the uid of"),
        ("\udcff", "is not JSON"),
    ],
)
def test_a_file_that_is_no_board_stops_the_command_before_it_asks(
    run: Run, grafana: Grafana, boards: Path, content: str, wrong: str
) -> None:
    (boards / "chainwatch" / "zz.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=rf"^boards: .*zz\.json {wrong}"):
        run("push")
    assert grafana.requests == []


def test_a_folder_without_boards_is_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^boards: {tmp_path}/none has no \*\.json"):
        run("push", f"--boards={tmp_path}/none")
