"""Whatever happens to the daemon, a delivery takes effect exactly once, or is still where it was.

In this order: killed at the named points of a batch's life, killed at any moment, killed while the database is made,
two daemons, databases that are not ours, a full disk.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import threading
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.daemons import LIVE_SIGS, Daemon, done, driven, live, wait_until

CONFIG = f'{LIVE_SIGS}[spool]\ndir = "spool"\nsettle_ms = 50\npoll_ms = 100\n'
CRASHING = [sys.executable, str(Path(__file__).parents[1] / "support" / "crashing_daemon.py")]
PLAIN = [sys.executable, str(Path(__file__).parents[2] / "simscoped.py")]


def killed(daemon: Daemon) -> bool:
    assert daemon.process is not None
    return daemon.process.poll() == -signal.SIGKILL


def in_work(daemon: Daemon) -> list[str]:
    """What lies in the work folder, but for the lock."""
    below = os.walk(daemon.spool / ".work")
    return [name for _, folders, files in below for name in (*folders, *files) if name != ".lock"]


def waiting(daemon: Daemon) -> list[str]:
    """What lies in the spool, but for what belongs to the daemon."""
    found = []
    for folder, folders, files in os.walk(daemon.spool):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [f"{folder}/{name}" for name in files if not name.startswith(".")]
    return found


def settled(daemon: Daemon) -> bool:
    return not waiting(daemon) and not in_work(daemon)


def refused(daemon: Daemon) -> list[str]:
    bad = daemon.spool / ".bad"
    return sorted(str(path.relative_to(bad)) for path in bad.rglob("*") if path.is_file())


def count(daemon: Daemon, sql: str, *parameters: Any) -> int:
    return daemon.rows(f"SELECT count(*) FROM {sql}", *parameters)[0][0]


def assert_sound(daemon: Daemon) -> None:
    """The file is whole, and all counters say what COUNT says."""
    assert daemon.rows("PRAGMA integrity_check") == [("ok",)]
    assert daemon.rows("PRAGMA foreign_key_check") == []
    wrong = daemon.rows("""
        SELECT r.name FROM regression AS r
        WHERE r.n_pass <> (SELECT count(*) FROM job WHERE regression_id = r.id AND result = 1)
           OR r.n_fail <> (SELECT count(*) FROM job WHERE regression_id = r.id AND result = 2)
           OR r.n_live <> (SELECT count(*) FROM job WHERE regression_id = r.id AND result = 0)
    """)
    assert wrong == []


# --- killed at a named point ------------------------------------------------------------------------------------------


def drop_everything(daemon: Daemon) -> dict[str, int]:
    """Drop one file of every sort. -> name -> its messages."""
    daemon.drop("r/1/start.json", {"type": "regr-start", "regression": "r/1", "body": {"component": "cpu"}})
    for number in range(20):
        daemon.drop(f"r/1/job-{number:02}.json", live(f"job-{number:02}"))
    daemon.drop("r/1/finish.json", done("job-00", cycles=7))
    daemon.drop("r/1/beat.json", live("job-01"))
    daemon.drop("r/1/mixed.json", [live("mixed-1"), live("mixed-2", cycles="many"), live("mixed-3")])
    daemon.drop("r/1/lines.ndjson", "".join(f"{json.dumps(live(f'line-{number}'))}\n" for number in range(5)))
    daemon.drop("r/1/output.json", live("job-02", log={"lines": ["a", "b"]}))
    names = {f"r/1/job-{number:02}.json": 1 for number in range(20)} | {"r/1/output.json": 1}
    names |= {"r/1/start.json": 1, "r/1/finish.json": 1, "r/1/beat.json": 1, "r/1/mixed.json": 3, "r/1/lines.ndjson": 5}
    return names


@pytest.mark.parametrize(
    "point", ["before-commit:1", "before-commit:2", "after-commit:1", "half-settled:1", "half-settled:2"]
)
def test_a_delivery_takes_effect_once_wherever_the_daemon_is_killed(
    make_daemon: Callable[..., Daemon], point: str
) -> None:
    daemon = make_daemon(CONFIG, program=CRASHING)
    dropped = drop_everything(daemon)
    daemon.start(wait=False, env={"CRASH_AT": point})
    wait_until(lambda: killed(daemon), what=f"the daemon to be killed at {point}")
    committed = dict(daemon.rows("SELECT name, id FROM receipt"))

    daemon.program = PLAIN
    daemon.start()

    wait_until(lambda: settled(daemon), what="everything to be taken")
    told = daemon.rows("SELECT name, applied + duplicate + ignored + rejected FROM receipt ORDER BY name")
    assert told == sorted(dropped.items())
    assert committed.items() <= dict(daemon.rows("SELECT name, id FROM receipt")).items()
    assert daemon.rows("SELECT result_name, count(*) FROM jobs GROUP BY 1 ORDER BY 1") == [("live", 26), ("pass", 1)]
    told = daemon.rows("SELECT key, count(*) FROM event JOIN job ON job.id = job_id WHERE type = 'job.live' GROUP BY 1")
    assert sorted(told) == [(key, 1) for (key,) in sorted(daemon.rows("SELECT key FROM job"))]
    assert count(daemon, "event WHERE type = 'job.passed'") == 1
    assert count(daemon, "event WHERE type = 'regression.started'") == 1
    [(logged,)] = daemon.rows("SELECT id FROM job WHERE key = 'job-02'")
    assert [line["message"] for line in daemon.get(f"/jobs/{logged}/logs")["lines"]] == ["a", "b"]
    assert refused(daemon) == ["r/1/mixed.json", "r/1/mixed.json.reason.json"]
    reason = json.loads((daemon.spool / ".bad/r/1/mixed.json.reason.json").read_text())
    assert (reason["reason"], reason["path"], reason["index"]) == ("wrong-type", "$.cycles", 1)
    assert_sound(daemon)


def test_a_delivery_that_is_found_again_after_a_crash_is_no_sign_of_life(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG, program=CRASHING)
    daemon.drop("r/beat.json", live("a"))
    daemon.start(wait=False, env={"CRASH_AT": "after-commit:1"})
    wait_until(lambda: killed(daemon))
    before = daemon.rows("SELECT seen_at, seen_tick, version FROM job")
    assert in_work(daemon) != []

    daemon.program = PLAIN
    daemon.start()

    wait_until(lambda: settled(daemon))
    assert daemon.rows("SELECT seen_at, seen_tick, version FROM job") == before
    assert count(daemon, "receipt") == 1
    daemon.drop("r/beat.json", live("a"))
    wait_until(lambda: count(daemon, "receipt") == 2)
    assert daemon.rows("SELECT seen_at FROM job") > [(before[0][0],)]


def test_kept_files_are_all_kept_when_the_daemon_is_killed_between_two_of_them(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(f'{CONFIG}done = "keep"\n', program=CRASHING)
    for number in range(10):
        daemon.drop(f"r/{number}.json", live(str(number)))
    daemon.start(wait=False, env={"CRASH_AT": "half-settled:1"})
    wait_until(lambda: killed(daemon))

    daemon.program = PLAIN
    daemon.start()

    wait_until(lambda: settled(daemon))
    assert sorted(path.name for path in daemon.spool.glob(".done/*/r/*")) == [f"{number}.json" for number in range(10)]
    assert count(daemon, "receipt") == 10


def test_a_file_named_dated_and_numbered_like_one_taken_before_the_restart_is_not_taken_for_it(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(CONFIG, program=PLAIN).start()
    path = daemon.spool / "r" / "beat.json"
    hidden = daemon.folder / "beat"
    hidden.write_text(json.dumps(live("a")))
    os.utime(hidden, (1_700_000_000, 1_700_000_000))
    copy = daemon.folder / "a link keeps the inode number in use, so that the second file can have it too"
    os.link(hidden, copy)
    path.parent.mkdir()
    hidden.rename(path)
    wait_until(lambda: count(daemon, "receipt") == 1)
    wait_until(lambda: settled(daemon))
    daemon.stop()
    os.link(copy, path)

    daemon.program = CRASHING
    daemon.start(wait=False, env={"CRASH_AT": "before-commit:1"})
    wait_until(lambda: killed(daemon))
    daemon.program = PLAIN
    daemon.start()

    wait_until(lambda: settled(daemon))
    assert count(daemon, "receipt") == 2


def test_messages_that_somebody_put_into_the_work_folder_are_taken_under_the_paths_they_have_there(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(CONFIG)
    daemon.drop(".work/7/r/claimed.json", live("claimed"))
    daemon.drop(".work/flat.json", {"type": "job-live", "regression": "r", "body": live("flat")})
    daemon.drop(".work/wk/dir.json", live("dir"))
    strange = os.fsencode(daemon.spool) + b"/.work/\xff.json"
    for left in (daemon.spool / ".work" / "notes.txt", daemon.spool / ".work" / ".half.json", strange):
        Path(os.fsdecode(left)).write_text("mine")

    daemon.start()

    wait_until(lambda: count(daemon, "receipt") == 3)
    told = [name for (name,) in daemon.rows("SELECT name FROM receipt ORDER BY name")]
    assert told == ["flat.json", "r/claimed.json", "wk/dir.json"]
    assert daemon.rows("SELECT regression, key FROM jobs ORDER BY key") == [
        ("r", "claimed"),
        ("wk", "dir"),
        ("r", "flat"),
    ]
    wait_until(lambda: sorted(in_work(daemon)) == [".half.json", "notes.txt", "\udcff.json"])


@pytest.mark.parametrize("point", ["before-commit:6", "after-commit:6"])
def test_what_was_answered_over_http_is_there_after_a_crash_and_what_was_not_can_be_sent_again(
    make_daemon: Callable[..., Daemon], point: str
) -> None:
    daemon = make_daemon(CONFIG, program=CRASHING).start(env={"CRASH_AT": point})
    sent, answered = [], []
    for number in range(100):
        sent.append(f"job-{number:03}")
        try:
            status, told = daemon.post("/publish/job-live?regression=r", live(sent[-1]))
        except (urllib.error.URLError, ConnectionError):
            break
        assert (status, told["applied"]) == (200, 1)
        answered.append(sent[-1])
    wait_until(lambda: killed(daemon))

    daemon.program = PLAIN
    daemon.start()

    stored = [key for (key,) in daemon.rows("SELECT key FROM job ORDER BY id")]
    assert (len(answered), len(sent)) == (5, 6)
    assert stored == (sent if point.startswith("after") else answered)
    status, told = daemon.post("/publish/job-live?regression=r", live(sent[-1]))
    assert (status, told["applied"]) == (200, 1)
    assert [key for (key,) in daemon.rows("SELECT key FROM job ORDER BY id")] == sent
    assert count(daemon, "event WHERE type = 'job.live'") == len(sent)
    assert_sound(daemon)


# --- killed at any moment ---------------------------------------------------------------------------------------------


def test_a_burst_survives_kills_at_random_moments(make_daemon: Callable[..., Daemon]) -> None:
    seed = time.time_ns()
    print(f"random seed {seed}")
    chance = random.Random(seed)
    daemon = make_daemon(CONFIG, program=PLAIN)
    names: list[str] = []
    enough = threading.Event()

    def publish() -> None:
        for number in itertools.count():
            bad = number % 100 == 50
            names.append(f"r/{number % 7}/{number:05}")
            daemon.drop(f"{names[-1]}.json", live(names[-1], cycles="many" if bad else number))
            if enough.wait(0.001):
                return

    burst = threading.Thread(target=publish)
    burst.start()
    for started in (True, False, True, False, True):
        daemon.start(wait=started)
        time.sleep(chance.uniform(0, 0.3))
        daemon.stop(signal.SIGKILL)
    enough.set()
    burst.join()

    daemon.start()

    wait_until(lambda: settled(daemon), 20)
    bad = names[50::100]
    good = len(names) - len(bad)
    assert count(daemon, "receipt") == count(daemon, "(SELECT DISTINCT name FROM receipt)") == len(names)
    assert daemon.rows("SELECT sum(applied), sum(rejected), sum(duplicate + ignored) FROM receipt") == [
        (good, len(bad), 0)
    ]
    assert count(daemon, "job") == count(daemon, "event WHERE type = 'job.live'") == good
    assert sorted(name for name in refused(daemon) if not name.endswith(".reason.json")) == [
        f"{name}.json" for name in sorted(bad)
    ]
    assert len(refused(daemon)) == 2 * len(bad)
    assert "Traceback" not in daemon.log.read_text()
    assert_sound(daemon)


def test_a_daemon_whose_writer_is_killed_ends_and_says_so_and_nothing_is_lost(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(CONFIG).start()
    daemon.post("/publish/job-live?regression=r", live("before"))
    assert daemon.process is not None
    children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()
    for number in range(50):
        daemon.drop(f"r/{number:02}.json", live(str(number)))

    os.kill(int(children[0]), signal.SIGKILL)

    wait_until(lambda: daemon.process.poll() is not None, what="the daemon to end")
    assert daemon.process.poll() == 1
    assert "the process that writes the database is gone" in daemon.log.read_text()
    daemon.start()
    wait_until(lambda: settled(daemon))
    assert count(daemon, "job") == count(daemon, "event WHERE type = 'job.live'") == 51
    assert_sound(daemon)


# --- killed while the database is made --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prelude",
    [
        "secrets.token_hex = lambda *_: os.kill(os.getpid(), signal.SIGKILL)",
        "rooms.replace('_make_database', lambda conn: os.kill(os.getpid(), signal.SIGKILL))",
    ],
    ids=["before the first row", "before the tables"],
)
def test_a_daemon_killed_while_it_makes_the_database_starts_again(
    make_daemon: Callable[..., Daemon], tmp_path: Path, prelude: str
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", prelude)).start(wait=False)
    wait_until(lambda: daemon.process.poll() is not None)

    daemon.program = PLAIN
    daemon.start()

    assert daemon.post("/publish/job-live?regression=r", live("a"))[0] == 200


# --- two daemons, and databases that are not ours ---------------------------------------------------------------------


def refusal(daemon: Daemon, code: int) -> str:
    """Start a daemon that must not start. -> what it says, one sentence without a traceback."""
    daemon.start(wait=False)
    assert daemon.process is not None
    assert daemon.process.wait(10) == code
    said = daemon.log.read_text()
    assert "Traceback" not in said
    assert said.count("\n") == 1
    return said


def test_a_second_daemon_on_the_same_database_is_refused(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    first = make_daemon(CONFIG).start()
    impatient = driven(tmp_path / "second", "rooms.replace('LOCK_PATIENCE_S', 0.1)")
    second = make_daemon(CONFIG, folder="second", program=impatient)
    second.config.write_text(second.config.read_text().replace('"simscope.db"', f'"{first.db}"'))

    said = refusal(second, 1)

    assert f"{first.db}: another simscoped works on it" in said
    assert first.post("/publish/job-live?regression=r", live("a"))[0] == 200


def test_a_second_daemon_on_the_same_spool_is_refused(make_daemon: Callable[..., Daemon]) -> None:
    first = make_daemon(CONFIG).start()
    second = make_daemon(CONFIG, folder="second")
    second.config.write_text(second.config.read_text().replace('dir = "spool"', f'dir = "{first.spool}"'))

    said = refusal(second, 1)

    assert f"{first.spool}: another simscoped reads this spool" in said
    first.drop("r/x.json", live("a"))
    wait_until(lambda: count(first, "job") == 1)


def test_a_lock_does_not_outlive_a_daemon_that_was_killed(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG).start()
    daemon.stop(signal.SIGKILL)

    daemon.start()

    assert daemon.request("GET", "/healthz")[0] == 200


def foreign(path: Path) -> None:
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE theirs (x)")
    conn.commit()
    conn.close()


def foreign_with_id(path: Path) -> None:
    conn = sqlite3.connect(path)
    conn.executescript("PRAGMA application_id = 12345; CREATE TABLE theirs (x);")
    conn.close()


def text(path: Path) -> None:
    path.write_text("dear diary, " * 500)


def newer(path: Path) -> None:
    conn = sqlite3.connect(path)
    conn.executescript(f"PRAGMA application_id = {0x73696D73}; PRAGMA user_version = 99; CREATE TABLE job (id);")
    conn.close()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (foreign, "is a database of another program"),
        (foreign_with_id, "is a database of another program"),
        (text, "file is not a database"),
        (newer, "has schema version 99; this simscoped"),
    ],
)
def test_a_file_that_is_not_our_database_is_left_alone(
    make_daemon: Callable[..., Daemon], make: Callable[[Path], None], sentence: str
) -> None:
    daemon = make_daemon(CONFIG)
    make(daemon.db)
    before = daemon.db.read_bytes()

    said = refusal(daemon, 2)

    assert said.startswith(f"simscoped: {daemon.db}: ")
    assert sentence in said
    assert daemon.db.read_bytes() == before
    assert sorted(path.name for path in daemon.folder.glob("simscope.db*")) == ["simscope.db", "simscope.db.lock"]


@pytest.mark.parametrize(
    ("prelude", "sentence"),
    [
        ("def no(*_): raise OSError(28, 'No space left on device')\nos.open = no", "No space left on device"),
        (
            "def no(*_): raise sqlite3.OperationalError('disk I/O error')\nrooms.replace('_make_database', no)",
            "disk I/O error",
        ),
        ("rooms.replace('_make_database', lambda _: os.kill(os.getpid(), signal.SIGKILL))", "the process that writes"),
    ],
    ids=["full disk", "I/O error", "writer killed"],
)
def test_what_may_go_well_at_the_next_start_is_a_sentence_and_no_matter_of_configuration(
    make_daemon: Callable[..., Daemon], tmp_path: Path, prelude: str, sentence: str
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", prelude))

    assert sentence in refusal(daemon, 1)


def test_a_copy_of_a_database_and_its_log_left_by_a_kill_is_taken_over_whole(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(CONFIG).start()
    for number in range(20):
        daemon.post("/publish/job-live?regression=r", live(str(number)))
    daemon.stop(signal.SIGKILL)
    other = make_daemon(CONFIG, folder="other")
    for path in daemon.folder.glob("simscope.db*"):
        shutil.copy(path, other.folder)

    other.start()

    assert len(other.get("/jobs?limit=500")["items"]) == 20


# --- a full disk ------------------------------------------------------------------------------------------------------

FULL = """
def full(batch, flush=rooms.find("flush")):
    flush(batch)
    if os.path.exists("full"):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

rooms.replace("flush", full)
"""


def test_while_the_disk_is_full_requests_are_507_files_wait_and_nothing_is_refused(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", FULL)).start()
    daemon.post("/publish/job-live?regression=r", live("before"))
    (daemon.folder / "full").touch()

    status, problem, headers = daemon.request("POST", "/api/v1/publish/job-live?regression=r", live("posted"))
    health, told, _ = daemon.request("GET", "/healthz")
    for number in range(10):
        daemon.drop(f"r/{number}.json", live(str(number)))
    wait_until(lambda: list((daemon.spool / ".work").glob("*/r/*.json")), what="a file to be claimed")
    late = daemon.drop("r/late.json", live("late"))
    again = daemon.request("POST", "/api/v1/messages", {"type": "job-live", "regression": "r", "body": live("posted")})

    assert (status, problem["status"], problem["reason"]) == (507, 507, "storage")
    assert headers["content-type"].startswith("application/problem+json")
    assert (health, told["status"]) == (503, "failing")
    assert "full" in told["reasons"][0]
    assert again[0] == 507
    assert "simscoped_failing 1.0" in daemon.request("GET", "/metrics")[1]
    assert [job["uniqueid"] for job in daemon.get("/jobs")["items"]] == ["before"]
    (daemon.folder / "full").unlink()
    wait_until(lambda: settled(daemon))
    assert not late.exists()
    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 200)
    assert daemon.post("/publish/job-live?regression=r", live("posted"))[0] == 200
    assert count(daemon, "job") == 13
    assert daemon.rows("SELECT sum(rejected), sum(applied) FROM receipt") == [(0, 13)]
    assert refused(daemon) == []


def test_a_daemon_stopped_while_the_disk_is_full_stops_in_time_and_loses_nothing(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", FULL)).start()
    (daemon.folder / "full").touch()
    for number in range(10):
        daemon.drop(f"r/{number}.json", live(str(number)))
    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 503)

    begun = time.monotonic()
    code = daemon.stop()
    took = time.monotonic() - begun

    assert code == 0
    assert took < 2
    (daemon.folder / "full").unlink()
    daemon.start()
    wait_until(lambda: settled(daemon))
    assert count(daemon, "job") == count(daemon, "receipt") == 10
    assert refused(daemon) == []


OWN_MISTAKE = """
def mistaken(batch, message, applied=rooms.find("apply_message")):
    if message.key == "poison":
        raise KeyError("a mistake of ours")
    return applied(batch, message)

rooms.replace("apply_message", mistaken)
"""


def test_a_message_that_shows_a_mistake_of_ours_is_refused_alone(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", OWN_MISTAKE))
    daemon.drop("r/array.json", [live("a"), live("poison"), live("b")])
    daemon.drop("r/other.json", live("c"))

    daemon.start()

    wait_until(lambda: settled(daemon))
    assert sorted(key for (key,) in daemon.rows("SELECT key FROM job")) == ["a", "b", "c"]
    assert refused(daemon) == ["r/array.json", "r/array.json.reason.json"]
    status, problem = daemon.post("/publish/job-live?regression=r", [live("d"), live("poison")])
    assert (status, problem["applied"], problem["reason"]) == (422, 1, "internal-error")
    assert_sound(daemon)
