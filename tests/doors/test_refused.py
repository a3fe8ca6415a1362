"""Files that are refused: why, where they are kept, and under which names."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.daemons import Daemon, live, wait_until
from support.spools import SPOOL, command, long_name, put, receipt, receipts, results

from simscope_server.doors.spool_folder import free_path

CONFIG = SPOOL


def test_a_refused_file_goes_to_bad_with_its_reason_and_its_good_messages_are_applied(shared: Daemon, run: str) -> None:
    content = [live("a"), live("b", cycles="many"), live("c")]
    shared.drop(f"{run}/deep/mixed.json", content)

    told = receipt(shared, f"{run}/deep/mixed.json")

    assert (told["applied"], told["rejected"]) == (2, 1)
    assert results(shared, f"{run}/deep") == {"a": "live", "c": "live"}
    bad = shared.spool / ".bad" / run / "deep"
    wait_until((bad / "mixed.json").exists)
    assert json.loads((bad / "mixed.json").read_text()) == content
    reason = json.loads((bad / "mixed.json.reason.json").read_text())
    assert (reason["reason"], reason["path"], reason["index"]) == ("wrong-type", "$.cycles", 1)
    assert "a whole number" in reason["detail"]
    assert reason["refused_at"].endswith("Z")
    assert not (shared.spool / run / "deep" / "mixed.json").exists()


def test_a_refused_file_does_not_overwrite_an_earlier_one_of_the_same_name(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/x.json", live("a", cycles="first"))
    wait_until(lambda: (shared.spool / ".bad" / run / "x.json").exists())

    shared.drop(f"{run}/x.json", live("a", cycles="second"))

    bad = shared.spool / ".bad" / run
    wait_until(lambda: len(list(bad.iterdir())) == 4)
    texts = sorted(path.read_text() for path in bad.iterdir() if not path.name.endswith(".reason.json"))
    assert ["first" in texts[0], "second" in texts[1]] == [True, True]
    (second,) = bad.glob("x~*[0-9].json")
    assert second.name == f"x~{second.stat().st_ino}.json"
    assert json.loads((bad / f"{second.name}.reason.json").read_text())["name"] == f"{run}/x.json"


def test_a_third_file_of_a_name_and_one_of_the_same_inode_overwrite_nothing(tmp_path: Path) -> None:
    new = tmp_path / "new.json"
    new.touch()
    path, inode = f"{tmp_path}/x.json", new.stat().st_ino
    names = []
    for _ in range(3):
        names.append(os.path.basename(free_path(str(new), path)))
        (tmp_path / names[-1]).touch()

    assert names == ["x.json", f"x~{inode}.json", f"x~{inode}~{inode}.json"]


def test_a_refused_file_and_the_reasons_of_another_never_have_the_same_name(shared: Daemon, run: str) -> None:
    bad = shared.spool / ".bad" / run
    names = ["x.json.reason.json", "x.json", "x~2.json.reason.json", "x~2.json.reason.json.reason.json"]
    for number, name in enumerate(names):
        shared.drop(f"{run}/{name}", [number])
        receipt(shared, f"{run}/{name}")

    told = wait_until(lambda: len(list(bad.iterdir())) == 8 and {path: path.read_text() for path in bad.iterdir()})

    refused = {path: json.loads(text)[0] for path, text in told.items() if text.startswith("[")}
    assert sorted(refused.values()) == [0, 1, 2, 3]
    for path, number in refused.items():
        assert json.loads(told[Path(f"{path}.reason.json")])["name"] == f"{run}/{names[number]}"


@pytest.mark.parametrize(("size", "character"), [(243, "x"), (244, "x"), (255, "x"), (255, "ü"), (255, "🚀")])
def test_a_refused_file_whose_name_is_too_long_for_its_reasons_is_kept_under_a_shorter_one(
    make_daemon: Callable[..., Daemon], size: int, character: str
) -> None:
    daemon = make_daemon().start()
    name = long_name(size, character)
    bad = daemon.spool / ".bad" / "r"
    for number in (1, 2):
        put(daemon, f"r/{name}", [number])
        wait_until(lambda number=number: len(receipts(daemon, f"r/{name}")) == number)  # type: ignore[misc]

    daemon.drop("r/good.json", live("good"))

    receipt(daemon, "r/good.json")
    wait_until(lambda: len(list(bad.iterdir())) == 4)
    kept = sorted((path for path in bad.iterdir() if not path.name.endswith(".reason.json")), key=Path.read_text)
    assert [path.read_text() for path in kept] == ["[1]", "[2]"]
    assert all(path.name.startswith(name[:50]) and path.suffix == ".json" for path in kept)
    assert (kept[0].name == name) == (size <= 243)
    assert kept[1].stem.endswith(f"~{kept[1].stat().st_ino}")
    assert [json.loads(Path(f"{path}.reason.json").read_text())["name"] for path in kept] == [f"r/{name}"] * 2
    assert all(238 <= len(path.name.encode()) <= 243 for path in kept)
    daemon.stop()
    ended = command(daemon, "requeue")
    assert ended.stdout.splitlines() == sorted(f"r/{path.name}" for path in kept)
    assert {path.name for path in (daemon.spool / "r").iterdir()} == {path.name for path in kept}


def test_a_file_beyond_body_mib_is_refused(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/huge.json", b" " * (1 << 20) + json.dumps(live()).encode())
    shared.drop(f"{run}/fits.json", json.dumps([live("fits")]).encode().ljust(1 << 20))

    told = receipt(shared, f"{run}/huge.json")

    receipt(shared, f"{run}/fits.json")
    assert told["details"][0]["reason"] == "too-large"
    assert results(shared, run) == {"fits": "live"}
    wait_until((shared.spool / ".bad" / run / "huge.json").exists)


def test_a_message_beyond_message_kib_is_refused_alone(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/array.json", [live("a"), live("b", note="x" * (64 << 10)), live("c")])

    told = receipt(shared, f"{run}/array.json")

    assert (told["applied"], told["rejected"], told["details"][0]["reason"]) == (2, 1, "too-large")
    assert results(shared, run) == {"a": "live", "c": "live"}


def sized(size: int, uniqueid: str) -> str:
    """A live job of so many bytes."""
    return json.dumps(live(uniqueid, note="x" * (size - len(json.dumps(live(uniqueid, note=""))))))


@pytest.mark.parametrize("name", ["x.json", "x.ndjson"])
def test_space_around_a_message_does_not_count_for_message_kib(shared: Daemon, run: str, name: str) -> None:
    for number, size in enumerate([64 << 10, (64 << 10) + 1]):
        shared.drop(f"{run}/{number}-{name}", f" {sized(size, str(number))}\n")

    told = [receipt(shared, f"{run}/{number}-{name}") for number in range(2)]

    assert [(one["applied"], one["rejected"]) for one in told] == [(1, 0), (0, 1)]
    assert told[1]["details"][0]["reason"] == "too-large"
