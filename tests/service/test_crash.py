"""Whatever happens to the daemon, a delivery takes effect exactly once, or is still where it was.

In this order: killed at the named points of a batch's life, killed at any moment, killed while the database is made.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import threading
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest
from support.daemons import LIVE_SIGS, Daemon, done, driven, live, wait_until
from support.spools import all_taken, assert_sound, counted, in_work, refused

CONFIG = f'{LIVE_SIGS}[spool]\ndir = "spool"\nsettle_ms = 50\npoll_ms = 100\n'
CRASHING = [sys.executable, str(Path(__file__).parents[1] / "support" / "crashing_daemon.py")]
PLAIN = [sys.executable, str(Path(__file__).parents[2] / "simscoped.py")]


def killed(daemon: Daemon) -> bool:
    assert daemon.process is not None
    return daemon.process.poll() == -signal.SIGKILL


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
    "point", ["before-commit:1", "before-commit:2", "after-commit:1", "half-cleared:1", "half-cleared:2"]
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

    wait_until(lambda: all_taken(daemon), what="everything to be taken")
    told = daemon.rows("SELECT name, applied + duplicate + ignored + rejected FROM receipt ORDER BY name")
    assert told == sorted(dropped.items())
    assert committed.items() <= dict(daemon.rows("SELECT name, id FROM receipt")).items()
    assert daemon.rows("SELECT result_name, count(*) FROM jobs GROUP BY 1 ORDER BY 1") == [("live", 26), ("pass", 1)]
    told = daemon.rows("SELECT key, count(*) FROM event JOIN job ON job.id = job_id WHERE type = 'job.live' GROUP BY 1")
    assert sorted(told) == [(key, 1) for (key,) in sorted(daemon.rows("SELECT key FROM job"))]
    assert counted(daemon, "event WHERE type = 'job.passed'") == 1
    assert counted(daemon, "event WHERE type = 'regression.started'") == 1
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

    wait_until(lambda: all_taken(daemon))
    assert daemon.rows("SELECT seen_at, seen_tick, version FROM job") == before
    assert counted(daemon, "receipt") == 1
    daemon.drop("r/beat.json", live("a"))
    wait_until(lambda: counted(daemon, "receipt") == 2)
    assert daemon.rows("SELECT seen_at FROM job") > [(before[0][0],)]


def test_kept_files_are_all_kept_when_the_daemon_is_killed_between_two_of_them(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(f'{CONFIG}done = "keep"\n', program=CRASHING)
    for number in range(10):
        daemon.drop(f"r/{number}.json", live(str(number)))
    daemon.start(wait=False, env={"CRASH_AT": "half-cleared:1"})
    wait_until(lambda: killed(daemon))

    daemon.program = PLAIN
    daemon.start()

    wait_until(lambda: all_taken(daemon))
    assert sorted(path.name for path in daemon.spool.glob(".done/*/r/*")) == [f"{number}.json" for number in range(10)]
    assert counted(daemon, "receipt") == 10


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
    wait_until(lambda: counted(daemon, "receipt") == 1)
    wait_until(lambda: all_taken(daemon))
    daemon.stop()
    os.link(copy, path)

    daemon.program = CRASHING
    daemon.start(wait=False, env={"CRASH_AT": "before-commit:1"})
    wait_until(lambda: killed(daemon))
    daemon.program = PLAIN
    daemon.start()

    wait_until(lambda: all_taken(daemon))
    assert counted(daemon, "receipt") == 2


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

    wait_until(lambda: counted(daemon, "receipt") == 3)
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
    assert counted(daemon, "event WHERE type = 'job.live'") == len(sent)
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

    wait_until(lambda: all_taken(daemon), 20)
    bad = names[50::100]
    good = len(names) - len(bad)
    assert counted(daemon, "receipt") == counted(daemon, "(SELECT DISTINCT name FROM receipt)") == len(names)
    assert daemon.rows("SELECT sum(applied), sum(rejected), sum(duplicate + ignored) FROM receipt") == [
        (good, len(bad), 0)
    ]
    assert counted(daemon, "job") == counted(daemon, "event WHERE type = 'job.live'") == good
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

    assert daemon.process.wait(10) == 1
    assert "the process that writes the database is gone" in daemon.log.read_text()
    daemon.start()
    wait_until(lambda: all_taken(daemon))
    assert counted(daemon, "job") == counted(daemon, "event WHERE type = 'job.live'") == 51
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
    assert daemon.process is not None
    assert daemon.process.wait(10) == 1

    daemon.program = PLAIN
    daemon.start()

    assert daemon.post("/publish/job-live?regression=r", live("a"))[0] == 200
