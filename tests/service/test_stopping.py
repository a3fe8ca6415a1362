"""The daemon ends when it is told to, and the service manager knows how it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from support.daemons import LIVE_SIGS, Daemon, driven, live, publish, wait_until

SPOOL = '[spool]\ndir = "spool"\nsettle_ms = 100\npoll_ms = 100\n'
CONFIG = f"{LIVE_SIGS}{SPOOL}"


def open_stream(daemon: Daemon) -> socket.socket:
    address = urllib.parse.urlsplit(daemon.url)
    channel = socket.create_connection((address.hostname, address.port), 10)
    channel.sendall(b"GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert channel.recv(4096).startswith(b"HTTP/1.1 200")
    return channel


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_daemon_with_twenty_streams_open(make_daemon: Callable[..., Daemon], number: int) -> None:
    daemon = make_daemon(CONFIG).start()
    publish(daemon, "job-live", "r", live())
    channels = [open_stream(daemon) for _ in range(20)]

    code = daemon.stop(number)

    assert code == 0
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


def test_a_client_that_does_not_end_its_request_does_not_hold_up_the_stop(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG).start()
    address = urllib.parse.urlsplit(daemon.url)
    with socket.create_connection((address.hostname, address.port), 10) as channel:
        head = b"POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        channel.sendall(head + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
        assert channel.recv(4096).startswith(b"HTTP/1.1 100")
        channel.sendall(b"[")

        assert daemon.stop() == 0


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


def test_the_gap_between_two_signs_of_life_is_shorter_than_the_period_of_the_watchdog(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))
        channel.settimeout(20)
        make_daemon(CONFIG).start(env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"})
        read_all(channel)

        gaps = (gap_between_signs(channel) for _ in range(10))  # on a busy machine some are late, but none is early

        assert any(gap < 1 for gap in gaps)


def read_all(channel: socket.socket) -> None:
    """Forget what was told so far."""
    while select.select([channel], [], [], 0)[0]:
        channel.recv(4096)


def gap_between_signs(channel: socket.socket) -> float:
    """Seconds between the next sign of life and the one after it."""
    times: list[float] = []
    while len(times) < 2:
        if channel.recv(4096) == b"WATCHDOG=1":
            times.append(time.monotonic())
    return times[1] - times[0]


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
