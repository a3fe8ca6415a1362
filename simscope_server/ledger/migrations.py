"""How a database that an earlier release made becomes one of this release: at the start, before the writer opens it.

A migration is a function of the connection, one for each schema version, and all that are needed run in one
transaction that raises `user_version` too: killed in the middle, the file is what it was. It changes the schema only,
which takes no longer on a million jobs than on none; values that a new column should have are filled in slices after
the start (fills below), and until then whoever reads them takes NULL for "not known yet".

Before anything is changed, the whole file is copied to DB.before-vN, where N is the version that it has:
docs/operations.md tells how to go back. To change the schema: raise user_version in schema.sql, add the function here,
and see that a file migrated and a file made anew come to the same schema (tests/ledger/test_migrations.py).
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from simscope_server.crashpoints import passing
from simscope_server.ledger.batch import Batch
from simscope_server.ledger.database import SCHEMA_VERSION, copy_whole, open_known, schema_version, sync
from simscope_server.messages.protocol import NotNow

TOLD_EVERY_S = 1.0
ROOM_LEFT = 64 << 20  # bytes that must be free beside the copy: the migration itself, and the daemon's first minutes
FILL_ROWS = 500  # per transaction

Tell = Callable[[str], None]  # says how far it is, and that it is still alive


def upgrade(path: Path, tell: Tell) -> None:
    """Bring a database to SCHEMA_VERSION, if it has an earlier version. The caller has its lock.

    Raises SimscopedError for a file that is not ours, or newer than we are, NotNow if there is no room for the copy."""
    if not path.exists():
        return
    with contextlib.closing(open_known(path)) as conn:
        version = schema_version(conn, path)
        if version is None or version == SCHEMA_VERSION:
            return
        keep_copy(conn, path, version, tell)
        try:
            _migrate(conn, version)
        except sqlite3.Error as error:
            raise NotNow(f"{path}: cannot be brought to schema version {SCHEMA_VERSION}: {error}") from None
    tell(f"{path}: schema version {version} became {SCHEMA_VERSION}; {path}.before-v{version} is the file as it was")


def keep_copy(conn: sqlite3.Connection, path: Path, version: int, tell: Tell) -> None:
    """Copy the whole file to DB.before-vN, in the place of an earlier copy. Raises NotNow."""
    copy = Path(f"{path}.before-v{version}")
    part = Path(f"{copy}.part")
    (pages,), (page_size,) = (conn.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    size, free = pages * page_size, shutil.disk_usage(path.parent).free
    if free < size + ROOM_LEFT:
        raise NotNow(
            f"{path}: has schema version {version}, and is copied to {copy} before it is changed to {SCHEMA_VERSION}; "
            f"that takes {_mib(size + ROOM_LEFT)} of disk, and {_mib(free)} are free"
        )
    told = -TOLD_EVERY_S

    def progress(_: int, left: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= TOLD_EVERY_S or not left:
            told = time.monotonic()
            tell(f"{copy}: {100 * (total - left) // max(total, 1)} % of {_mib(size)} copied")

    try:
        copy_whole(conn, part, progress)
        shutil.copymode(path, part)
        sync(part)
        part.rename(copy)
        sync(path.parent)
    except (sqlite3.Error, OSError) as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise NotNow(f"{copy}: the copy before the change cannot be written: {error}") from None


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"


def _migrate(conn: sqlite3.Connection, version: int) -> None:
    conn.execute("PRAGMA synchronous = FULL")
    conn.execute("BEGIN IMMEDIATE")
    for number in range(version + 1, SCHEMA_VERSION + 1):
        MIGRATIONS[number](conn)
        conn.execute(f"PRAGMA user_version = {number}")
    passing("before-migration")
    conn.execute("COMMIT")


def to_4(conn: sqlite3.Connection) -> None:
    """The program that wrote the file last; the category of a test, by which it is known beside its title; and an index
    for logs that no job has any more, which were looked for in all logs."""
    conn.execute("ALTER TABLE daemon ADD COLUMN program TEXT")
    conn.execute("ALTER TABLE test ADD COLUMN category TEXT")
    conn.execute("CREATE INDEX log_left ON log (id) WHERE job_id IS NULL")


MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {4: to_4}


# Fills: what has no value yet since its column is newer than its row. Each call does a slice. -> True if there is more.


def fill_tests(batch: Batch) -> bool:
    """The category of tests that came with schema version 3: that of any finished job of theirs."""
    category = "(SELECT j.category FROM job AS j WHERE j.test_id = test.id AND j.result <> 0 LIMIT 1)"
    found = batch.conn.execute(
        f"SELECT {category}, id FROM test WHERE category IS NULL AND {category} IS NOT NULL ORDER BY id LIMIT ?",
        (FILL_ROWS,),
    ).fetchall()
    batch.conn.executemany("UPDATE test SET category = ? WHERE id = ?", found)
    return len(found) == FILL_ROWS
