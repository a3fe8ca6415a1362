"""The file, its clock and how it is opened."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.daemons import ROOT

from simscope_server.ledger import database
from simscope_server.ledger.database import (
    APPLICATION_ID,
    PROGRAM,
    SCHEMA_VERSION,
    Clock,
    copy_whole,
    is_storage_trouble,
    lock_file,
    open_database,
    read_only,
    telling_storage_trouble,
    view_row,
)
from simscope_server.ledger.logbook import open_logbook
from simscope_server.messages.protocol import NotNow, SimscopedError, StorageError


def test_both_clocks_tick_together_and_a_step_of_the_wall_clock_stops_no_uptime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wall, up = 1_700_000_000_000_600_000, 5_000_999_999
    monkeypatch.setattr(database, "time", SimpleNamespace(time_ns=lambda: wall, monotonic_ns=lambda: up))
    clock = Clock(1000)
    moments = []
    for _ in range(40):
        moments.append(clock.moment())
        wall, up = wall + 130_000, up + 130_000

    wall -= 3_600_000_000_000
    after = clock.moment()

    assert len({moment.now - moment.tick for moment in moments}) == 1
    assert moments[-1].tick - moments[0].tick == 5
    assert abs(moments[0].tick - 1000) <= 1
    assert after.now < moments[0].now
    assert moments[-1].tick <= after.tick <= moments[-1].tick + 1


def test_the_uptime_clock_goes_on_where_the_last_run_stopped() -> None:
    first = Clock(5000).moment()

    assert 4999 <= first.tick < 5000 + 60_000
    assert abs(first.now - time.time() * 1000) < 60_000


# How the files are kept.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "below" / "simscope.db"


def asked(conn: sqlite3.Connection, *names: str) -> list[Any]:
    return [conn.execute(f"PRAGMA {name}").fetchone()[0] for name in names]


@pytest.mark.parametrize("times", [1, 2])
def test_both_files_survive_a_power_cut_and_stay_within_bounds(path: Path, times: int) -> None:
    for _ in range(times):
        for one in (open_database(path), open_logbook(path.with_suffix(".logs")).conn):
            with contextlib.closing(one):
                assert asked(one, "journal_mode", "synchronous") == ["wal", 2]
                assert asked(one, "wal_autocheckpoint", "journal_size_limit") == [4000, 64 << 20]
                assert asked(one, "cache_size", "temp_store", "busy_timeout") == [-16384, 2, 5000]


def test_a_new_file_says_what_it_is_and_who_made_it(path: Path) -> None:
    with contextlib.closing(open_database(path)) as conn:
        assert asked(conn, "application_id", "user_version") == [0x73696D73, SCHEMA_VERSION]
        row = view_row(conn, "SELECT * FROM daemon")

    assert (row["program"], row["tick"], row["last_job_id"], row["last_receipt_id"]) == (PROGRAM, 0, 0, 0)
    assert len(row["epoch"]) == 8
    assert row["seq"] == row["events_from_seq"]
    assert abs(row["seq"] - time.time() * 1000) < 60_000


def test_a_file_is_opened_again_as_it_was_by_whoever_writes_it_now(path: Path) -> None:
    with contextlib.closing(open_database(path)) as conn:
        before = view_row(conn, "SELECT * FROM daemon")
        conn.execute("UPDATE daemon SET program = 'an earlier one'")

    with contextlib.closing(open_database(path)) as conn:
        assert view_row(conn, "SELECT * FROM daemon") == before


OURS = f"""
    CREATE TABLE daemon (program); INSERT INTO daemon VALUES ('simscoped 99'); PRAGMA application_id = {APPLICATION_ID}
"""


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ("CREATE TABLE x (y); PRAGMA application_id = 7", "database of another program .application_id 0x7."),
        ("CREATE TABLE x (y)", "database of another program .application_id 0x0."),
        (f"{OURS}; PRAGMA user_version = 2", "has schema version 2, written by simscoped 99; this simscoped"),
        (f"{OURS}; PRAGMA user_version = 3", "belongs to an earlier release; start the daemon once"),
        (f"{OURS}; PRAGMA user_version = {SCHEMA_VERSION + 1}", f"works with versions 3 to {SCHEMA_VERSION}"),
        (f"{OURS}; PRAGMA user_version = 99; DELETE FROM daemon", "has schema version 99; this simscoped"),
        (f"{OURS}; PRAGMA user_version = 99; DROP TABLE daemon; CREATE TABLE x (y)", "version 99; this simscoped"),
    ],
    ids=["another program's", "nobody's", "too old", "old", "too new", "too new by nobody", "too new and strange"],
)
def test_a_file_that_is_not_of_this_release_is_left_alone(path: Path, made: str, sentence: str) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as conn:
        conn.executescript(made)
    before = path.read_bytes()

    with pytest.raises(SimscopedError, match=sentence) as told:
        open_database(path)

    assert told.value.code == 2
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_for_good_and_one_that_cannot_be_opened_for_now(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a database, but long enough to be one " * 100)
    with pytest.raises(SimscopedError, match="cannot be opened as a database") as told:
        open_database(path)
    assert told.value.code == 2
    path.unlink()
    path.mkdir()

    with pytest.raises(NotNow, match="cannot be opened as a database"):
        open_database(path)
    with pytest.raises(NotNow, match="cannot be opened as a database"):
        open_database(Path("/dev/null/x.db"))


def test_a_file_of_ours_that_lost_its_tables_is_told_in_a_sentence(path: Path) -> None:
    with contextlib.closing(open_database(path)) as conn:
        conn.execute("DROP TABLE daemon")

    with pytest.raises(NotNow, match=f"^{path}: cannot be opened as a database: no such table: daemon$"):
        open_database(path)


def test_a_database_that_another_has_locked_is_trouble_with_the_disk(path: Path) -> None:
    with contextlib.closing(open_database(path)) as conn:
        conn.execute("PRAGMA locking_mode = EXCLUSIVE")
        conn.execute("BEGIN EXCLUSIVE")
        other = sqlite3.connect(path, timeout=0)
        with pytest.raises(sqlite3.OperationalError) as told:
            other.execute("BEGIN IMMEDIATE")
        other.close()

    assert is_storage_trouble(told.value)


@pytest.mark.parametrize(
    ("error", "code", "is_trouble"),
    [
        *((sqlite3.OperationalError("x"), code, True) for code in (13, 10, 5, 6, 8, 14)),
        (sqlite3.OperationalError("x"), sqlite3.SQLITE_IOERR_WRITE, True),
        (sqlite3.OperationalError("x"), sqlite3.SQLITE_ERROR, False),
        (sqlite3.OperationalError("x"), None, False),
        (sqlite3.IntegrityError("x"), sqlite3.SQLITE_FULL, False),
        (OSError("x"), sqlite3.SQLITE_FULL, False),
    ],
)
def test_what_is_trouble_with_the_disk(error: Any, code: int | None, is_trouble: bool) -> None:
    if code is not None:
        error.sqlite_errorcode = code

    assert is_storage_trouble(error) is is_trouble
    with pytest.raises(StorageError if is_trouble else type(error), match=r"^x$"), telling_storage_trouble():
        raise error


def test_a_copy_is_whole_and_takes_the_place_of_half_a_one(path: Path) -> None:
    part = path.with_suffix(".part")
    path.parent.mkdir()
    part.write_text("half")
    told: list[int] = []
    with contextlib.closing(open_database(path)) as conn:
        copy_whole(conn, part, lambda status, left, pages: told.append(left))
        dump = list(conn.iterdump())

    with contextlib.closing(sqlite3.connect(part)) as copy:
        assert asked(copy, "journal_mode") == ["delete"]
        assert list(copy.iterdump()) == dump
    assert told == [0]
    assert sorted(one.name for one in path.parent.iterdir()) == ["simscope.db", "simscope.part"]


def test_a_connection_to_read_cannot_write_whatever_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a?b#c%20d" / "x.db"
    open_database(path).close()

    with contextlib.closing(sqlite3.connect(read_only(path), uri=True)) as conn:
        assert conn.execute("SELECT count(*) FROM daemon").fetchone() == (1,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            conn.execute("DELETE FROM daemon")


# The lock.

HOLD = """
import sys, time
from pathlib import Path
from simscope_server.ledger.database import lock_file
lock_file(Path(sys.argv[1]), "taken")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@contextlib.contextmanager
def held(path: Path, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", HOLD, str(path), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield holder
        holder.kill()


@pytest.mark.process
def test_a_lock_that_another_process_has_is_refused_with_a_sentence(path: Path) -> None:
    with held(path, 60), pytest.raises(NotNow, match=f"^somebody is here .lock {path}.$"):
        lock_file(path, "somebody is here")


@pytest.mark.process
def test_a_lock_is_had_as_soon_as_the_other_ends_if_there_is_patience(path: Path) -> None:
    with held(path, 0.5) as holder:
        lock_file(path, "somebody is here", 60)

        assert holder.wait(20) == 0


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotNow, match="cannot be opened"):
        lock_file(tmp_path, "x")
