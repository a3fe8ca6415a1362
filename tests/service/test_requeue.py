"""simscoped requeue: refused files go back into the spool, all or those that are named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.daemons import Daemon, live, wait_until
from support.spools import SPOOL, command, receipt, receipts

CONFIG = SPOOL


@pytest.mark.parametrize("told", [[], ["{run}/x.json"], ["x.json"]], ids=["all", "path", "name"])
def test_requeue_puts_a_refused_file_back_and_it_is_taken_after_correction(
    make_daemon: Callable[..., Daemon], run: str, told: list[str]
) -> None:
    daemon = make_daemon()
    bad = daemon.spool / ".bad" / run
    bad.mkdir(parents=True)
    (bad / "x.json").write_text(json.dumps(live("a", cycles=17)))
    (bad / "x.json.reason.json").write_text("{}")

    ended = command(daemon, "requeue", *(name.format(run=run) for name in told))

    assert (ended.returncode, ended.stdout) == (0, f"{run}/x.json\n")
    assert json.loads((daemon.spool / run / "x.json").read_text()) == live("a", cycles=17)
    assert not bad.exists()


def test_a_refused_file_that_was_corrected_and_requeued_is_taken(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/x.json", live("a", cycles="many"))
    bad = wait_until(lambda: next(iter((shared.spool / ".bad" / run).glob("x.json")), None))
    bad.write_text(json.dumps(live("a", cycles=17)))

    ended = command(shared, "requeue", f"{run}/x.json")

    assert ended.returncode == 0
    told = wait_until(lambda: len(receipts(shared, f"{run}/x.json")) == 2 and receipts(shared, f"{run}/x.json"))
    assert (told[0]["applied"], told[0]["rejected"]) == (1, 0)
    assert not (shared.spool / ".bad" / run).exists()


def test_requeue_of_a_name_that_is_not_there_says_no(shared: Daemon) -> None:
    ended = command(shared, "requeue", "no-such-file.json")

    assert ended.returncode == 1
    assert ended.stdout == "nothing to put back\n"


def refused_file(daemon: Daemon, name: str) -> Path:
    """Lay a refused file and its reasons into .bad."""
    path = daemon.spool / ".bad" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[1]")
    Path(f"{path}.reason.json").write_text("{}")
    return path


def test_requeue_names_what_it_does_not_find_and_puts_the_others_back(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    refused_file(daemon, "r/good.json")

    ended = command(daemon, "requeue", "nosuch", "good.json", "r/nosuch.json")

    assert (ended.returncode, ended.stdout) == (1, "r/good.json\n")
    assert ended.stderr.splitlines() == [
        "simscoped: no refused file is named 'nosuch'",
        "simscoped: no refused file is named 'r/nosuch.json'",
    ]
    assert (daemon.spool / "r" / "good.json").exists()


@pytest.mark.parametrize("name", ["top.json", "r/x.json"])
@pytest.mark.parametrize("form", ["{whole}", "{relative}", "{relative}.reason.json", "{name}.reason.json"])
def test_requeue_takes_the_path_of_a_refused_file_as_a_shell_completes_it_and_that_of_its_reasons(
    make_daemon: Callable[..., Daemon], name: str, form: str
) -> None:
    daemon = make_daemon()
    refused_file(daemon, "other.json")
    path = refused_file(daemon, name)

    told = command(daemon, "requeue", form.format(name=name, whole=path, relative=os.path.relpath(path)))

    assert (told.returncode, told.stdout, told.stderr) == (0, f"{name}\n", "")
    assert (daemon.spool / name).exists()
    assert sorted(os.listdir(daemon.spool / ".bad")) == ["other.json", "other.json.reason.json"]


def test_requeue_does_not_overwrite_a_file_that_waits_in_the_spool(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    (daemon.spool / ".bad" / "r").mkdir(parents=True)
    old = daemon.spool / ".bad" / "r" / "x.json"
    old.write_text("old")
    inode = old.stat().st_ino
    daemon.drop("r/x.json", "new")

    ended = command(daemon, "requeue")

    assert (ended.returncode, ended.stdout) == (0, f"r/x~{inode}.json\n")
    assert {path.name: path.read_text() for path in (daemon.spool / "r").iterdir()} == {
        "x.json": "new",
        f"x~{inode}.json": "old",
    }


def test_requeue_tells_reasons_from_a_refused_file_that_is_named_like_them(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    for number, name in enumerate(["x.json.reason.json", "x.json", "y.json", "y.json.reason.json"]):
        daemon.drop(f"r/{name}", [number])
        receipt(daemon, f"r/{name}")
    wait_until(lambda: len(list((daemon.spool / ".bad" / "r").iterdir())) == 8)
    daemon.stop()

    ended = command(daemon, "requeue")

    assert ended.returncode == 0
    assert sorted(path.read_text() for path in (daemon.spool / "r").iterdir()) == ["[0]", "[1]", "[2]", "[3]"]
    assert not (daemon.spool / ".bad" / "r").exists()
