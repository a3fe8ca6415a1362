"""The spool folder, with real files and the real daemon.

In this order: what a file may hold, which names are read, files that are not whole yet, order and repetition, refused
files, what becomes of taken ones, what is not opened, many files, troubles of the file system.

Most tests share one daemon; each has a regression (and so a folder) of its own.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import rooms
from support.daemons import LIVE_SIGS, ROOT, Daemon, done, driven, live, wait_until

from simscope_server.doors.spool_folder import free_name

SETTLE_MS = 400
CONFIG = (
    f'{LIVE_SIGS}[spool]\ndir = "spool"\nsettle_ms = {SETTLE_MS}\npoll_ms = 100\n'
    "[limits]\nbody_mib = 1\nmessage_kib = 64\n"
)


def envelope(kind: str, regression: str, body: Any) -> dict[str, Any]:
    return {"type": kind, "regression": regression, "body": body}


def lines(*values: Any) -> str:
    return "".join(f"{json.dumps(value)}\n" for value in values)


def receipts(daemon: Daemon, name: str) -> list[Any]:
    return daemon.get(f"/receipts?limit=500&name={urllib.parse.quote(name, safe='')}")["items"]


def receipt(daemon: Daemon, name: str) -> Any:
    """The receipt of a file, waited for."""
    return wait_until(lambda: receipts(daemon, name), what=f"a receipt of {name!r}")[0]


def results(daemon: Daemon, regression: str) -> dict[str, str]:
    """The jobs of a regression: uniqueid -> result."""
    return dict(daemon.rows("SELECT key, result_name FROM jobs WHERE regression = ?", regression))


def count(daemon: Daemon, regression: str) -> int:
    """How many jobs a regression has."""
    sql = "SELECT count(*) FROM job JOIN regression AS r ON r.id = regression_id WHERE r.name = ?"
    return daemon.rows(sql, regression)[0][0]


def command(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "simscoped.py"), *arguments, "--config", str(daemon.config)]
    return subprocess.run(line, capture_output=True, text=True, timeout=20)


def rescanned(daemon: Daemon, run: str) -> None:
    """Come back when everything that lies in the spool by now was looked at, and was left alone for settle_ms."""
    daemon.drop(f"{run}-witness/lines.ndjson", lines(live("witness")))
    receipt(daemon, f"{run}-witness/lines.ndjson")


# --- what a file may hold ---------------------------------------------------------------------------------------------


def test_an_envelope_says_type_and_regression_itself(shared: Daemon, run: str) -> None:
    shared.drop(f"elsewhere/{run}.json", envelope("job-live", run, live()))

    told = receipt(shared, f"elsewhere/{run}.json")

    assert (told["messages"], told["applied"]) == (1, 1)
    assert results(shared, run) == {"a": "live"}


def test_a_bare_body_belongs_to_the_folder_it_lies_in(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/123/job-7.json", live("seven"))

    receipt(shared, f"{run}/123/job-7.json")

    assert results(shared, f"{run}/123") == {"seven": "live"}


def test_a_bare_body_at_the_top_names_its_regression(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}.json", done() | {"regression": run})

    receipt(shared, f"{run}.json")

    assert results(shared, run) == {"a": "pass"}


def test_a_bare_body_at_the_top_without_a_regression_is_refused(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}.json", done())

    told = receipt(shared, f"{run}.json")

    assert (told["rejected"], told["details"][0]["reason"]) == (1, "no-regression")


def test_a_regression_in_the_body_at_odds_with_the_folder_is_a_warning(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/x.json", live() | {"regression": "another"})

    told = receipt(shared, f"{run}/x.json")

    assert told["applied"] == 1
    assert "another" in told["details"][0]["warnings"][0]
    assert results(shared, run) == {"a": "live"}


def test_an_array_holds_envelopes_and_bare_bodies(shared: Daemon, run: str) -> None:
    messages = [live("a"), done("b"), envelope("job-live", f"{run}/other", live("c"))]
    shared.drop(f"{run}/array.json", messages)

    told = receipt(shared, f"{run}/array.json")

    assert (told["messages"], told["applied"]) == (3, 3)
    assert results(shared, run) == {"a": "live", "b": "pass"}
    assert results(shared, f"{run}/other") == {"c": "live"}


@pytest.mark.parametrize("suffix", [".ndjson", ".jsonl"])
def test_ndjson_holds_one_message_a_line(shared: Daemon, run: str, suffix: str) -> None:
    text = lines(live("a"), envelope("job-finish", run, done("b"))) + "\n" + json.dumps(done("c"))
    shared.drop(f"{run}/lines{suffix}", text)

    told = receipt(shared, f"{run}/lines{suffix}")

    assert (told["messages"], told["applied"]) == (3, 3)
    assert results(shared, run) == {"a": "live", "b": "pass", "c": "pass"}


def test_an_empty_array_is_a_delivery_without_messages(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/none.json", [])

    told = receipt(shared, f"{run}/none.json")

    assert (told["messages"], told["rejected"]) == (0, 0)
    assert not (shared.spool / ".bad" / run).exists()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("regr-start.json", {"component": "cpu", "tag": "t1"}, {"status": "live", "component": "cpu"}),
        ("regr-start.2026-01.json", {"component": "cpu"}, {"status": "live", "component": "cpu"}),
        ("regr-update.json", {"submitted": 7}, {"status": "live", "submitted": 7}),
        ("regr-finish.json", {"tag": "t2"}, {"status": "complete", "tag": "t2"}),
        ("regr-finish.json", "", {"status": "complete", "reason": "finish"}),
        ("regr-finish-17.json", "", {"status": "complete", "reason": "finish"}),
        ("regr-finish.json", " \n", {"status": "complete", "reason": "finish"}),
        ("regr-finish.json", "null", {"status": "complete", "reason": "finish"}),
    ],
)
def test_a_file_name_says_the_type_of_a_regression_message(
    shared: Daemon, run: str, name: str, content: Any, told: dict[str, Any]
) -> None:
    shared.drop(f"{run}/{name}", content)

    taken = receipt(shared, f"{run}/{name}")

    assert taken["applied"] == 1
    regression = shared.get(f"/regressions/{run}")
    assert {key: regression[key] for key in told} == told


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("job-live.7.json", live("a"), {"a": "live"}),
        ("job-finish.7.json", done("a"), {"a": "pass"}),
        ("batch-job-live.json", [live("a"), live("b")], {"a": "live", "b": "live"}),
        ("batch-job-finish.json", [done("a"), done("b")], {"a": "pass", "b": "pass"}),
        ("job-live.jsonl", lines(live("a"), live("b")), {"a": "live", "b": "live"}),
        ("job-lively.json", done("a"), {"a": "pass"}),
    ],
)
def test_a_file_name_says_the_type_of_a_job_message(
    shared: Daemon, run: str, name: str, content: Any, told: dict[str, str]
) -> None:
    shared.drop(f"{run}/{name}", content)

    taken = receipt(shared, f"{run}/{name}")

    assert taken["applied"] == len(told)
    assert results(shared, run) == told


def test_a_result_at_odds_with_the_file_name_is_refused(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/job-live.1.json", done())

    told = receipt(shared, f"{run}/job-live.1.json")

    assert told["details"][0]["reason"] == "result-mismatch"


@pytest.mark.parametrize(
    "name",
    [
        "with blanks in it.json",
        "Prüfung-東京-🚀.json",
        "quotes'\"`.json",
        "semicolon;dollar$HOME&percent%20.json",
        "back\\slash.json",
        "-rf.json",
        "new\nline.json",
        "two.dots.and.json.json",
    ],
)
def test_file_and_folder_names_may_be_anything_that_is_utf_8(shared: Daemon, run: str, name: str) -> None:
    folder = f"{run} {name}".replace("\n", "").replace(".", "")
    shared.drop(f"{folder}/{name}", live())

    told = receipt(shared, f"{folder}/{name}")

    assert (told["applied"], told["rejected"]) == (1, 0)
    assert results(shared, folder) == {"a": "live"}
    assert not (shared.spool / folder / name).exists()


def test_a_folder_may_be_very_deep(shared: Daemon, run: str) -> None:
    folder = "/".join([run, *(f"level-{number}" for number in range(50))])
    shared.drop(f"{folder}/x.json", live())

    receipt(shared, f"{folder}/x.json")

    assert results(shared, folder) == {"a": "live"}


def test_a_folder_name_with_control_characters_is_no_regression(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}\n2/x.json", live())

    told = receipt(shared, f"{run}\n2/x.json")

    assert told["details"][0]["reason"] == "bad-regression"


# --- which names are read ---------------------------------------------------------------------------------------------


def test_temporary_names_are_never_read(shared: Daemon, run: str) -> None:
    folder = shared.spool / run
    (folder / ".hidden").mkdir(parents=True)
    unread = [".x.json", ".x.ndjson", "x.json.tmp", "x.tmp", "x.json.part", "x.part", "x.json~", "x.ndjson~", "x.txt"]
    unread += [".hidden/x.json", "json", "x.JSON.bak"]
    for name in unread:
        (folder / name).write_text(json.dumps(live(name)))

    rescanned(shared, run)

    assert [name for name in unread if not (folder / name).exists()] == []
    assert results(shared, run) == {}


@pytest.mark.parametrize("suffix", [".tmp", ".part", "~"])
def test_a_folder_of_a_temporary_name_is_read_once_it_is_renamed(shared: Daemon, run: str, suffix: str) -> None:
    folder = shared.spool / f"{run}{suffix}"
    (folder / "deep").mkdir(parents=True)
    for name in ("x", "deep/y"):
        (folder / f"{name}.json").write_text(json.dumps(live(name)))

    rescanned(shared, run)

    assert sorted(path.name for path in folder.rglob("*.json")) == ["x.json", "y.json"]
    folder.rename(shared.spool / run)
    receipt(shared, f"{run}/x.json")
    receipt(shared, f"{run}/deep/y.json")
    assert results(shared, run) == {"x": "live"}
    assert count(shared, f"{run}{suffix}") == 0


NEVER_SETTLES = f'{LIVE_SIGS}[spool]\ndir = "spool"\nsettle_ms = 3600000\npoll_ms = 50\n'


@pytest.mark.parametrize("age", [0, 86400], ids=["new", "of yesterday, or by a clock that is a day behind"])
def test_a_whole_json_file_is_taken_at_once_and_ndjson_is_not(make_daemon: Callable[..., Daemon], age: int) -> None:
    daemon = make_daemon(NEVER_SETTLES).start()
    for name, content in [("lines.ndjson", lines(live("line"))), ("regr-finish.json", "")]:
        hidden = daemon.drop(f"r/.{name}", content)
        os.utime(hidden, (time.time() - age,) * 2)
        hidden.rename(hidden.with_name(name))

    daemon.drop("r/whole.json", live("whole"))

    receipt(daemon, "r/whole.json")
    daemon.drop("r/later.json", live("later"))
    receipt(daemon, "r/later.json")
    assert results(daemon, "r") == {"whole": "live", "later": "live"}
    assert sorted(path.name for path in (daemon.spool / "r").iterdir()) == ["lines.ndjson", "regr-finish.json"]


# --- files that are not whole yet -------------------------------------------------------------------------------------


def test_a_half_written_file_that_is_completed_later_is_taken_whole(shared: Daemon, run: str) -> None:
    text = json.dumps(live("a", fail_message="x" * 5000, host="h1"))
    path = shared.spool / run / "slow.json"
    path.parent.mkdir()
    with path.open("w") as file:
        file.write(text[:2500])
        file.flush()
        shared.drop(f"{run}/other.json", live("b"))
        receipt(shared, f"{run}/other.json")
        file.write(text[2500:])

    told = receipt(shared, f"{run}/slow.json")

    assert (told["applied"], told["rejected"]) == (1, 0)
    assert results(shared, run) == {"a": "live", "b": "live"}
    assert len(receipts(shared, f"{run}/slow.json")) == 1


@pytest.mark.parametrize("how", ["w", "a"], ids=["anew", "at its end"])
def test_a_half_written_file_is_taken_whole_when_its_writer_opens_its_name_again(
    make_daemon: Callable[..., Daemon], how: str
) -> None:
    daemon = make_daemon(NEVER_SETTLES).start()
    text = json.dumps(live("a", fail_message="x" * 5000))
    path = half_written(daemon, "r/slow.json", text)

    with path.open(how) as file:
        file.write(text if how == "w" else text[2500:])

    told = receipt(daemon, "r/slow.json")
    assert (told["applied"], told["rejected"]) == (1, 0)
    assert len(receipts(daemon, "r/slow.json")) == 1
    assert results(daemon, "r") == {"a": "live", "b": "live"}
    wait_until(lambda: os.listdir(daemon.spool / ".work") == [".lock"])
    assert not (daemon.spool / ".bad").exists()


def taken_whole(daemon: Daemon, name: str) -> None:
    """See a file applied, and nothing of it left behind."""
    told = receipt(daemon, name)
    assert (told["applied"], told["rejected"]) == (1, 0)
    wait_until(lambda: os.listdir(daemon.spool / ".work") == [".lock"])


def half_written(daemon: Daemon, name: str, text: str) -> Path:
    """Write half of a file, and come back when the daemon has seen it."""
    path = daemon.spool / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text[:2500])
    daemon.drop("r/b.json", live("b"))
    receipt(daemon, "r/b.json")
    return path


def test_a_half_written_file_never_leaves_its_name(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(NEVER_SETTLES).start()
    text = json.dumps(live("a", fail_message="x" * 5000))

    path = half_written(daemon, "r/slow.json", text)
    inode = path.stat().st_ino
    for number in range(3):
        daemon.drop(f"r/{number}.json", live(str(number)))
        receipt(daemon, f"r/{number}.json")

    assert path.stat().st_ino == inode
    assert path.read_text() == text[:2500]
    assert list(daemon.spool.glob(".work/*/r/slow.json")) == []


USED_AGAIN = """
real_rename, again = os.rename, [os.environ["AGAIN"]]

def rename(source, target):
    if str(target).endswith("slow.json") and again:
        how, status = again.pop(), os.stat(source)
        text = '{"category": "sim", "uniqueid": "newer", "result": "live"}'
        if how == "replaced":
            with open("new.json", "w") as file:
                file.write(text)
            real_rename("new.json", source)
        elif how == "removed":
            os.unlink(source)
        else:
            with open(source, "w") as file:
                file.write(text)
            os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    real_rename(source, target)

os.rename = rename
"""


@pytest.mark.parametrize("how", ["replaced", "written over, and dated as before"])
def test_of_a_name_that_is_used_again_between_reading_and_claiming_the_newer_file_counts(
    make_daemon: Callable[..., Daemon], tmp_path: Path, how: str
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", USED_AGAIN)).start(env={"AGAIN": how})

    daemon.drop("r/slow.json", live("old"))

    taken_whole(daemon, "r/slow.json")
    assert results(daemon, "r") == {"newer": "live"}
    assert len(receipts(daemon, "r/slow.json")) == 1


def test_a_file_that_is_taken_back_between_reading_and_claiming_has_no_effect(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", USED_AGAIN)).start(env={"AGAIN": "removed"})

    daemon.drop("r/slow.json", live("old"))
    daemon.drop("r/other.json", live("other"))

    taken_whole(daemon, "r/other.json")
    assert results(daemon, "r") == {"other": "live"}
    assert receipts(daemon, "r/slow.json") == []


SWAPPED_FOR_A_LINK = """
real_open, links = os.open, ["elsewhere.json"]

def opened(path, *args, **kwargs):
    if str(path).endswith("r/swapped.json") and links:
        os.unlink(path)
        os.symlink(os.path.abspath(links.pop()), path)
    return real_open(path, *args, **kwargs)

os.open = opened
"""


def test_a_symbolic_link_swapped_in_between_listing_and_reading_is_not_followed(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", SWAPPED_FOR_A_LINK)).start()
    (daemon.folder / "elsewhere.json").write_text(json.dumps(live("elsewhere")))

    daemon.drop("r/swapped.json", live("a"))

    told = receipt(daemon, "r/swapped.json")
    assert (told["applied"], told["details"][0]["reason"]) == (0, "unreadable")
    assert results(daemon, "r") == {}


COUNTS_READS = """
rooms.replace("REST_MS", 1500)
real_open = os.open

def counted(path, *args, **kwargs):
    if str(path).endswith("slow.json"):
        with open("reads", "a") as file:
            file.write("x")
    return real_open(path, *args, **kwargs)

os.open = counted
"""


def test_a_half_written_file_is_not_read_again_while_it_grows(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(NEVER_SETTLES, program=driven(tmp_path / "daemon", COUNTS_READS)).start()
    text = json.dumps(live("a", fail_message="x" * 5000))
    path = half_written(daemon, "r/slow.json", text)
    with path.open("a") as file:
        for number, letter in enumerate(text[2500:2510]):
            file.write(letter)
            file.flush()
            daemon.drop(f"r/{number}.json", live(str(number)))
            receipt(daemon, f"r/{number}.json")
        assert (daemon.folder / "reads").read_text() == "x"
        file.write(text[2510:])

    told = receipt(daemon, "r/slow.json")

    assert (told["applied"], told["rejected"]) == (1, 0)
    assert (daemon.folder / "reads").read_text() == "xx"


def test_a_file_that_keeps_growing_in_small_steps_is_not_refused(shared: Daemon, run: str) -> None:
    text = json.dumps(live("a", host="h" * 20))
    path = shared.spool / run / "slow.json"
    path.parent.mkdir()
    step = len(text) // 12 + 1
    with path.open("w") as file:
        for start in range(0, len(text), step):
            file.write(text[start : start + step])
            file.flush()
            time.sleep(SETTLE_MS / 1000 / 5)

    told = receipt(shared, f"{run}/slow.json")

    assert (told["applied"], told["rejected"]) == (1, 0)


def test_a_file_that_is_never_completed_is_refused_after_settle_ms_and_holds_up_no_other(
    shared: Daemon, run: str
) -> None:
    path = shared.spool / run / "cut.json"
    path.parent.mkdir()
    begun = time.time()
    path.write_text('{"category": "sim", "uniq')
    for number in range(5):
        shared.drop(f"{run}/{number}.json", live(str(number)))

    told = receipt(shared, f"{run}/cut.json")

    others = [receipt(shared, f"{run}/{number}.json") for number in range(5)]
    assert told["details"][0]["reason"] == "bad-json"
    assert max(other["id"] for other in others) < told["id"]
    assert len(results(shared, run)) == 5
    reason = json.loads((shared.spool / ".bad" / run / "cut.json.reason.json").read_text())
    refused = datetime.datetime.fromisoformat(reason["refused_at"]).timestamp()
    assert SETTLE_MS / 1000 - 0.05 <= refused - begun < SETTLE_MS / 1000 + 5


def test_an_empty_file_that_says_nothing_is_refused(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/nothing.json", "")

    told = receipt(shared, f"{run}/nothing.json")

    assert told["details"][0]["reason"] == "bad-json"


def test_ndjson_is_left_until_it_was_unchanged_for_settle_ms(shared: Daemon, run: str) -> None:
    path = shared.spool / run / "log.ndjson"
    path.parent.mkdir()
    with path.open("w") as file:
        for number in range(12):
            file.write(lines(live(str(number))))
            file.flush()
            time.sleep(SETTLE_MS / 1000 / 5)
            assert path.exists()

    told = receipt(shared, f"{run}/log.ndjson")

    assert (told["messages"], told["applied"]) == (12, 12)
    assert len(receipts(shared, f"{run}/log.ndjson")) == 1


# --- order and repetition ---------------------------------------------------------------------------------------------


def test_files_are_taken_in_order_of_modification_time_also_those_that_lay_there_before_the_start(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    now = time.time()
    for name, content, age in [
        ("r/z-older.json", envelope("regr-update", "r", {"tag": "older"}), 20),
        ("r/a-newer.json", envelope("regr-update", "r", {"tag": "newer"}), 10),
        ("r/a-second-finish.json", done("job", result="fail", fail_message="second"), 10),
        ("r/z-first-finish.json", done("job", host="first"), 20),
        ("r/b-latest.json", envelope("regr-update", "r", {"project": "latest"}), -3600),
        ("r/y-early.json", envelope("regr-update", "r", {"project": "early"}), 86400 * 400),
    ]:
        os.utime(daemon.drop(name, content), (now - age, now - age))

    daemon.start()

    receipt(daemon, "r/b-latest.json")
    regression = daemon.get("/regressions/r")
    assert (regression["tag"], regression["project"]) == ("newer", "latest")
    assert results(daemon, "r") == {"job": "pass"}
    taken = [name for (name,) in daemon.rows("SELECT name FROM receipt ORDER BY id")]
    assert taken[0] == "r/y-early.json"
    assert taken[-1] == "r/b-latest.json"


def test_a_name_that_is_used_again_at_once_loses_nothing(shared: Daemon, run: str) -> None:
    folder = shared.spool / run
    folder.mkdir()
    for number in range(100):
        hidden = folder / f".{number}"
        hidden.write_text(json.dumps(live(str(number))))
        wait_until(lambda: not (folder / "same.json").exists(), what="the name to be free")
        hidden.rename(folder / "same.json")

    told = wait_until(lambda: len(receipts(shared, f"{run}/same.json")) == 100 and receipts(shared, f"{run}/same.json"))

    assert sum(each["applied"] for each in told) == 100
    assert results(shared, run) == {str(number): "live" for number in range(100)}


def test_the_same_content_in_a_new_file_is_a_sign_of_life_and_no_event(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/beat.json", live())
    receipt(shared, f"{run}/beat.json")
    before = shared.get(f"/jobs?regression={run}")["items"][0]

    shared.drop(f"{run}/beat.json", live())

    wait_until(lambda: len(receipts(shared, f"{run}/beat.json")) == 2)
    after = shared.get(f"/jobs?regression={run}")["items"][0]
    assert after["last_seen_at"] > before["last_seen_at"]
    assert after["version"] == before["version"]
    assert [event["type"] for event in shared.get(f"/jobs/{after['id']}/history")["items"]] == ["job.live"]


# --- refused files ----------------------------------------------------------------------------------------------------


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
    assert all(Path(f"{path}.reason.json").exists() for path in bad.glob("x*[!n].json") if "reason" not in path.name)


def test_the_name_of_one_of_many_alike_is_found_with_few_looks(tmp_path: Path, monkeypatch: Any) -> None:
    taken, looks = {f"{tmp_path}/x.json"} | {f"{tmp_path}/x~{number}.json" for number in range(2, 20_001)}, []
    rooms.replace("_is_free", lambda path: (looks.append(path), path not in taken)[1], monkeypatch)

    assert free_name(f"{tmp_path}/x.json") == f"{tmp_path}/x~20001.json"
    assert free_name(f"{tmp_path}/y.json") == f"{tmp_path}/y.json"
    assert len(looks) < 50


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
    (daemon.spool / ".bad" / "r" / "x.json").write_text("old")
    daemon.drop("r/x.json", "new")

    ended = command(daemon, "requeue")

    assert (ended.returncode, ended.stdout) == (0, "r/x~2.json\n")
    assert {path.name: path.read_text() for path in (daemon.spool / "r").iterdir()} == {
        "x.json": "new",
        "x~2.json": "old",
    }


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


def put(daemon: Daemon, name: str, content: Any) -> None:
    """Publish a file whose name has no room for a temporary suffix."""
    target = daemon.spool / name
    target.parent.mkdir(parents=True, exist_ok=True)
    daemon.drop("unnamed.part", content).rename(target)


def long_name(size: int, character: str) -> str:
    """A file name of so many bytes."""
    suffix = "-.json"
    characters, rest = divmod(size - len(suffix), len(character.encode()))
    return "a" * rest + character * characters + suffix


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
    assert (kept[0].name == name, kept[1].stem[-2:]) == (size <= 243, "~2")
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


# --- what becomes of taken files --------------------------------------------------------------------------------------


def test_a_taken_file_is_deleted_and_leaves_nothing_in_the_work_folder(shared: Daemon, run: str) -> None:
    path = shared.drop(f"{run}/x.json", live())

    receipt(shared, f"{run}/x.json")

    wait_until(lambda: [name for name in os.listdir(shared.spool / ".work") if name != ".lock"] == [])
    assert not path.exists()


def test_kept_files_move_to_the_folder_of_the_day_and_old_days_are_removed(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f'{LIVE_SIGS}[spool]\ndir = "spool"\ndone = "keep"\nkeep_done_days = 7\n')
    today = datetime.date.today()
    kept = daemon.spool / ".done"
    for days in (8, 400, 6, 0):
        day = kept / f"{today - datetime.timedelta(days)}" / "r"
        day.mkdir(parents=True)
        (day / "x.json").write_text("earlier")
    (kept / "my notes").mkdir()

    daemon.start()
    daemon.drop("r/x.json", live("first"))

    receipt(daemon, "r/x.json")
    again = wait_until(lambda: next(kept.glob("*/r/x~2.json"), None))
    assert json.loads(again.read_text()) == live("first")
    assert again.parent.parent.name in (f"{today}", f"{datetime.date.today()}")
    assert (again.parent / "x.json").read_text() == "earlier"
    wait_until(lambda: len(list(kept.iterdir())) == 3)
    assert sorted(path.name for path in kept.iterdir()) == [f"{today - datetime.timedelta(6)}", f"{today}", "my notes"]


def test_kept_files_of_the_longest_name_are_all_kept(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f'{LIVE_SIGS}[spool]\ndir = "spool"\ndone = "keep"\n').start()
    name = long_name(255, "x")
    for number in (1, 2, 3):
        put(daemon, f"r/{name}", live(str(number)))
        wait_until(lambda number=number: len(receipts(daemon, f"r/{name}")) == number)  # type: ignore[misc]

    daemon.drop("r/good.json", live("good"))

    receipt(daemon, "r/good.json")
    kept = wait_until(lambda: len(paths := list(daemon.spool.glob(".done/*/r/x*.json"))) == 3 and paths)
    assert sorted(json.loads(path.read_text())["uniqueid"] for path in kept) == ["1", "2", "3"]


def test_folders_left_empty_are_removed_after_an_hour(shared: Daemon, run: str) -> None:
    spool = shared.spool / run
    for name in ("old", "young", "old-and-used"):
        (spool / name).mkdir(parents=True)
    (spool / "old-and-used" / "x.json.tmp").write_text("")
    long_ago = time.time() - 3700
    for name in ("old", "old-and-used"):
        os.utime(spool / name, (long_ago, long_ago))

    wait_until(lambda: not (spool / "old").exists())

    assert sorted(path.name for path in spool.iterdir()) == ["old-and-used", "young"]


# --- what is not opened -----------------------------------------------------------------------------------------------


def skipped(daemon: Daemon) -> dict[str, str]:
    return daemon.request("GET", "/healthz")[1]["spool"]["skipped"]


def test_links_pipes_folders_named_like_messages_and_names_that_are_not_utf_8_are_reported_and_not_opened(
    shared: Daemon, run: str
) -> None:
    folder = shared.spool / run
    (folder / "folder.json").mkdir(parents=True)
    (folder / "folder.json" / "x.json").write_text(json.dumps(live("in folder")))
    outside = shared.folder / f"{run}-outside.json"
    outside.write_text(json.dumps(live("linked")))
    (folder / "link.json").symlink_to(outside)
    (folder / "nowhere.ndjson").symlink_to("/does/not/exist")
    for name in ("pipe.json", "pipe", ".pipe", "pipe.tmp", "pipe~"):
        os.mkfifo(folder / name)
    os.mknod(folder / "socket", stat.S_IFSOCK | 0o600)
    strange = [os.fsencode(folder) + name for name in (b"/\xff\xfe.json", b"/\xff.txt", b"/.\xff.json", b"/\xff.part")]
    for path in strange:
        with open(path, "w") as file:
            file.write(json.dumps(live("strange")))
    strange_folder = os.fsencode(folder) + b"/\xfe"
    os.mkdir(strange_folder)

    told = wait_until(lambda: len([path for path in skipped(shared) if run in path]) >= 9 and skipped(shared))
    shared.drop(f"{run}/good.json", live("good"))
    receipt(shared, f"{run}/good.json")

    own = {path.removeprefix(f"{run}/"): why for path, why in told.items() if run in path}
    assert own["folder.json"] == "a folder named like a message"
    assert own["link.json"] == own["nowhere.ndjson"] == "a symbolic link"
    assert own["pipe.json"] == own["pipe"] == own["socket"] == "not a regular file"
    assert own["?"] == own["?.txt"] == own["??.json"] == "its name is not UTF-8"
    assert len(own) == 9
    assert results(shared, run) == {"good": "live"}
    assert outside.exists()
    assert all(map(os.path.lexists, strange))
    status, health, _ = shared.request("GET", "/healthz")
    assert (status, health["status"]) == (200, "ok")
    assert "simscoped_spool_skipped_files 9.0" in shared.request("GET", "/metrics")[1]
    for name in ("link.json", "nowhere.ndjson", "pipe.json", "pipe", "socket"):
        (folder / name).unlink()
    os.rmdir(strange_folder)
    (folder / "folder.json").rename(folder / "folder")
    for path in strange:
        os.unlink(path)
    wait_until(lambda: not [path for path in skipped(shared) if run in path])
    receipt(shared, f"{run}/folder/x.json")


def test_a_symbolic_link_to_a_folder_is_reported_and_not_followed(shared: Daemon, run: str) -> None:
    outside = shared.folder / f"{run}-outside"
    outside.mkdir()
    (outside / "x.json").write_text(json.dumps(live()))
    link = shared.spool / run
    link.symlink_to(outside)

    rescanned(shared, run)

    told = skipped(shared)
    link.unlink()
    assert (outside / "x.json").exists()
    assert run in told


def test_a_folder_of_kept_files_that_cannot_be_listed_does_not_stop_the_daemon(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.drop(".done", "a file where the folder should be")

    daemon.start()

    daemon.drop("r/x.json", live())
    receipt(daemon, "r/x.json")
    assert daemon.stop() == 0
    assert "deadlines failed" not in daemon.log.read_text()


def folder_so_long(daemon: Daemon, size: int) -> str:
    """A folder below the spool whose whole path has so many bytes."""
    rest = size - len(os.fsencode(daemon.spool)) - 1
    return "/".join("d" * 99 for _ in range(rest // 100 - 1)) + "/" + "e" * (rest % 100 + 100)


@pytest.mark.parametrize("done", ["keep", "delete"])
def test_a_file_whose_path_leaves_no_room_for_what_becomes_of_it_is_reported_and_left(
    make_daemon: Callable[..., Daemon], done: str
) -> None:
    daemon = make_daemon(f'{LIVE_SIGS}[spool]\ndir = "spool"\ndone = "{done}"\n').start()
    beyond = [f"{folder_so_long(daemon, size)}/x.json" for size in (3994, 4030, 4080, 4088)]
    for path in beyond:
        put(daemon, path, live())
    fits = folder_so_long(daemon, 3993)
    put(daemon, f"{fits}/x.json", envelope("job-live", "r", live("fits")))
    put(daemon, f"{fits}/y.json", [1])

    daemon.drop("r/good.json", live("good"))

    receipt(daemon, "r/good.json")
    wait_until((daemon.spool / ".bad" / fits / "y.json.reason.json").exists)
    wait_until(lambda: skipped(daemon) == dict.fromkeys(beyond, "its path is longer than 4000 bytes"))
    wait_until(lambda: results(daemon, "r") == {"good": "live", "fits": "live"})
    wait_until(lambda: len(list(daemon.spool.glob(f".done/*/{fits}/x.json"))) == (done == "keep"))
    assert all((daemon.spool / path).exists() for path in beyond)
    assert daemon.request("GET", "/healthz")[0] == 200


def test_folders_below_too_many_folders_are_reported_and_not_read(shared: Daemon, run: str) -> None:
    deep = "/".join([run, *("d" for _ in range(255))])
    for number, folder in enumerate([deep, f"{deep}/d", f"{deep}/{'/'.join('d' * 300)}"]):
        shared.drop(f"{folder}/x.json", envelope("job-live", run, live(str(number))))

    shared.drop(f"{run}/good.json", live("good"))

    receipt(shared, f"{run}/good.json")
    receipt(shared, f"{deep}/x.json")
    wait_until(lambda: skipped(shared).get(f"{deep}/d/") == "lies more than 256 folders deep")
    assert results(shared, run) == {"good": "live", "0": "live"}
    (shared.spool / deep / "d").rename(shared.spool / f".{run}")


# --- many files -------------------------------------------------------------------------------------------------------


def test_three_thousand_files_at_once_are_all_taken(shared: Daemon, run: str) -> None:
    hidden = shared.spool / f".{run}"
    hidden.mkdir()
    for number in range(3000):
        (hidden / f"{number}.json").write_text(json.dumps(live(f"{number:04}")))

    hidden.rename(shared.spool / run)

    wait_until(lambda: count(shared, run) == 3000, 20)
    (taken,) = shared.rows("SELECT count(*), sum(applied) FROM receipt WHERE name GLOB ?", f"{run}/*")
    assert taken == (3000, 3000)
    wait_until(lambda: list((shared.spool / run).iterdir()) == [])


def test_stopping_in_the_middle_of_a_burst_and_starting_again_loses_nothing(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    burst = threading.Thread(
        target=lambda: [daemon.drop(f"r/{number}.json", live(f"{number:04}")) for number in range(1500)]
    )
    burst.start()
    wait_until(lambda: count(daemon, "r"))

    code = daemon.stop()
    taken = count(daemon, "r")
    burst.join()
    daemon.start()

    assert code == 0
    assert taken < 1500
    wait_until(lambda: count(daemon, "r") == 1500)
    wait_until(lambda: [name for name in os.listdir(daemon.spool / ".work") if name != ".lock"] == [])
    assert daemon.rows("SELECT count(*), sum(applied) FROM receipt") == [(1500, 1500)]
    assert daemon.rows("SELECT count(*) FROM event WHERE type = 'job.live'") == [(1500,)]


# --- troubles of the file system --------------------------------------------------------------------------------------


SOON_AT_REST = "rooms.replace('AWAKE_FOR_S', 0.1)\n"
AT_REST_S = 0.4  # after the last file: by then the daemon has stopped looking all the time


SILENT = """
async def silent(*_, stop_event, **__):
    while not stop_event.is_set():
        await asyncio.sleep(0.02)
    return
    yield

rooms.replace("awatch", silent)
"""


def test_files_are_found_on_a_file_system_without_events(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    config = f'{LIVE_SIGS}[spool]\ndir = "spool"\npoll_ms = 100\n'
    daemon = make_daemon(config, program=driven(tmp_path / "daemon", SOON_AT_REST + SILENT)).start()
    daemon.drop("r/first.json", live("first"))
    receipt(daemon, "r/first.json")
    time.sleep(AT_REST_S)

    daemon.drop("r/second.json", live("second"))

    receipt(daemon, "r/second.json")
    assert results(daemon, "r") == {"first": "live", "second": "live"}


UNWATCHABLE = """
scans = [0]

async def broken(*_, **__):
    raise OSError(errno.ENOSPC, "inotify watch limit reached")
    yield

def counted(self, scan=rooms.find("SpoolFolder").scan):
    scans[0] += 1
    open("scans", "w").write(str(scans[0]))
    return scan(self)

rooms.replace("awatch", broken)
rooms.find("SpoolFolder").scan = counted
"""


def test_where_no_watch_can_be_set_the_spool_is_listed_every_poll_ms_and_not_all_the_time(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    config = f'{LIVE_SIGS}[spool]\ndir = "spool"\npoll_ms = 200\n'
    daemon = make_daemon(config, program=driven(tmp_path / "daemon", SOON_AT_REST + UNWATCHABLE)).start()
    daemon.drop("r/first.json", live("first"))
    receipt(daemon, "r/first.json")
    time.sleep(AT_REST_S)
    before = int((daemon.folder / "scans").read_text())

    time.sleep(0.5)

    scans = int((daemon.folder / "scans").read_text() or before) - before
    assert 1 <= scans <= 5


HARD_TO_TAKE = """
real_makedirs, real_open, real_rename = os.makedirs, os.open, os.rename

def guarded_makedirs(path, *args, **kwargs):
    if os.path.basename(path) == "unmakeable":
        raise OSError(errno.ENAMETOOLONG, "File name too long")
    real_makedirs(path, *args, **kwargs)

def guarded_open(path, *args, **kwargs):
    if os.path.basename(path) == "unreadable.json":
        raise PermissionError(errno.EACCES, "Permission denied")
    return real_open(path, *args, **kwargs)

def guarded_rename(source, target):
    if os.path.basename(source) == "immovable.json":
        raise PermissionError(errno.EACCES, "Permission denied")
    real_rename(source, target)

os.makedirs, os.open, os.rename = guarded_makedirs, guarded_open, guarded_rename
"""


def test_an_unreadable_file_is_refused_and_one_that_cannot_be_moved_is_reported(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(program=driven(tmp_path / "daemon", HARD_TO_TAKE))
    for name in ("r/immovable", "r/unmakeable/x", "r/unreadable", "r/open"):
        daemon.drop(f"{name}.json", live(name))

    daemon.start()

    told = receipt(daemon, "r/unreadable.json")
    receipt(daemon, "r/open.json")
    assert told["details"][0]["reason"] == "unreadable"
    wait_until((daemon.spool / ".bad" / "r" / "unreadable.json").exists)
    for name in ("r/immovable.json", "r/unmakeable/x.json"):
        assert (daemon.spool / name).exists()
        assert "cannot be moved" in wait_until(lambda name=name: skipped(daemon).get(name))  # type: ignore[misc]
    assert daemon.request("GET", "/healthz")[0] == 200


def test_a_refused_file_for_which_there_is_no_place_waits_for_the_next_start_and_holds_up_no_other(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.drop(".bad/r", "a file where the folder should be")
    daemon.drop("r/x.json", [1])
    daemon.start()
    receipt(daemon, "r/x.json")

    daemon.drop("r/good.json", live("good"))

    receipt(daemon, "r/good.json")
    assert daemon.request("GET", "/healthz")[0] == 200
    assert daemon.stop() == 0
    assert re.search(r"left in .work until the next start: \d+/r/x.json", daemon.log.read_text())
    (daemon.spool / ".bad" / "r").unlink()
    daemon.start()
    wait_until((daemon.spool / ".bad" / "r" / "x.json.reason.json").exists)
    wait_until(lambda: os.listdir(daemon.spool / ".work") == [".lock"])


NO_ROOM_IN_BAD = """
real_rename = os.rename

def guarded(source, target):
    if "/.bad/" in target and os.path.exists("full"):
        raise OSError(errno.ENOSPC, "No space left on device")
    real_rename(source, target)

os.rename = guarded
"""


def test_a_disk_too_full_for_refused_files_leaves_no_reasons_without_their_file(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(program=driven(tmp_path / "daemon", NO_ROOM_IN_BAD)).start()
    (daemon.folder / "full").touch()
    daemon.drop("r/x.json", [1])
    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 503)

    (daemon.folder / "full").unlink()

    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 200)
    assert sorted(path.name for path in daemon.spool.glob(".bad/r/*")) == ["x.json", "x.json.reason.json"]


SLOW_TO_SETTLE = """
import time
rooms.replace("CHUNK_FILES", 1)
settle, settling = rooms.find("SpoolFolder").settle, []

def slow(self, verdicts):
    if settling:
        open("overlapped", "w").close()
    settling.append(verdicts)
    time.sleep(0.05)
    settle(self, verdicts)
    settling.remove(verdicts)

rooms.find("SpoolFolder").settle = slow
"""


def test_chunks_are_cleared_away_one_after_the_other(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = make_daemon(program=driven(tmp_path / "daemon", SLOW_TO_SETTLE))
    for number in range(20):
        daemon.drop(f"r/{number}.json", live(str(number)))

    daemon.start()

    wait_until(lambda: count(daemon, "r") == 20)
    assert not (daemon.folder / "overlapped").exists()


def test_a_file_that_cannot_be_moved_does_not_keep_the_daemon_busy(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(program=driven(tmp_path / "daemon", SOON_AT_REST + HARD_TO_TAKE)).start()
    (daemon.spool / "immovable.json").write_text(json.dumps(live()))
    wait_until(lambda: skipped(daemon).get("immovable.json"))
    time.sleep(AT_REST_S)
    before = processor_seconds(daemon)

    time.sleep(0.5)

    assert processor_seconds(daemon) - before < 0.2


def processor_seconds(daemon: Daemon) -> float:
    assert daemon.process is not None
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_folder_that_cannot_be_listed_is_reported_and_the_others_are_read(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    prelude = """
real = os.scandir

def guarded(path):
    if path.endswith("/closed"):
        raise PermissionError(errno.EACCES, "Permission denied")
    return real(path)

os.scandir = guarded
"""
    daemon = make_daemon(program=driven(tmp_path / "daemon", prelude))
    daemon.drop("closed/x.json", live())
    daemon.drop("open/x.json", live())

    daemon.start()

    receipt(daemon, "open/x.json")
    assert skipped(daemon) == {"closed/": "cannot be listed: Permission denied"}


def test_a_spool_that_cannot_be_listed_is_unhealthy_until_it_can(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon().start()
    daemon.drop("r/first.json", live("first"))
    receipt(daemon, "r/first.json")
    away = daemon.spool.rename(tmp_path / "away")
    daemon.spool.write_text("a file where the folder was")

    status, told, _ = wait_until(lambda: (answer := daemon.request("GET", "/healthz"))[0] == 503 and answer)

    assert (status, told["status"]) == (503, "failing")
    assert told["reasons"][0].startswith("spool: ")
    daemon.spool.unlink()
    away.rename(daemon.spool)
    daemon.drop("r/second.json", live("second"))
    receipt(daemon, "r/second.json")
    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 200)


IN_TROUBLE_AT_START = """
real_sync = rooms.find("sync_folder")

def guarded(folder):
    if not os.path.exists("better"):
        raise OSError(errno.EIO, "Input/output error")
    return real_sync(folder)

rooms.replace("sync_folder", guarded)
"""


def test_a_spool_in_trouble_at_the_start_is_unhealthy_until_it_is_better(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(program=driven(tmp_path / "daemon", IN_TROUBLE_AT_START))
    daemon.drop(".work/1/r/claimed.json", live("claimed"))
    daemon.start()

    told = wait_until(lambda: (answer := daemon.request("GET", "/healthz"))[0] == 503 and answer)[1]
    (daemon.folder / "better").touch()

    assert told["reasons"][0].startswith("spool: the folder cannot be worked on: ")
    receipt(daemon, "r/claimed.json")
    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 200)


FULL_DISK = """
real_makedirs = os.makedirs

def guarded(path, *args, **kwargs):
    if "/.work/" in str(path) and os.path.exists("full"):
        raise OSError(errno.ENOSPC, "No space left on device")
    return real_makedirs(path, *args, **kwargs)

os.makedirs = guarded
"""


def test_a_disk_too_full_for_the_work_folder_lets_files_wait_and_the_daemon_live(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(program=driven(tmp_path / "daemon", FULL_DISK)).start()
    (daemon.folder / "full").touch()
    daemon.drop("r/x.json", live())

    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 503)

    (daemon.folder / "full").unlink()
    told = receipt(daemon, "r/x.json")
    assert (told["applied"], told["rejected"]) == (1, 0)
    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 200)


SYNCS_BADLY = """
sync_folder = rooms.find("sync_folder")

def guarded(folder):
    if os.path.exists("broken"):
        raise OSError(errno.EIO, "Input/output error")
    sync_folder(folder)

rooms.replace("sync_folder", guarded)
"""


def test_a_work_folder_that_cannot_be_synced_lets_files_wait_and_loses_sight_of_none(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(program=driven(tmp_path / "daemon", SYNCS_BADLY)).start()
    daemon.drop("r/first.json", live("first"))
    wait_until(lambda: daemon.rows("SELECT count(*) FROM receipt") == [(1,)])
    (daemon.folder / "broken").touch()
    daemon.drop("r/second.json", live("second"))
    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 503)

    (daemon.folder / "broken").unlink()

    receipt(daemon, "r/second.json")
    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 200)
    assert results(daemon, "r") == {"first": "live", "second": "live"}
