"""The writer: a process of its own, with the only connection that writes.

Requests come in over a channel, each a function that gets a Batch and runs inside BEGIN IMMEDIATE … COMMIT; when that
is durable, what it returned goes back as the reply, in the order of the requests. The daemon is two processes, because
one interpreter runs Python on one core at a time. The writer owns the one connection that writes, and it alone
checkpoints; the daemon proper does all the rest. If one process dies, the other ends, and the service manager starts
both afresh.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import select
import signal
import socket
import struct
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from simscope_server.crashpoints import passing
from simscope_server.ledger.batch import Batch, Known
from simscope_server.ledger.database import LOCK_TIMEOUT_S, Clock, lock_file, open_database, telling_storage_trouble
from simscope_server.ledger.deliveries import BATCH_MESSAGES, apply_submissions
from simscope_server.ledger.effects import flush
from simscope_server.ledger.logbook import open_logbook
from simscope_server.ledger.migrations import Tell, upgrade
from simscope_server.messages.protocol import SimscopedError, log
from simscope_server.settings import Config


class Request(NamedTuple):
    """What the writer is to do: a function that gets a Batch and writes, or one that gets the connection and looks."""

    writes: bool
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    named: dict[str, Any]

    def weight(self) -> int:
        """How many messages are submitted, if that is what is requested; they share a transaction with what else is."""
        if self.fn is not apply_submissions or self.named:
            return 0
        return sum(submission.weight() for submission in self.args[0])


class Reply(NamedTuple):
    """What comes back from the writer: an error, or what was returned, the number of the last change, and the jobs
    whose logs were written."""

    error: Exception | None
    result: Any
    seq: int
    logged: frozenset[int] = frozenset()


CLOSE = Request(False, len, (), {})  # no reply is expected


FRAME_HEAD = struct.Struct("!Q")  # what goes over the channel is pickled, behind its length in bytes


def framed(value: Any) -> bytes:
    """A value as it goes over the channel between the two processes."""
    content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return FRAME_HEAD.pack(len(content)) + content


class Channel:
    """The writer's end of the channel."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._read = bytearray()

    def receive(self) -> Any:
        """Wait for a value. Raises EOFError when the other side closes the channel."""
        while len(self._read) < FRAME_HEAD.size or len(self._read) < self._length():
            try:
                more = self._end.recv(1 << 20)
            except ConnectionResetError:  # it was killed with a reply unread
                more = b""
            if not more:
                raise EOFError
            self._read += more
        length = self._length()
        value = pickle.loads(memoryview(self._read)[FRAME_HEAD.size : length])  # noqa: S301 - from our own process
        del self._read[:length]
        return value

    def _length(self) -> int:
        """Of the frame that has begun to come, with its head."""
        return FRAME_HEAD.size + int(FRAME_HEAD.unpack_from(self._read)[0])

    def has_more(self) -> bool:
        """Is there more to read without waiting long?"""
        return bool(self._read) or bool(select.select([self._end], [], [], 0)[0])

    def send(self, values: Iterable[Any]) -> None:
        """Send values. That nobody reads them any more is no matter."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._end.sendall(b"".join(map(framed, values)))


def portable(error: Exception) -> Exception:
    """An error that can be sent, with the traceback of this side in a note."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
    error.add_note("".join(traceback.format_exception(error)))
    return error


class Writer:
    """The process that writes: it does what it is asked, until it is told to close or the daemon is gone."""

    def __init__(self, config: Config, channel: Channel) -> None:
        self.config = config
        self._channel = channel
        self._next: Request | None = None
        self._known = Known()

    def run(self) -> None:
        """Open the database, say how it is, then do request after request. Raises EOFError if the daemon is gone;
        then nothing is tidied up, so a daemon that was killed leaves what any kill leaves."""
        try:
            self._conn = open_database(self.config.db)
            self._logbook = open_logbook(Path(f"{self.config.db}.logs"))
        except SimscopedError as error:
            self._channel.send([Reply(error, None, 0)])
            return
        epoch, tick, self._seq = self._conn.execute("SELECT epoch, tick, seq FROM daemon").fetchone()
        self.clock = Clock(tick)
        self._channel.send([Reply(None, (epoch, self.clock), self._seq)])
        while requests := self._take():
            self._channel.send(self._replies(requests))
        self._logbook.conn.close()
        self._conn.close()

    def _take(self) -> list[Request]:
        """The next request; behind a submission with all others that wait: what came while the last batch was being
        committed makes the next one (group commit). Empty at the close."""
        first = self._next or self._channel.receive()
        self._next = None
        if first == CLOSE:
            return []
        group, weight = [first], first.weight()
        while 0 < weight < BATCH_MESSAGES and self._channel.has_more():
            following = self._channel.receive()
            more = following.weight()
            if not more:
                self._next = following
                break
            group.append(following)
            weight += more
        return group

    def _replies(self, requests: Sequence[Request]) -> list[Reply]:
        """The replies. If requests fail together, each is tried alone, so that none fails for another."""
        if len(requests) == 1:
            return [self._reply(requests[0])]
        submissions = [submission for request in requests for submission in request.args[0]]
        reply = self._reply(Request(True, apply_submissions, (submissions,), {}))
        if reply.error is not None:
            return [self._reply(request) for request in requests]
        told = iter(reply.result)
        return [reply._replace(result=list(itertools.islice(told, len(request.args[0])))) for request in requests]

    def _reply(self, request: Request) -> Reply:
        """Do what is requested. An error goes back as it is, with the traceback of this side in a note."""
        try:
            with telling_storage_trouble():
                if request.writes:
                    return self._transaction(request.fn, request.args, request.named)
                return Reply(None, request.fn(self._conn, *request.args, **request.named), self._seq)
        except Exception as error:
            return Reply(portable(error), None, self._seq)

    def _transaction(self, fn: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Reply:
        try:
            self._conn.execute("BEGIN IMMEDIATE")
            batch = Batch(self._conn, self.config, self.clock.moment(), self._logbook, self._known)
            result = fn(batch, *args, **named)
            flush(batch)
            batch.close()
            self._logbook.commit()
            passing("before-commit")
            self._conn.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        passing("after-commit")
        self._seq = batch.counters.seq
        self._known = batch.known
        self._known.learn(batch.learned)
        return Reply(None, result, self._seq, frozenset(batch.logged))

    def _roll_back(self) -> None:
        """The database too where the lines cannot be: they do no harm, but a transaction left open ends all writing."""
        try:
            self._logbook.rollback()
        finally:
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")


class WriterProcess(NamedTuple):
    """The writer as the daemon sees it: the channel to it, and its process."""

    channel: socket.socket
    pid: int


def start_writer(config: Config, tell: Tell) -> WriterProcess:
    """Lock the database, bring it to this release, telling how far that is, and fork the writer; to be called before
    there is a loop or a thread. Raises SimscopedError or NotNow."""
    lock_file(Path(f"{config.db}.lock"), f"{config.db}: another simscoped works on it", LOCK_TIMEOUT_S)
    upgrade(config.db, tell)
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return WriterProcess(ours, pid)
    status = 1
    try:
        ours.close()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # it ends when the daemon closes the channel
        Writer(config, Channel(theirs)).run()
        status = 0
    except EOFError:
        pass
    except BaseException:
        log.exception("store: the writer failed")
    finally:
        os._exit(status)
