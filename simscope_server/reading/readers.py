"""SELECTs come in, rows go out, on connections that cannot write and never wait for the writer."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiosqlite

from simscope_server.ledger.database import read_only, telling_storage_trouble
from simscope_server.messages.protocol import Row, StorageError, log
from simscope_server.messages.times import in_words
from simscope_server.reading import patterns
from simscope_server.settings import Config

READERS = 3


READ_MOST_S = 5.0  # a reader that asks for more gets nothing: there are few connections, and others wait


class ReadTooLong(Exception):
    """A SELECT that took longer than READ_MOST_S was given up."""


class Readers:
    """The connections that read the database, and the one that reads the lines of logs. Event loop only."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._readers: Idle = asyncio.Queue()
        self._log_readers: Idle = asyncio.Queue()  # one, for the file of lines
        self._searches = asyncio.Semaphore(READERS - 1)
        self._all: list[aiosqlite.Connection] = []

    async def open(self) -> None:
        """Open the connections to a database that is there."""
        for _ in range(READERS):
            reader = await self._open_reader(self.config.db, self._readers)
            await reader.create_function("matches", 2, patterns.matches, deterministic=True)
        await self._open_reader(Path(f"{self.config.db}.logs"), self._log_readers)

    async def close(self) -> None:
        for reader in self._all:
            await reader.close()

    async def read(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), *, search: bool = False
    ) -> list[Row]:
        """The rows of one SELECT by column name. A `search` is one that may take long: some wait for others, so that a
        reader is left for what is quick.

        Raises ReadTooLong, or StorageError if the disk does not let us."""
        async with self._searches if search else contextlib.nullcontext():
            rows = await self._found(self._readers, sql, parameters)
        names = rows[0].keys() if rows else ()
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def read_surely(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """The same for a part of the daemon that must not end: it is tried again until it succeeds."""
        while True:
            try:
                return await self.read(sql, parameters)
            except (ReadTooLong, StorageError) as error:
                log.warning("store: cannot read, trying again: %s", error)
                await asyncio.sleep(1)

    async def read_log(self, job: int, offset: int, limit: int) -> tuple[int, int, list[tuple[int, int, str]]]:
        """Lines of a job's log: the first offset that is kept, the next to come, and (offset, at, message) from
        `offset` on.

        The database is asked first what lines there are: these are in the other file already. Some may have made room
        for newer ones since; so one statement finds the first that is left, and the lines behind it. Raises as read()
        does."""
        row = await self.read("SELECT id, first_offset, next_offset FROM log WHERE job_id = ?", (job,))
        if not row:
            return 0, 0, []
        log, first, following = row[0].values()
        found = "SELECT number, at, message FROM log_line WHERE log = ? AND number >= ? AND number < ? ORDER BY number"
        sql = f"SELECT * FROM ({found} LIMIT 1) UNION ALL SELECT * FROM ({found} LIMIT ?)"
        asked = (log, first, following, log, max(offset, first), following, limit)
        lines = [tuple(line) for line in await self._found(self._log_readers, sql, asked)]
        return lines[0][0] if lines else following, following, lines[1:]

    async def _open_reader(self, path: Path, idle: Idle) -> aiosqlite.Connection:
        reader, timeout = await aiosqlite.connect(read_only(path), uri=True, isolation_level=None), Timeout()
        self._all.append(reader)
        reader.row_factory = sqlite3.Row
        await reader.execute("PRAGMA query_only = 1")
        await reader.execute("PRAGMA cache_size = -4096")
        await reader.set_progress_handler(timeout.is_over, Timeout.STEPS)
        idle.put_nowait((reader, timeout))
        return reader

    async def _found(self, idle: Idle, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[sqlite3.Row]:
        reader, timeout = await idle.get()
        try:
            with telling_storage_trouble():
                return await timeout.rows_of(reader.execute_fetchall(sql, parameters))
        finally:
            idle.put_nowait((reader, timeout))


class Timeout:
    """Ends what a reader's connection does for too long, or for nobody: SQLite asks it every so many steps of its
    machine."""

    STEPS = 10_000  # about a third of a millisecond

    def __init__(self) -> None:
        self.ends = math.inf

    def is_over(self) -> bool:
        return time.monotonic() > self.ends

    async def rows_of(self, rows: Awaitable[Iterable[sqlite3.Row]]) -> list[sqlite3.Row]:
        """What a SELECT finds. It runs in a thread, so a caller who is cancelled ends it and waits until it has ended:
        nobody else may have the connection before. Raises ReadTooLong."""
        self.ends = time.monotonic() + READ_MOST_S
        finding = asyncio.ensure_future(rows)
        try:
            await asyncio.wait([finding])
            return list(finding.result())
        except asyncio.CancelledError:
            self.ends = -math.inf
            while not finding.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([finding])
            finding.exception()
            raise
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise ReadTooLong(f"no answer within {in_words(round(READ_MOST_S * 1000))}") from None
            raise


Idle = asyncio.Queue[tuple[aiosqlite.Connection, Timeout]]  # connections that nobody has
