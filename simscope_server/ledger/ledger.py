"""How the daemon has the database changed, and hears of it: requests go to the writer over a channel, replies come back
when what was asked is durable, and then those who wait for a commit, or for news of a topic, are notified.

Only this room and writer.py know that there are two processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import sqlite3
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Set
from typing import Any, Concatenate, NamedTuple

from simscope_server.ledger.batch import Batch
from simscope_server.ledger.database import Clock
from simscope_server.ledger.expiry import save_tick
from simscope_server.ledger.writer import CLOSE, FRAME_HEAD, Reply, Request, WriterProcess, framed
from simscope_server.messages.protocol import NotNow, P, StorageError, T, log
from simscope_server.settings import Config

WRITER_LOST = "the process that writes the database is gone"


class Pending(NamedTuple):
    """Where the reply to a request goes, and whether it means that something was written."""

    writes: bool
    reply: asyncio.Future[Any]


class Ledger:
    """What is true: change() writes it, look() asks the writer. Event loop only."""

    def __init__(self, config: Config, writer: WriterProcess) -> None:
        self.config = config
        self.committed = Notifier()
        self.topics = Topics()  # of logs, by the id of their job, and of what the feed tells of
        self.trouble: str | None = None  # why the writer could not use the database, until it has written again
        self.seq = 0
        self._writer = writer
        self._pending: deque[Pending] = deque()
        self._closing = False

    async def open(self) -> None:
        """Open, or make, the database. Raises SimscopedError."""
        self._from_writer, self._to_writer = await asyncio.open_connection(sock=self._writer.channel)
        try:
            reply = await self._receive()
        except asyncio.IncompleteReadError:
            raise NotNow(WRITER_LOST) from None
        if reply.error is not None:
            raise reply.error
        self.epoch: str
        self.clock: Clock
        (self.epoch, self.clock), self.seq = reply.result, reply.seq
        self.listener = asyncio.create_task(self._listen(), name="writer")

    async def change(self, fn: Callable[Concatenate[Batch, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run fn(batch, …) in one transaction in the writer, and return when it is durable. What goes there and comes
        back is pickled, so `fn` is a function of a module.

        Raises StorageError if the disk does not let us, whatever fn raises otherwise; then nothing is changed."""
        result: T = await self._request(Request(True, fn, args, kwargs))
        if self.trouble is not None:
            log.warning("store: can use the database again")
            self.trouble = None
        return result

    async def look(self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run fn(connection, …) in the writer without a transaction, for a look that must cost nothing. Raises as
        change() does."""
        found: T = await self._request(Request(False, fn, args, kwargs))
        return found

    async def close(self) -> None:
        """Finish what is being written, note the uptime, close the database, see the writer out."""
        if hasattr(self, "listener"):
            with contextlib.suppress(StorageError):
                await self.change(save_tick)
            self._closing = True
            self._to_writer.write(framed(CLOSE))
        self._writer.channel.close() if not hasattr(self, "_to_writer") else self._to_writer.close()
        await asyncio.to_thread(os.waitpid, self._writer.pid, 0)

    async def _request(self, request: Request) -> Any:
        try:
            return await self._reply_to(request)
        except StorageError as error:
            if self.trouble is None:
                log.error("store: cannot %s: %s", "write" if request.writes else "look", error)
            self.trouble = str(error)
            raise

    async def _reply_to(self, request: Request) -> Any:
        if self.listener.done():
            raise StorageError(WRITER_LOST)
        pending = Pending(request.writes, asyncio.get_running_loop().create_future())
        self._to_writer.write(framed(request))
        self._pending.append(pending)
        return await pending.reply

    async def _receive(self) -> Reply:
        """The writer's next reply. Raises IncompleteReadError when it has closed the channel."""
        (length,) = FRAME_HEAD.unpack(await self._from_writer.readexactly(FRAME_HEAD.size))
        reply: Reply = pickle.loads(await self._from_writer.readexactly(length))  # noqa: S301 - from our own process
        return reply

    async def _listen(self) -> None:
        """Hand each reply to whoever asked, until the writer closes the channel; which it must not do by itself."""
        try:
            while True:
                reply = await self._receive()
                self._hand_over(reply, self._pending.popleft())
        except (asyncio.IncompleteReadError, ConnectionError):
            for pending in self._pending:
                if not pending.reply.done():
                    pending.reply.set_exception(StorageError(WRITER_LOST))
        if not self._closing:
            raise NotNow(WRITER_LOST)

    def _hand_over(self, reply: Reply, pending: Pending) -> None:
        self.seq = reply.seq
        if not pending.reply.done():
            if reply.error is None:
                pending.reply.set_result(reply.result)
            else:
                pending.reply.set_exception(reply.error)
        if pending.writes and reply.error is None:
            self.committed.notify()
            self.topics.notify(reply.logged)


class Notifier:
    """Wakes everybody who waits for the next time. Event loop only."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def notify(self) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
        self._next = None

    def next(self) -> asyncio.Future[None]:
        """Done at the next notify(). Take it first, look second, wait third: then nothing is missed."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next


class Topics:
    """A notifier for each topic: what happens to others costs those who wait for news of one nothing. Event loop
    only."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, set[asyncio.Future[None]]] = {}

    @contextlib.contextmanager
    def subscribe(self, *topics: Hashable) -> Iterator[asyncio.Future[None]]:
        """Done at the next news of any of some topics. Subscribe first, look second, wait third."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for topic in topics:
            self._waiting.setdefault(topic, set()).add(future)
        try:
            yield future
        finally:
            for topic in topics:
                self._waiting[topic].discard(future)
                if not self._waiting[topic]:
                    del self._waiting[topic]

    def notify(self, topics: Set[Hashable]) -> None:
        for topic in topics & self._waiting.keys():
            for future in self._waiting[topic]:
                if not future.done():
                    future.set_result(None)

    def notify_all(self) -> None:
        self.notify(self._waiting.keys())


async def notified(news: asyncio.Future[None], seconds: float) -> bool:
    """Wait for news. -> False if none came in time."""
    done, _ = await asyncio.wait([news], timeout=seconds)
    return bool(done)


async def cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end, however it ends."""
    task.cancel()
    await asyncio.wait([task])
