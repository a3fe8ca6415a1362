"""The database file: opened, checked, made; its clock; the lock that only one daemon has.

Paths come in, connections go out. Nothing here knows what a message is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from simscope_server.messages.protocol import NotNow, Row, SimscopedError, StorageError
from simscope_server.program import __version__, beside

APPLICATION_ID = 0x73696D73  # "sims"; the same number stands in schema.sql
SCHEMA_VERSION = 4
OLDEST_VERSION = 3  # from which ledger/migrations.py knows the way


class Moment(NamedTuple):
    """Now, twice: the wall clock in ms since 1970 for what people read, the uptime clock for every time limit."""

    now: int
    tick: int


def view_row(conn: sqlite3.Connection, sql: str, *parameters: Any) -> Row:
    """The one row of a SELECT, by column name."""
    cursor = conn.execute(sql, parameters)
    return dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True))


PRAGMAS = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;            -- what was answered or cleared away survives a power cut
    PRAGMA wal_autocheckpoint = 4000;     -- pages, 16 MB
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cache_size = -16384;           -- KiB
    PRAGMA temp_store = MEMORY;
    PRAGMA busy_timeout = 5000;
"""


def is_storage_trouble(error: BaseException) -> bool:
    """Is it the disk that failed, and not a message? Then nothing is refused; the batch waits and is tried again."""
    return isinstance(error, sqlite3.OperationalError) and getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
    )


@contextlib.contextmanager
def telling_storage_trouble() -> Iterator[None]:
    """While this is entered, trouble with the disk is raised as StorageError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if is_storage_trouble(error):
            raise StorageError(str(error)) from error
        raise


PROGRAM = f"simscoped {__version__}"
COPY_PAGES = 4096  # 16 MiB at a time
LOCK_TIMEOUT_S = 2.0  # the writer of a daemon that was killed may still be finishing its last transaction


def open_database(path: Path) -> sqlite3.Connection:
    """Open the database for writing, made anew if there is none.

    Raises SimscopedError for a file that is not ours or is from another version, NotNow if it cannot be opened."""
    conn = open_known(path)
    with _telling_that_it_cannot_be_opened(path):
        identity = check_database(conn, path)
        conn.executescript(PRAGMAS)
        if identity is None:
            _make_database(conn)
        conn.execute("UPDATE daemon SET program = ? WHERE program IS NOT ?", (PROGRAM, PROGRAM))
    return conn


def open_known(path: Path) -> sqlite3.Connection:
    """Open a database whatever its version, for a connection that may write. Raises as open_database() does."""
    with _telling_that_it_cannot_be_opened(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        schema_version(conn, path)
    return conn


@contextlib.contextmanager
def _telling_that_it_cannot_be_opened(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        is_foreign = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB
        refusal = SimscopedError if is_foreign else NotNow
        raise refusal(f"{path}: cannot be opened as a database: {error}") from None


def check_database(conn: sqlite3.Connection, path: Path) -> int | None:
    """SCHEMA_VERSION for a database of this release, None for an empty file. Raises SimscopedError for any other."""
    version = schema_version(conn, path)
    if version not in (None, SCHEMA_VERSION):
        raise SimscopedError(
            f"{path}: has schema version {version} and belongs to an earlier release; start the daemon once, which "
            f"brings it to version {SCHEMA_VERSION}"
        )
    return version


def schema_version(conn: sqlite3.Connection, path: Path) -> int | None:
    """The schema version of a database that we can read, or bring to our version; None for an empty file.

    Raises SimscopedError for any other."""
    application, version = (conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if application == 0 and conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
        return None
    if application != APPLICATION_ID:
        raise SimscopedError(f"{path}: is a database of another program (application_id {application:#x}); left alone")
    if not OLDEST_VERSION <= version <= SCHEMA_VERSION:
        raise SimscopedError(
            f"{path}: has schema version {version}{_written_by(conn)}; this {PROGRAM} works with versions "
            f"{OLDEST_VERSION} to {SCHEMA_VERSION}. CHANGELOG.md tells which release reads it; start with another "
            "[server] db to go on meanwhile"
        )
    return int(version)


def _written_by(conn: sqlite3.Connection) -> str:
    """Which program wrote a newer file last, if it says so."""
    try:
        return f", written by {conn.execute('SELECT program FROM daemon').fetchone()[0]}"
    except (sqlite3.Error, TypeError):
        return ""


def copy_whole(source: sqlite3.Connection, part: Path, progress: Callable[[int, int, int], None] | None = None) -> None:
    """Copy a database into one file, in place of what an interrupted copy left there.

    `progress` is called every COPY_PAGES with a status, the pages that are left, and all pages."""
    part.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(part)) as copy:
        source.backup(copy, pages=COPY_PAGES if progress else -1, progress=progress)
        copy.execute("PRAGMA journal_mode = DELETE")


def sync(path: Path | str) -> None:
    """Have a file, or the names in a folder and what was removed from it, written to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make_database(conn: sqlite3.Connection) -> None:
    """All in one transaction: a crash leaves an empty file, which is made anew at the next start.

    The numbers of changes begin at the time in ms since 1970: so a reader's place in a database that was here before
    lies below all that there is, and is known to be foreign."""
    schema = beside("schema.sql").read_text(encoding="utf-8")
    seq = int(time.time() * 1000)
    first = f"INSERT INTO daemon VALUES (1, '{secrets.token_hex(4)}', 0, {seq}, 0, 0, {seq}, '{PROGRAM}');"
    conn.executescript(f"BEGIN;\n{schema}\n{first}\nCOMMIT;")


def read_only(path: Path) -> str:
    """The address of a database for a connection that cannot write."""
    return f"file:{urllib.parse.quote(str(path))}?mode=ro"


class Clock:
    """The wall clock, and the uptime clock that goes on where the last run of the daemon stopped.

    The two are read as one, and tick together as long as they do so within a millisecond: what is due at a tick is due
    at the same time of day whenever one looks."""

    def __init__(self, tick: int = 0) -> None:
        self._tick_at_zero = tick - time.monotonic_ns() / 1e6
        self._apart: int | None = None  # wall clock minus uptime clock, ms

    def moment(self) -> Moment:
        wall = time.time_ns() / 1e6
        apart = wall - time.monotonic_ns() / 1e6 - self._tick_at_zero
        if self._apart is None or abs(apart - self._apart) > 1:
            self._apart = round(apart)
        return Moment(int(wall), int(wall) - self._apart)


def lock_file(path: Path, refusal: str, timeout_s: float = 0.0) -> None:
    """Take a lock that the process, and those it forks, have to their end. Raises NotNow with the sentence given if
    another has it, and goes on having it for so long."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    except OSError as error:
        raise NotNow(f"{path}: cannot be opened: {error}") from None
    end = time.monotonic() + timeout_s
    while True:
        try:
            return fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= end:
                os.close(held)
                raise NotNow(f"{refusal} (lock {path})") from None
        time.sleep(0.02)
