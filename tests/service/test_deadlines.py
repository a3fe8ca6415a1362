"""Time limits in real time: what makes them wait, what does not, and which time counts."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.daemons import LIVE_SIGS, Daemon, done, driven, live, publish, wait_until

from simscope_server import deadlines

SPOOL = '[spool]\ndir = "spool"\nsettle_ms = 100\npoll_ms = 100\n'
CONFIG = f"{LIVE_SIGS}{SPOOL}"


def hours(seconds: float) -> str:
    """autotimeouthours for so many seconds."""
    return f"[regr]\nautotimeouthours = {seconds / 3600:.9f}\n"


CLOCKS_MS = 20  # by which the wall clock, read here, may differ from that of the limits


def test_deadlines_are_acted_on_after_their_time_and_not_before(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f"{CONFIG}{hours(1.5)}").start()
    publish(daemon, "job-live", "limited", live(time_limit_ms=400))
    publish(daemon, "regr-start", "short", {"time_limit_hours": 0.7 / 3600})
    publish(daemon, "job-live", "silent", live())

    told = wait_until(lambda: (one := daemon.get("/regressions/short"))["status"] != "live" and one)
    silent = wait_until(lambda: (one := daemon.get("/regressions/silent"))["status"] != "live" and one)

    lasted = dict(daemon.rows("SELECT name, ended_at - created_at FROM regression WHERE ended_at IS NOT NULL"))
    lasted |= daemon.rows("SELECT 'job', done_at - running_at FROM job WHERE reason = 'time-limit'")
    assert lasted["job"] >= 400 - CLOCKS_MS
    assert lasted["short"] >= 700 - CLOCKS_MS
    assert lasted["silent"] >= 1500 - CLOCKS_MS
    assert (told["reason"], silent["reason"], silent["status"]) == ("time-limit", "timeout", "aborted")
    assert silent["counts"]["migrated"] == 1
    job = daemon.get("/regressions/silent/jobs")["items"][0]
    assert (job["reason"], job["signature"]["title"]) == ("timeout", "LIVE Job Timeout or Missing")
    assert "autotimeouthours" in job["fail_message"]
    assert "last sign of life" in job["fail_message"]


def test_a_disk_that_does_not_let_us_look_for_deadlines_ends_nothing(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    prelude = """
look = rooms.find("anything_due")

@functools.wraps(look)
def failing(*asked):
    if not os.path.exists("repaired"):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error
    return look(*asked)

rooms.replace("anything_due", failing)
"""
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", prelude)).start()
    told = wait_until(lambda: (answer := daemon.request("GET", "/healthz"))[0] == 503 and answer[1])
    publish(daemon, "job-live", "r", live(time_limit_ms=1))

    (daemon.folder / "repaired").touch()

    wait_until(lambda: daemon.get("/jobs/1")["reason"] == "time-limit")
    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 200)
    assert told["reasons"] == ["database: disk I/O error"]
    assert [line.partition("store: ")[2] for line in daemon.log.read_text().splitlines() if "store: " in line] == [
        "cannot look: disk I/O error",
        "can use the database again",
    ]


PATIENT = "rooms.replace('START_TIMEOUT_S', 1.5)\n"
SILENT = """
async def silent(*_, stop_event, **__):
    while not stop_event.is_set():
        await asyncio.sleep(0.02)
    return
    yield

rooms.replace("awatch", silent)
"""


@pytest.mark.parametrize("prelude", [PATIENT, PATIENT + SILENT], ids=["with events", "without events"])
def test_deadlines_are_acted_on_while_a_file_in_the_spool_keeps_growing(
    make_daemon: Callable[..., Daemon], tmp_path: Path, prelude: str
) -> None:
    config = CONFIG.replace("settle_ms = 100", "settle_ms = 3600000")
    daemon = make_daemon(config, program=driven(tmp_path / "daemon", prelude))
    path = daemon.drop("other/log.ndjson", "")
    stop = threading.Event()

    def grow() -> None:
        while not stop.wait(0.1):
            with path.open("a") as file:
                file.write(json.dumps(live()) + "\n")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        daemon.start()
        publish(daemon, "job-live", "r", live(time_limit_ms=100))

        job = wait_until(lambda: (items := daemon.get("/jobs?regression=r&result=fail")["items"]) and items[0])
    finally:
        stop.set()
        writer.join()

    assert job["reason"] == "time-limit"
    assert path.exists()


def test_deadlines_are_acted_on_while_files_keep_coming(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG)
    stop = threading.Event()

    def rain() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            daemon.drop(f"rain/{number}.json", live(str(number % 50)))

    writer = threading.Thread(target=rain)
    writer.start()
    try:
        daemon.start()
        publish(daemon, "job-live", "r", live(time_limit_ms=100))

        job = wait_until(lambda: (items := daemon.get("/jobs?regression=r&result=fail")["items"]) and items[0], 20)
    finally:
        stop.set()
        writer.join()

    assert job["reason"] == "time-limit"


UNMOVABLE = """
real = os.rename

def guarded(source, target):
    if os.path.basename(source).startswith("immovable."):
        raise PermissionError(13, "Permission denied")
    real(source, target)

os.rename = guarded
"""


@pytest.mark.parametrize("suffix", [".json", ".ndjson"])
def test_deadlines_are_acted_on_while_a_file_in_the_spool_cannot_be_moved(
    make_daemon: Callable[..., Daemon], tmp_path: Path, suffix: str
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", UNMOVABLE))
    daemon.spool.mkdir()
    (daemon.spool / f"immovable{suffix}").write_text(json.dumps(live()))
    daemon.start()
    publish(daemon, "job-live", "r", live(time_limit_ms=100))

    job = wait_until(lambda: (items := daemon.get("/jobs?regression=r&result=fail")["items"]) and items[0])

    assert job["reason"] == "time-limit"


# --- downtime ---------------------------------------------------------------------------------------------------------


def test_downtime_does_not_count_and_the_clock_goes_on_where_it_stopped(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f"{CONFIG}{hours(1.6)}").start()
    publish(daemon, "job-live", "r", live())
    daemon.stop()
    ((stopped_at, active),) = daemon.rows("SELECT tick, active_tick FROM daemon, regression")

    time.sleep(1.8)
    begun = time.monotonic()
    daemon.start()

    ended = wait_until(lambda: (one := daemon.get("/regressions/r"))["status"] != "live" and one)
    ((tick,),) = daemon.rows("SELECT tick FROM daemon")
    assert ended["reason"] == "timeout"
    assert active + 1600 <= tick
    assert stopped_at <= tick <= stopped_at + (time.monotonic() - begun) * 1000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_uptime_clock_is_saved_and_never_goes_back(make_daemon: Callable[..., Daemon], number: int) -> None:
    daemon = make_daemon(CONFIG)
    ticks = [0]
    for part in range(2):
        daemon.start()
        up = time.monotonic()
        wait_until(lambda up=up: time.monotonic() - up > 0.3)  # type: ignore[misc]
        publish(daemon, "job-live", "r", live(str(part)))
        daemon.stop(number)
        ticks.append(daemon.rows("SELECT tick FROM daemon")[0][0])

    assert all(later - earlier >= 300 for earlier, later in itertools.pairwise(ticks))
    assert daemon.rows("SELECT max(seen_tick) FROM job")[0][0] <= ticks[-1]


def test_a_kill_after_a_quiet_time_takes_no_more_than_a_second_of_uptime(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG).start()
    publish(daemon, "job-live", "r", live())
    ((before,),) = daemon.rows("SELECT seen_tick FROM job")

    wait_until(lambda: daemon.rows("SELECT tick FROM daemon")[0][0] >= before + 2000, 20)


# --- the spool that waited at the start ------------------------------------------------------------------------------


def put_forward(daemon: Daemon, left_ms: int) -> None:
    """Set the uptime clock of a stopped daemon so that its one regression has this left of an hour of silence."""
    with contextlib.closing(sqlite3.connect(daemon.db)) as conn, conn:
        conn.execute("UPDATE daemon SET tick = (SELECT active_tick FROM regression) + 3600000 - ?", (left_ms,))


SLOW_SPOOL = """
claim = rooms.find("SpoolFolder")._claim

def slow(self, found):
    time.sleep(1.2)
    return claim(self, found)

rooms.find("SpoolFolder")._claim = slow
"""
SLOW_INTAKE = """
submit = rooms.find("Intake").submit

async def slow(self, *submission):
    await asyncio.sleep(1.2)
    return await submit(self, *submission)

rooms.find("Intake").submit = slow
"""


@pytest.mark.parametrize("prelude", [SLOW_SPOOL, SLOW_INTAKE], ids=["slow to claim", "slow to apply"])
def test_the_spool_that_waited_is_drained_before_any_deadline_fires(
    make_daemon: Callable[..., Daemon], tmp_path: Path, prelude: str
) -> None:
    daemon = make_daemon(f"{CONFIG}{hours(3600)}").start()
    publish(daemon, "job-live", "r", live())
    daemon.stop()
    put_forward(daemon, 100)
    ((active,),) = daemon.rows("SELECT active_tick FROM regression")
    daemon.drop("r/beat.json", live())
    daemon.program = driven(tmp_path / "daemon", prelude)

    daemon.start()

    wait_until(lambda: daemon.rows("SELECT count(*) FROM receipt") == [(2,)])
    ((beat,),) = daemon.rows("SELECT active_tick FROM regression")
    assert beat - active > 3600000
    wait_until(lambda: daemon.rows("SELECT tick FROM daemon")[0][0] > beat + 1000)
    assert daemon.rows("SELECT count(*) FROM event WHERE type = 'regression.timed_out'") == [(0,)]
    assert daemon.get("/regressions/r")["status"] == "live"


@pytest.mark.parametrize("age", [0, 86400], ids=["new", "of yesterday"])
def test_files_that_settle_after_the_start_are_taken_before_any_deadline_fires(
    make_daemon: Callable[..., Daemon], tmp_path: Path, age: int
) -> None:
    config = f"{CONFIG.replace('settle_ms = 100', 'settle_ms = 1500')}{hours(3600)}"
    impatient = driven(tmp_path / "daemon", "rooms.replace('START_TIMEOUT_S', 0.1)\n")
    daemon = make_daemon(config, program=impatient).start()
    publish(daemon, "job-live", "r", live())
    daemon.stop()
    put_forward(daemon, 100)
    told = [{"type": "job-finish", "regression": "r", "body": done()}, {"type": "regr-finish", "regression": "r"}]
    hidden = daemon.drop(".end.ndjson", "\n".join(map(json.dumps, told)))
    os.utime(hidden, (time.time() - age,) * 2)
    hidden.rename(hidden.with_name("end.ndjson"))

    daemon.start()

    ended = wait_until(lambda: (one := daemon.get("/regressions/r"))["status"] != "live" and one)
    assert (ended["status"], ended["reason"]) == ("complete", "finish")
    assert daemon.rows("SELECT count(*) FROM event WHERE type = 'regression.timed_out'") == [(0,)]
    wait_until(lambda: not hidden.with_name("end.ndjson").exists())


FEW_AT_ONCE = """
rooms.replace("SCAN_FILES", 2)
scan, scans = rooms.find("SpoolFolder").scan, []

def hesitating(self):
    if scans:
        time.sleep(0.7)
    scans.append(self)
    return scan(self)

rooms.find("SpoolFolder").scan = hesitating
"""


def test_no_deadline_fires_between_two_scans_of_a_spool_with_more_files_than_one_scan_lists(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", FEW_AT_ONCE))
    files = [live("a", time_limit_ms=1), live("b", time_limit_ms=1), done("a"), live("c", time_limit_ms=1)]
    for number, content in enumerate([*files, [done("b"), done("c")]]):
        os.utime(daemon.drop(f"r/{number}.json", content), (1_700_000_000 + number,) * 2)

    daemon.start()

    wait_until(lambda: daemon.rows("SELECT count(*) FROM jobs WHERE result_name = 'pass'") == [(3,)], 20)
    assert daemon.rows("SELECT count(*) FROM event WHERE type = 'job.timed_out'") == [(0,)]
    publish(daemon, "job-live", "r", live("d", time_limit_ms=1))
    wait_until(lambda: daemon.rows("SELECT count(*) FROM event WHERE type = 'job.timed_out'") == [(1,)])


# --- days of kept files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "kept"), [(7, 7), (0.5, 0), (0, 0), (1, 1)])
def test_kept_files_of_exactly_so_many_days_ago_stay_and_older_ones_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: float, kept: int
) -> None:
    noon = datetime.datetime(2026, 6, 15, 12)
    monkeypatch.setattr(deadlines, "time", SimpleNamespace(**vars(time) | {"time": noon.timestamp}))
    for ago in range(10):
        (tmp_path / f"{(noon - datetime.timedelta(ago)).date()}" / "r").mkdir(parents=True)
    for number in range(10, 30):
        (tmp_path / f"2026-04-{number}").write_text("a file, which cannot be removed as a folder")
    others = ["2026-06", "2026-06-01-old", "x2026-06-01", "0000-00-0x"]
    for name in others:
        (tmp_path / name).mkdir()

    deadlines.remove_old_days(str(tmp_path), days)

    left = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert left == {*others, *(f"{(noon - datetime.timedelta(ago)).date()}" for ago in range(kept + 1))}
