"""A full disk, and mistakes of ours: nothing is lost, and the others are served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.daemons import LIVE_SIGS, Daemon, driven, live, wait_until
from support.spools import all_taken, assert_sound, counted, refused

CONFIG = f'{LIVE_SIGS}[spool]\ndir = "spool"\nsettle_ms = 50\npoll_ms = 100\n'


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
    wait_until(lambda: all_taken(daemon))
    assert not late.exists()
    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 200)
    assert daemon.post("/publish/job-live?regression=r", live("posted"))[0] == 200
    assert counted(daemon, "job") == 13
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

    assert daemon.stop() == 0

    (daemon.folder / "full").unlink()
    daemon.start()
    wait_until(lambda: all_taken(daemon))
    assert counted(daemon, "job") == counted(daemon, "receipt") == 10
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

    wait_until(lambda: all_taken(daemon))
    assert sorted(key for (key,) in daemon.rows("SELECT key FROM job")) == ["a", "b", "c"]
    assert refused(daemon) == ["r/array.json", "r/array.json.reason.json"]
    status, problem = daemon.post("/publish/job-live?regression=r", [live("d"), live("poison")])
    assert (status, problem["applied"], problem["reason"]) == (422, 1, "internal-error")
    assert_sound(daemon)
