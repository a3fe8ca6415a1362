"""The daemon as a service, and its commands.

In this order: stopping, the service manager, time limits in real time, downtime, snapshot, receipt, check-config, the
command line.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.daemons import LIVE_SIGS, ROOT, Daemon, done, driven, live, publish, wait_until

import simscoped
from simscope_server.program import __version__

SPOOL = '[spool]\ndir = "spool"\nsettle_ms = 100\npoll_ms = 100\n'
CONFIG = f"{LIVE_SIGS}{SPOOL}"


def hours(seconds: float) -> str:
    """autotimeouthours for so many seconds."""
    return f"[regr]\nautotimeouthours = {seconds / 3600:.9f}\n"


def command(daemon: Daemon, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "simscoped.py"), *map(str, arguments)]
    if "--config" not in arguments:
        line += ["--config", str(daemon.config)]
    return subprocess.run(line, capture_output=True, text=True, timeout=20, cwd=cwd)


class Here:
    """Runs commands in this process, which takes no time. Only those that end by themselves."""

    def __init__(self, daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
        self.daemon = daemon
        self.capsys = capsys

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        line = [*map(str, arguments)]
        if "--config" not in line:
            line += ["--config", str(self.daemon.config)]
        try:
            code = simscoped.main(line)
        except SystemExit as ended:
            code = int(str(ended.code))
        said = self.capsys.readouterr()
        return subprocess.CompletedProcess(line, code, said.out, said.err)


def sentence(ended: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """Check that a command ended with an exit code and one sentence. -> it."""
    assert "Traceback" not in ended.stderr
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (code, "", 1)
    return ended.stderr


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that runs, with a good and a bad delivery behind it."""
    daemon = Daemon(tmp_path_factory.mktemp("service"), CONFIG).start()
    daemon.drop("r/good.json", live())
    daemon.drop("r/bad.json", live(cycles="many"))
    wait_until(lambda: daemon.rows("SELECT count(*) FROM receipt") == [(2,)])
    yield daemon
    daemon.stop()


@pytest.fixture
def here(shared: Daemon, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(shared, capsys)


# --- stopping ---------------------------------------------------------------------------------------------------------


def open_stream(daemon: Daemon) -> socket.socket:
    address = urllib.parse.urlsplit(daemon.url)
    channel = socket.create_connection((address.hostname, address.port), 10)
    channel.sendall(b"GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert channel.recv(4096).startswith(b"HTTP/1.1 200")
    return channel


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_daemon_within_a_second_with_twenty_streams_open(
    make_daemon: Callable[..., Daemon], number: int
) -> None:
    daemon = make_daemon(CONFIG).start()
    publish(daemon, "job-live", "r", live())
    channels = [open_stream(daemon) for _ in range(20)]
    begun = time.monotonic()

    code = daemon.stop(number)

    assert (code, time.monotonic() - begun < 1) == (0, True)
    for channel in channels:
        channel.close()
    log = daemon.log.read_text()
    assert log.rstrip().endswith("service: stopped")
    assert "ERROR" not in log
    assert daemon.rows("SELECT count(*) FROM job") == [(1,)]


def test_a_request_that_was_taken_is_answered_before_the_daemon_ends(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG).start()
    answers: list[int] = []

    def write() -> None:
        with contextlib.suppress(OSError):
            while True:
                body = [live(f"{len(answers)}-{number}") for number in range(200)]
                answers.append(daemon.post("/publish/batch-job-live?regression=r", body)[0])

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: len(answers) > 3)

    code = daemon.stop()

    writer.join(10)
    assert code == 0
    assert set(answers) == {200}
    assert daemon.rows("SELECT count(*) FROM job")[0][0] >= 200 * len(answers)


HELD = """
real = rooms.find("SpoolFolder")._claim

def held(self, found):
    open("claiming", "w").close()
    while os.path.exists("held"):
        time.sleep(0.02)
    return real(self, found)

rooms.find("SpoolFolder")._claim = held
"""


def test_the_spool_is_nobody_elses_while_a_thread_of_a_stopped_daemon_may_still_move_its_files(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", HELD)).start()
    (daemon.folder / "held").touch()
    daemon.drop("r/x.json", live())
    wait_until((daemon.folder / "claiming").exists)
    assert daemon.process is not None

    daemon.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "service: stopped" in daemon.log.read_text())

    with (daemon.spool / ".work" / ".lock").open("a") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (daemon.folder / "held").unlink()
        assert daemon.process.wait(10) == 0
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


# --- the service manager ----------------------------------------------------------------------------------------------


def test_the_service_manager_is_told_of_start_stop_and_life(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))
        channel.settimeout(10)
        daemon = make_daemon(CONFIG)
        daemon.start(wait=False, env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"})
        said: list[str] = []
        while sum("WATCHDOG=1" in each for each in said) < 4 or not any("READY=1" in each for each in said):
            said.append(channel.recv(4096).decode())
        assert daemon.process is not None

        daemon.process.send_signal(signal.SIGTERM)
        while "STOPPING=1" not in said[-1]:
            said.append(channel.recv(4096).decode())

        assert daemon.process.wait(10) == 0
    ready = next(each for each in said if "READY=1" in each).splitlines()
    address = re.search(r"on (http://\S+)", daemon.log.read_text())
    assert address is not None
    assert ready == ["READY=1", f"STATUS=page at {address[1]}"]
    assert not any("STOPPING" in each for each in said[:-1])


def test_an_abstract_socket_of_the_service_manager_is_told_too(make_daemon: Callable[..., Daemon]) -> None:
    name = f"simscoped-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0{name}")
        channel.settimeout(10)

        make_daemon(CONFIG).start(wait=False, env={"NOTIFY_SOCKET": f"@{name}"})

        assert channel.recv(4096).startswith(b"READY=1")


WEDGED = """
real = rooms.find("apply_deliveries")

def wedged(*args, **kwargs):
    while os.path.exists("wedged"):
        time.sleep(0.02)
    return real(*args, **kwargs)

rooms.replace("apply_deliveries", wedged)
"""


def test_a_writer_that_hangs_is_not_hidden_from_the_watchdog(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))
        daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", WEDGED))
        daemon.start(env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "100000"})
        (daemon.folder / "wedged").touch()
        daemon.drop("r/x.json", live())
        wait_until(lambda: not (daemon.spool / "r" / "x.json").exists())
        channel.settimeout(0.5)

        with pytest.raises(TimeoutError):
            for _ in range(1000):
                channel.recv(4096)

        (daemon.folder / "wedged").unlink()
        channel.settimeout(10)
        assert channel.recv(4096) == b"WATCHDOG=1"


# --- time limits in real time -----------------------------------------------------------------------------------------


def since(daemon: Daemon, begun: float, kind: str) -> float:
    """Seconds from a moment to the first event of a type, by the daemon's clock."""
    (at,) = wait_until(lambda: daemon.rows("SELECT min(at) FROM event WHERE type = ? HAVING min(at)", kind))[0]
    return at / 1000 - begun


def test_deadlines_are_acted_on_within_a_second(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f"{CONFIG}{hours(1.5)}").start()
    publish(daemon, "job-live", "limited", live(time_limit_ms=400))
    publish(daemon, "regr-start", "short", {"time_limit_hours": 0.7 / 3600})
    begun = time.time()
    publish(daemon, "job-live", "silent", live())

    by_job = since(daemon, begun, "job.timed_out")
    told = wait_until(lambda: (one := daemon.get("/regressions/short"))["status"] != "live" and one)
    silent = wait_until(lambda: (one := daemon.get("/regressions/silent"))["status"] != "live" and one)

    assert 0.3 < by_job < 1.5
    ended = {
        name: at / 1000 - begun
        for name, at in daemon.rows("SELECT name, ended_at FROM regression WHERE ended_at IS NOT NULL")
    }
    assert 0.6 < ended["short"] < 1.8
    assert 1.4 < ended["silent"] < 2.6
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


PATIENT = "rooms.replace('START_PATIENCE_S', 1.5)\n"
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
    config = CONFIG.replace("settle_ms = 100", "settle_ms = 2000")
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

        job = wait_until(lambda: (items := daemon.get("/jobs?regression=r&result=fail")["items"]) and items[0], 4)
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

        job = wait_until(lambda: (items := daemon.get("/jobs?regression=r&result=fail")["items"]) and items[0], 15)
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

    job = wait_until(lambda: (items := daemon.get("/jobs?regression=r&result=fail")["items"]) and items[0], 4)

    assert job["reason"] == "time-limit"


# --- downtime ---------------------------------------------------------------------------------------------------------


def test_downtime_does_not_count_and_the_clock_goes_on_where_it_stopped(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f"{CONFIG}{hours(1.6)}").start()
    publish(daemon, "job-live", "r", live())
    daemon.stop()
    (stopped_at,) = daemon.rows("SELECT tick FROM daemon")[0]

    time.sleep(1.8)
    daemon.start()

    time.sleep(0.55)  # a look or two at the deadlines
    assert daemon.get("/regressions/r")["status"] == "live"
    (tick,) = daemon.rows("SELECT tick FROM daemon")[0]
    assert stopped_at <= tick < stopped_at + 1600
    ended = wait_until(lambda: (one := daemon.get("/regressions/r"))["status"] != "live" and one)
    assert ended["reason"] == "timeout"


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

    wait_until(lambda: daemon.rows("SELECT tick FROM daemon")[0][0] >= before + 2000, 7)


SLOW_SPOOL = """
claim = rooms.find("SpoolFolder")._claim

def slow(self, found):
    time.sleep(1.2)
    return claim(self, found)

rooms.find("SpoolFolder")._claim = slow
"""


def test_the_spool_that_waited_is_drained_before_any_deadline_fires(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(f"{CONFIG}{hours(1)}").start()
    publish(daemon, "job-live", "r", live())
    daemon.stop()
    (tick, active) = daemon.rows("SELECT tick, active_tick FROM daemon, regression")[0]
    assert tick - active < 1000
    daemon.drop("r/beat.json", live())
    daemon.program = driven(tmp_path / "daemon", SLOW_SPOOL)

    daemon.start()

    wait_until(lambda: daemon.rows("SELECT count(*) FROM receipt") == [(2,)])
    (beat,) = daemon.rows("SELECT active_tick FROM regression")[0]
    assert beat - active > 1000
    assert daemon.rows("SELECT count(*) FROM event WHERE type = 'regression.timed_out'") == [(0,)]
    assert daemon.get("/regressions/r")["status"] == "live"
    ended = wait_until(lambda: (one := daemon.get("/regressions/r"))["status"] != "live" and one)
    assert ended["reason"] == "timeout"


@pytest.mark.parametrize("age", [0, 86400], ids=["new", "of yesterday"])
def test_files_that_settle_after_the_start_are_taken_before_any_deadline_fires(
    make_daemon: Callable[..., Daemon], tmp_path: Path, age: int
) -> None:
    config = f"{CONFIG.replace('settle_ms = 100', 'settle_ms = 2500')}{hours(1)}"
    impatient = driven(tmp_path / "daemon", "rooms.replace('START_PATIENCE_S', 0.1)\n")
    daemon = make_daemon(config, program=impatient).start()
    publish(daemon, "job-live", "r", live())
    daemon.stop()
    told = [{"type": "job-finish", "regression": "r", "body": done()}, {"type": "regr-finish", "regression": "r"}]
    hidden = daemon.drop(".end.ndjson", "\n".join(map(json.dumps, told)))
    os.utime(hidden, (time.time() - age,) * 2)
    hidden.rename(hidden.with_name("end.ndjson"))

    daemon.start()

    ended = wait_until(lambda: (one := daemon.get("/regressions/r"))["status"] != "live" and one)
    assert (ended["status"], ended["reason"]) == ("complete", "finish")
    assert daemon.rows("SELECT count(*) FROM event WHERE type = 'regression.timed_out'") == [(0,)]
    wait_until(lambda: not hidden.with_name("end.ndjson").exists())


# --- snapshot ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_a_whole_copy_taken_while_the_daemon_writes(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG).start()
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            jobs = [live(f"{number}-{each}", log={"lines": ["x"]}) for each in range(50)]
            daemon.post("/publish/batch-job-live?regression=r", jobs)

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: daemon.rows("SELECT count(*) FROM job")[0][0] > 100)
    target = tmp_path / "copy.db"

    ended = command(daemon, "snapshot", target)

    stop.set()
    writer.join()
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{target}\n{target}.logs\n", "")
    assert sorted(path.name for path in tmp_path.glob("copy.db*")) == ["copy.db", "copy.db.logs"]
    copy = sqlite3.connect(f"file:{target}?mode=ro", uri=True)
    assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    (counted, stored) = copy.execute("SELECT n_live, (SELECT count(*) FROM job) FROM regressions").fetchone()
    assert counted == stored > 100
    assert stored % 50 == 0
    logs = sqlite3.connect(f"file:{target}.logs?mode=ro", uri=True)
    copied = {log for (log,) in logs.execute("SELECT log FROM log_line WHERE number = 0 AND message = 'x'")}
    told = {log for (log,) in copy.execute("SELECT id FROM log WHERE (first_offset, next_offset) = (0, 1)")}
    assert len(told) == stored and told <= copied
    copy.close()
    logs.close()


@pytest.mark.parametrize("name", ["copy.db", "copy.db.logs"])
def test_a_snapshot_overwrites_nothing(shared: Daemon, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")

    ended = command(shared, "snapshot", tmp_path / "copy.db")

    assert f"{tmp_path / name}: is there already" in sentence(ended)
    assert {path.name: path.read_text() for path in tmp_path.glob("copy*")} == {name: "precious"}


def test_a_snapshot_that_fails_leaves_nothing_and_one_that_was_interrupted_is_no_matter(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG).start()
    publish(daemon, "job-live", "r", live(log={"lines": ["one", "two"]}))
    daemon.stop()
    target, logs = tmp_path / "copy.db", Path(f"{daemon.db}.logs")
    whole = logs.read_bytes()
    logs.write_text("broken " * 1000)
    (tmp_path / "copy.db.part").write_text("half of one " * 1000)

    failed = command(daemon, "snapshot", target)
    left = list(tmp_path.glob("copy*"))
    logs.write_bytes(whole)
    again = command(daemon, "snapshot", target)

    assert f"{target}: the snapshot cannot be written: " in sentence(failed, 1)
    assert (left, again.returncode) == ([], 0)
    other = make_daemon(CONFIG, folder="other")
    target.rename(other.db)
    (tmp_path / "copy.db.logs").rename(f"{other.db}.logs")
    assert [line["message"] for line in other.start().get("/jobs/1/logs")["lines"]] == ["one", "two"]


def test_a_snapshot_of_a_daemon_that_does_not_run(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = make_daemon(CONFIG).start()
    publish(daemon, "job-live", "r", live())
    daemon.stop()

    ended = command(daemon, "snapshot", tmp_path / "copy.db")

    assert ended.returncode == 0
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("SELECT key FROM job").fetchall() == [("a",)]
    copy.close()


def test_a_snapshot_that_cannot_be_written_is_a_sentence(shared: Daemon, tmp_path: Path) -> None:
    ended = command(shared, "snapshot", tmp_path / "no such folder" / "copy.db")

    assert "no such folder" in sentence(ended, 1)


def test_a_snapshot_without_a_database_is_a_sentence_and_makes_none(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG)

    ended = command(daemon, "snapshot", tmp_path / "copy.db")

    assert f"{daemon.db}: cannot be read" in sentence(ended)
    assert not daemon.db.exists()
    assert not (tmp_path / "copy.db").exists()


# --- receipt ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "rejected"), [("r/good.json", 0, 0), ("r/bad.json", 1, 1)], ids=["good", "refused"]
)
def test_receipt_tells_what_became_of_a_file(shared: Daemon, here: Here, name: str, code: int, rejected: int) -> None:
    ended = here("receipt", name)

    told = json.loads(ended.stdout)
    assert (ended.returncode, ended.stderr) == (code, "")
    assert (told["name"], told["messages"], told["rejected"]) == (name, 1, rejected)
    assert told == shared.get(f"/receipts?name={name}")["items"][0]


def test_receipt_of_a_file_that_was_not_taken_says_no(here: Here) -> None:
    ended = here("receipt", "r/unknown.json")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "no receipt for 'r/unknown.json'" in ended.stderr


def test_receipt_without_a_database_is_a_sentence(make_daemon: Callable[..., Daemon]) -> None:
    ended = command(make_daemon(CONFIG), "receipt", "x")

    assert "cannot be read" in sentence(ended)


# --- check-config -----------------------------------------------------------------------------------------------------


def test_check_config_of_a_good_file_says_so_and_touches_nothing(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG)

    ended = command(daemon, "check-config")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"{daemon.config}: good; listens on 127.0.0.1:0")
    assert [path.name for path in daemon.folder.iterdir()] == ["simscope.config"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server\n", "not TOML"),
        ("[sevrer]\n", "unknown section [sevrer]"),
        ('[server]\nlisten = "8040"\n', ':2: [server] listen = "8040" is not accepted; it takes'),
        ("[spool]\n\npol_ms = 5\n", ":3: unknown key 'pol_ms' in [spool]"),
        ("[spool]\nsettle_ms = 1.5\n", ":2: [spool] settle_ms = 1.5 is not accepted"),
        ("[regr]\nautotimeouthours = -1\n", ":2: [regr] autotimeouthours = -1 is not accepted"),
        (
            '[sigs]\nenablelivejobs = "yes"\n',
            ':2: [sigs] enablelivejobs = "yes" is not accepted; it takes true or false',
        ),
        ('[server]\nlisten = "0.0.0.0:8040"\n', "needs a [server] token"),
    ],
)
def test_check_config_of_a_bad_file_names_the_place_and_what_is_accepted(
    here: Here, tmp_path: Path, text: str, said: str
) -> None:
    config = tmp_path / "simscope.config"
    config.write_text(text)

    for name in ("check-config", "serve"):
        told = sentence(here(name, "--config", config))

        assert told.startswith(f"simscoped: {config}")
        assert said in told


# --- the command line -------------------------------------------------------------------------------------------------


def test_version_is_told(shared: Daemon) -> None:
    ended = command(shared, "--version")

    assert (ended.returncode, ended.stdout) == (0, f"simscoped {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["snapshot"], ["receipt"], ["serve", "--nothing"], ["check-config", "more"]],
    ids=" ".join,
)
def test_usage_that_cannot_be_is_exit_code_2(here: Here, arguments: list[str]) -> None:
    ended = here(*arguments)

    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: simscoped")


@pytest.mark.parametrize("arguments", [["serve"], ["check-config"], ["requeue"], ["snapshot", "x"], ["receipt", "x"]])
def test_a_configuration_that_is_not_there_is_a_sentence(here: Here, tmp_path: Path, arguments: list[str]) -> None:
    ended = here(*arguments, "--config", tmp_path / "nothing.config")

    assert f"{tmp_path}/nothing.config: there is no such configuration file" in sentence(ended)


def test_the_configuration_is_looked_for_here_and_may_be_named_before_the_command(shared: Daemon) -> None:
    line = [sys.executable, str(ROOT / "simscoped.py")]
    ways = (["check-config"], ["--config", str(shared.config), "check-config"])

    ended = [subprocess.run([*line, *way], capture_output=True, text=True, cwd=shared.folder) for way in ways]

    assert [each.returncode for each in ended] == [0, 0]


def test_an_address_that_is_taken_is_a_sentence(shared: Daemon, make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG)
    taken = urllib.parse.urlsplit(shared.url).netloc
    daemon.config.write_text(daemon.config.read_text().replace("127.0.0.1:0", taken))

    ended = command(daemon, "serve")

    assert f"{daemon.config}:2: [server] listen = {taken}: " in sentence(ended, 1)


NAME_SERVER = """
import asyncio, socket

def slow():
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return "named.lab"
    raise AssertionError("everybody waits for the name server")

socket.getfqdn = slow
"""


def test_a_slow_name_server_is_asked_before_anybody_waits_for_an_answer(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", NAME_SERVER)).start()

    assert daemon.request("GET", "/healthz", headers={"Host": "named.lab"})[0] == 200


def test_livetimeoutsignature_without_live_jobs_is_a_warning_at_start(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon('[sigs]\nlivetimeoutsignature = "LIVE"\n').start()

    told = daemon.post("/publish/job-live?regression=r", live())[1]

    assert "WARNING config: livetimeoutsignature has no effect without enablelivejobs" in daemon.log.read_text()
    assert (told["ignored"], told["details"][0]["reason"]) == (1, "live-disabled")
    assert told["details"][0]["warnings"] != []
    assert daemon.get("/jobs")["items"] == []


def test_the_environment_overrides_listen_db_and_token(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = make_daemon(CONFIG)
    env = {"SIMSCOPE_LISTEN": "[::1]:0", "SIMSCOPE_DB": str(tmp_path / "other.db"), "SIMSCOPE_TOKEN": "s3cret"}

    daemon.start(env=env)

    assert daemon.url.startswith("http://[::1]:")
    assert (tmp_path / "other.db").exists()
    assert not daemon.db.exists()
    assert daemon.post("/publish/job-live?regression=r", live())[0] == 401
