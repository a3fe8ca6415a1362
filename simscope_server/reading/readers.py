"""SELECTs come in, rows go out, on connections that cannot write; functions for the writer are handed on to it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import pickle
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate

import aiosqlite

from simscope_server.ledger.batch import Batch
from simscope_server.ledger.database import Clock, read_only, telling_storage_trouble
from simscope_server.ledger.expiry import save_tick
from simscope_server.ledger.ledger import WRITER_LOST, Asked, Bell, Bells
from simscope_server.ledger.writer import FRAME_HEAD, GOODBYE, Answer, Question, WriterProcess, framed
from simscope_server.messages.protocol import NotNow, P, StorageError, T, log
from simscope_server.reading import patterns
from simscope_server.settings import Config

READERS = 3


READ_MOST_S = 5.0  # a reader that asks for more gets nothing: there are few connections, and others wait


class ReadTooLong(Exception):
    """A SELECT that took longer than READ_MOST_S was given up."""


class Patience:
    """Gives up what a reader's connection does for too long, or for nobody: SQLite asks it every so many steps of its
    machine."""

    STEPS = 10_000  # about a third of a millisecond

    def __init__(self) -> None:
        self.ends = math.inf

    def is_over(self) -> bool:
        return time.monotonic() > self.ends

    async def until(self, rows: Awaitable[Iterable[sqlite3.Row]]) -> list[sqlite3.Row]:
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
                raise ReadTooLong(f"no answer within {READ_MOST_S:g} s") from None
            raise


Readers = asyncio.Queue[tuple[aiosqlite.Connection, Patience]]  # those that nobody has


class Store:
    """The database: change() writes, read() reads."""

    def __init__(self, config: Config, writer: WriterProcess) -> None:
        self.config = config
        self.committed = Bell()
        self.bells = Bells()  # of logs, by the id of their job, and of what the feed tells of
        self.trouble: str | None = None  # why the writer could not use the database, until it has written again
        self.seq = 0
        self._writer = writer
        self._asked: deque[Asked] = deque()
        self._readers: Readers = asyncio.Queue()
        self._log_readers: Readers = asyncio.Queue()  # one, for the file of lines
        self._searches = asyncio.Semaphore(READERS - 1)
        self._all_readers: list[aiosqlite.Connection] = []
        self._closing = False

    async def open(self) -> None:
        """Open, or make, the database. Raises SimscopedError."""
        self._hear, self._say = await asyncio.open_connection(sock=self._writer.line)
        try:
            said = await self._heard()
        except asyncio.IncompleteReadError:
            raise NotNow(WRITER_LOST) from None
        if said.error is not None:
            raise said.error
        self.epoch: str
        self.clock: Clock
        (self.epoch, self.clock), self.seq = said.result, said.seq
        self.listener = asyncio.create_task(self._listen(), name="writer")
        for _ in range(READERS):
            reader = await self._open_reader(self.config.db, self._readers)
            await reader.create_function("matches", 2, patterns.matches, deterministic=True)
        await self._open_reader(Path(f"{self.config.db}.logs"), self._log_readers)

    async def _heard(self) -> Answer:
        """The writer's next answer. Raises IncompleteReadError when it has hung up."""
        (length,) = FRAME_HEAD.unpack(await self._hear.readexactly(FRAME_HEAD.size))
        answer: Answer = pickle.loads(await self._hear.readexactly(length))  # noqa: S301 - from our own process
        return answer

    async def _listen(self) -> None:
        """Hand each answer to whoever asked, until the writer hangs up; which it must not do by itself."""
        try:
            while True:
                said = await self._heard()
                self._hand_over(said, self._asked.popleft())
        except (asyncio.IncompleteReadError, ConnectionError):
            for asked in self._asked:
                if not asked.answer.done():
                    asked.answer.set_exception(StorageError(WRITER_LOST))
        if not self._closing:
            raise NotNow(WRITER_LOST)

    def _hand_over(self, said: Answer, asked: Asked) -> None:
        self.seq = said.seq
        if not asked.answer.done():
            if said.error is None:
                asked.answer.set_result(said.result)
            else:
                asked.answer.set_exception(said.error)
        if asked.writes and said.error is None:
            self.committed.ring()
            self.bells.ring(said.logged)

    async def _open_reader(self, path: Path, readers: Readers) -> aiosqlite.Connection:
        """Open one more connection to a database for those that read it."""
        reader, patience = await aiosqlite.connect(read_only(path), uri=True, isolation_level=None), Patience()
        reader.row_factory = sqlite3.Row
        await reader.execute("PRAGMA query_only = 1")
        await reader.execute("PRAGMA cache_size = -4096")
        await reader.set_progress_handler(patience.is_over, Patience.STEPS)
        self._all_readers.append(reader)
        readers.put_nowait((reader, patience))
        return reader

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

    async def close(self) -> None:
        """Finish what is being written, note the uptime, close all connections, see the writer out."""
        for reader in self._all_readers:
            await reader.close()
        if hasattr(self, "listener"):
            with contextlib.suppress(StorageError):
                await self.change(save_tick)
            self._closing = True
            self._say.write(framed(GOODBYE))
        self._writer.line.close() if not hasattr(self, "_say") else self._say.close()
        await asyncio.to_thread(os.waitpid, self._writer.pid, 0)

    async def change(self, fn: Callable[Concatenate[Batch, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run fn(batch, …) in one transaction in the writer, and answer when it is durable. What goes there and comes
        back is pickled, so `fn` is a function of a module.

        Raises StorageError if the disk does not let us, whatever fn raises otherwise; then nothing is changed."""
        result: T = await self._ask(True, fn, args, kwargs)
        if self.trouble is not None:
            log.warning("store: can use the database again")
            self.trouble = None
        return result

    async def look(self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run fn(connection, …) in the writer without a transaction, for a look that must cost nothing. Raises as
        change() does."""
        found: T = await self._ask(False, fn, args, kwargs)
        return found

    async def _ask(self, writes: bool, fn: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        try:
            return await self._answer_to(Question(writes, fn, args, named))
        except StorageError as error:
            if self.trouble is None:
                log.error("store: cannot %s: %s", "write" if writes else "look", error)
            self.trouble = str(error)
            raise

    async def _answer_to(self, question: Question) -> Any:
        if self.listener.done():
            raise StorageError(WRITER_LOST)
        asked = Asked(question.writes, asyncio.get_running_loop().create_future())
        self._say.write(framed(question))
        self._asked.append(asked)
        return await asked.answer

    async def read(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), *, search: bool = False
    ) -> list[dict[str, Any]]:
        """The rows of one SELECT by column name, from a reader's connection. A `search` is one that may take long: some
        wait for others, so that a reader is left for what is quick.

        Raises ReadTooLong, or StorageError if the disk does not let us."""
        async with self._searches if search else contextlib.nullcontext():
            rows = await self._found(self._readers, sql, parameters)
        names = rows[0].keys() if rows else ()
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def _found(
        self, readers: Readers, sql: str, parameters: Sequence[Any] | Mapping[str, Any]
    ) -> list[sqlite3.Row]:
        reader, patience = await readers.get()
        try:
            with telling_storage_trouble():
                return await patience.until(reader.execute_fetchall(sql, parameters))
        finally:
            readers.put_nowait((reader, patience))

    async def read_surely(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The same for a part of the daemon that must not end: it is tried again until it succeeds."""
        while True:
            try:
                return await self.read(sql, parameters)
            except (ReadTooLong, StorageError) as error:
                log.warning("store: cannot read, trying again: %s", error)
                await asyncio.sleep(1)
