"""Files in the spool that are not whole yet, that change while they are taken, and in which order files are taken."""

from __future__ import annotations

import datetime
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.daemons import LIVE_SIGS, Daemon, done, driven, live, wait_until
from support.spools import SETTLE_MS, SPOOL, envelope, in_work, lines, receipt, receipts, results

CONFIG = SPOOL


NEVER_SETTLES = f'{LIVE_SIGS}[spool]\ndir = "spool"\nsettle_ms = 3600000\npoll_ms = 50\n'


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon in whose spool no file ever settles."""
    daemon = Daemon(tmp_path_factory.mktemp("patient"), NEVER_SETTLES).start()
    yield daemon
    daemon.stop()


@pytest.mark.parametrize("age", [0, 86400], ids=["new", "of yesterday, or by a clock that is a day behind"])
def test_a_whole_json_file_is_taken_at_once_and_ndjson_is_not(patient: Daemon, run: str, age: int) -> None:
    for name, content in [("lines.ndjson", lines(live("line"))), ("regr-finish.json", "")]:
        hidden = patient.drop(f"{run}/.{name}", content)
        os.utime(hidden, (time.time() - age,) * 2)
        hidden.rename(hidden.with_name(name))

    patient.drop(f"{run}/whole.json", live("whole"))

    receipt(patient, f"{run}/whole.json")
    patient.drop(f"{run}/later.json", live("later"))
    receipt(patient, f"{run}/later.json")
    assert results(patient, run) == {"whole": "live", "later": "live"}
    assert sorted(path.name for path in (patient.spool / run).iterdir()) == ["lines.ndjson", "regr-finish.json"]


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


def half_written(daemon: Daemon, run: str, text: str) -> Path:
    """Write half of a file, RUN/slow.json, and come back when the daemon has seen it."""
    path = daemon.spool / run / "slow.json"
    path.parent.mkdir()
    path.write_text(text[:2500])
    daemon.drop(f"{run}/b.json", live("b"))
    receipt(daemon, f"{run}/b.json")
    return path


@pytest.mark.parametrize("how", ["w", "a"], ids=["anew", "at its end"])
def test_a_half_written_file_is_taken_whole_when_its_writer_opens_its_name_again(
    patient: Daemon, run: str, how: str
) -> None:
    text = json.dumps(live("a", fail_message="x" * 5000))
    path = half_written(patient, run, text)

    with path.open(how) as file:
        file.write(text if how == "w" else text[2500:])

    told = receipt(patient, f"{run}/slow.json")
    assert (told["applied"], told["rejected"]) == (1, 0)
    assert len(receipts(patient, f"{run}/slow.json")) == 1
    assert results(patient, run) == {"a": "live", "b": "live"}
    wait_until(lambda: in_work(patient) == [])
    assert not (patient.spool / ".bad").exists()


def test_a_half_written_file_never_leaves_its_name(patient: Daemon, run: str) -> None:
    text = json.dumps(live("a", fail_message="x" * 5000))

    path = half_written(patient, run, text)
    inode = path.stat().st_ino
    for number in range(3):
        patient.drop(f"{run}/{number}.json", live(str(number)))
        receipt(patient, f"{run}/{number}.json")

    assert path.stat().st_ino == inode
    assert path.read_text() == text[:2500]
    assert list(patient.spool.glob(f".work/*/{run}/slow.json")) == []


# --- files that change while they are taken ---------------------------------------------------------------------------


def taken_whole(daemon: Daemon, name: str) -> None:
    """See a file applied, and nothing of it left behind."""
    told = receipt(daemon, name)
    assert (told["applied"], told["rejected"]) == (1, 0)
    wait_until(lambda: in_work(daemon) == [])


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


def test_a_file_that_is_never_completed_is_refused_after_settle_ms_and_holds_up_no_other(
    shared: Daemon, run: str
) -> None:
    hidden = shared.spool / f".{run}"
    hidden.mkdir()
    (hidden / "cut.json").write_text('{"category": "sim", "uniq')
    for number in range(5):
        (hidden / f"{number}.json").write_text(json.dumps(live(str(number))))
    begun = time.time()

    hidden.rename(shared.spool / run)

    told = receipt(shared, f"{run}/cut.json")
    others = [receipt(shared, f"{run}/{number}.json") for number in range(5)]
    assert told["details"][0]["reason"] == "bad-json"
    assert max(other["id"] for other in others) < told["id"]
    assert len(results(shared, run)) == 5
    wait_until((shared.spool / ".bad" / run / "cut.json").exists)
    reason = json.loads((shared.spool / ".bad" / run / "cut.json.reason.json").read_text())
    refused = datetime.datetime.fromisoformat(reason["refused_at"]).timestamp()
    assert refused - begun >= SETTLE_MS / 1000 - 0.01


def test_an_empty_file_that_says_nothing_is_refused(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/nothing.json", "")

    told = receipt(shared, f"{run}/nothing.json")

    assert told["details"][0]["reason"] == "bad-json"


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
