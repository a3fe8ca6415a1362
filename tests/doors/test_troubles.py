"""Troubles of the file system: what cannot be read, moved, listed, watched or written."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.daemons import LIVE_SIGS, Daemon, driven, live, wait_until
from support.spools import SPOOL, in_work, receipt, receipts, refused, results, skipped

CONFIG = SPOOL


SOON_AT_REST = "rooms.replace('AWAKE_FOR_S', 0.1)\n"


SILENT = """
async def silent(*_, stop_event, **__):
    while not stop_event.is_set():
        await asyncio.sleep(0.02)
    return
    yield

rooms.replace("awatch", silent)
"""


TELLS_OF_SCANS = """
pause, scan = rooms.find("Spool")._sleep_until_news, rooms.find("SpoolFolder").scan

async def resting(self):
    open("resting", "w").close()
    await pause(self)

def scanning(self):
    if os.path.exists("resting"):
        with open("scans", "a") as file:
            print(time.monotonic(), file=file)
    return scan(self)

rooms.find("Spool")._sleep_until_news, rooms.find("SpoolFolder").scan = resting, scanning
"""


def test_files_are_found_on_a_file_system_without_events(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    config = f'{LIVE_SIGS}[spool]\ndir = "spool"\npoll_ms = 100\n'
    prelude = SOON_AT_REST + TELLS_OF_SCANS + SILENT
    daemon = make_daemon(config, program=driven(tmp_path / "daemon", prelude)).start()
    wait_until((daemon.folder / "resting").exists)

    daemon.drop("r/x.json", live("x"))

    receipt(daemon, "r/x.json")
    assert results(daemon, "r") == {"x": "live"}


def pauses(daemon: Daemon) -> list[float]:
    """Seconds between the scans of a daemon that rests; waits for some."""
    scans = daemon.folder / "scans"
    wait_until(lambda: scans.exists() and len(scans.read_text().splitlines()) > 3, what="scans")
    times = [float(line) for line in scans.read_text().splitlines()]
    return [later - earlier for earlier, later in itertools.pairwise(times)]


UNWATCHABLE = """
async def broken(*_, **__):
    raise OSError(errno.ENOSPC, "inotify watch limit reached")
    yield

rooms.replace("awatch", broken)
"""


def test_where_no_watch_can_be_set_the_spool_is_listed_every_poll_ms_and_not_all_the_time(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    config = f'{LIVE_SIGS}[spool]\ndir = "spool"\npoll_ms = 200\n'
    prelude = SOON_AT_REST + TELLS_OF_SCANS + UNWATCHABLE
    daemon = make_daemon(config, program=driven(tmp_path / "daemon", prelude)).start()

    assert min(pauses(daemon)) > 0.19

    said = [line for line in daemon.log.read_text().splitlines() if "no file-system events" in line]
    assert [line.partition("the folder is ")[2] for line in said] == [
        "listed every 200 ms: inotify watch limit reached"
    ]


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
    assert (told["details"][0]["reason"], told["details"][0]["detail"]) == ("unreadable", "Permission denied")
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
    wait_until(lambda: in_work(daemon) == [])


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


LOOKS_FOR_NAMES_TOGETHER = """
import threading
rooms.replace("CHUNK_FILES", 1)
is_free, together = rooms.find("_is_free"), threading.Barrier(2)

def looking(path):
    free = is_free(path)
    try:
        together.wait(1)
    except threading.BrokenBarrierError:
        pass
    return free

rooms.replace("_is_free", looking)
"""


def test_two_refused_files_of_one_name_do_not_overwrite_one_another_when_they_come_in_two_chunks(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(program=driven(tmp_path / "daemon", LOOKS_FOR_NAMES_TOGETHER))
    for number in (1, 2):
        daemon.drop(f".work/{number}/r/x.json", [number])

    daemon.start()

    wait_until(lambda: len(receipts(daemon, "r/x.json")) == 2 and in_work(daemon) == [])
    kept = [path for path in (daemon.spool / ".bad" / "r").iterdir() if not path.name.endswith(".reason.json")]
    assert sorted(path.read_text() for path in kept) == ["[1]", "[2]"]
    assert all(Path(f"{path}.reason.json").exists() for path in kept)


NO_REASONS = """
import builtins
real_open = builtins.open

def guarded(path, *args, **kwargs):
    if str(path).endswith(".reason.json") and os.path.exists("full"):
        raise OSError(errno.ENOSPC, "No space left on device")
    return real_open(path, *args, **kwargs)

builtins.open = guarded
"""


def test_a_refused_file_whose_reasons_cannot_be_written_stays_where_it_is_until_they_can(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(program=driven(tmp_path / "daemon", NO_REASONS)).start()
    (daemon.folder / "full").touch()
    daemon.drop("r/x.json", [1])
    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 503)
    assert (refused(daemon), [name for name in in_work(daemon) if name.endswith(".json")]) == ([], ["x.json"])

    (daemon.folder / "full").unlink()

    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 200)
    assert refused(daemon) == ["r/x.json", "r/x.json.reason.json"]


KILLED_AT_THE_RENAME = """
real_rename = os.rename

def killed(source, target):
    if "/.bad/" in target and os.environ["KILLED"] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    real_rename(source, target)
    if "/.bad/" in target:
        os.kill(os.getpid(), signal.SIGKILL)

os.rename = killed
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_refused_file_is_without_its_reasons_when_the_daemon_is_killed_as_it_is_moved(
    make_daemon: Callable[..., Daemon], tmp_path: Path, when: str
) -> None:
    daemon = make_daemon()
    plain = daemon.program
    daemon.drop("r/x.json", [1])
    daemon.program = driven(tmp_path / "daemon", KILLED_AT_THE_RENAME)
    daemon.start(wait=False, env={"KILLED": when})
    wait_until(lambda: daemon.process is not None and daemon.process.poll() is not None)

    daemon.program = plain
    daemon.start()

    wait_until(lambda: in_work(daemon) == [])
    kept = [name for name in refused(daemon) if not name.endswith(".reason.json")]
    assert [(daemon.spool / ".bad" / name).read_text() for name in kept] == ["[1]"]
    assert all(f"{name}.reason.json" in refused(daemon) for name in kept)
    assert len(receipts(daemon, "r/x.json")) == 1


def test_a_file_that_cannot_be_moved_does_not_keep_the_daemon_busy(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    config = f'{LIVE_SIGS}[spool]\ndir = "spool"\npoll_ms = 200\n'
    prelude = SOON_AT_REST + TELLS_OF_SCANS + HARD_TO_TAKE
    daemon = make_daemon(config, program=driven(tmp_path / "daemon", prelude))
    daemon.drop("immovable.json", live())

    daemon.start()

    assert min(pauses(daemon)) > 0.19
    assert "cannot be moved" in skipped(daemon)["immovable.json"]


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
real_sync = rooms.find("sync")

def guarded(folder):
    if not os.path.exists("better"):
        raise OSError(errno.EIO, "Input/output error")
    return real_sync(folder)

rooms.replace("sync", guarded)
"""


def test_a_spool_in_trouble_at_the_start_is_unhealthy_until_it_is_better(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(program=driven(tmp_path / "daemon", IN_TROUBLE_AT_START))
    daemon.drop(".work/1/r/claimed.json", live("claimed"))
    daemon.start()

    told = wait_until(lambda: (answer := daemon.request("GET", "/healthz"))[0] == 503 and answer)[1]
    (daemon.folder / "better").touch()

    assert told["reasons"][0].startswith("spool: the folder cannot be used: ")
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
sync = rooms.find("sync")

def guarded(folder):
    if os.path.exists("broken"):
        raise OSError(errno.EIO, "Input/output error")
    sync(folder)

rooms.replace("sync", guarded)
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
