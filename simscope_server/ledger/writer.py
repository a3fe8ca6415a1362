"""The writer: a process of its own, with the only connection that writes.

Questions come in over a line, each a function that gets a Batch and runs inside BEGIN IMMEDIATE … COMMIT; when that is
durable, what it returned goes back, in the order of asking. The daemon is two processes, because one interpreter runs
Python on one core at a time. The writer owns the one connection that writes, and it alone checkpoints; the daemon
proper does all the rest. If one process dies, the other ends, and the service manager starts both afresh.
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
from simscope_server.ledger.database import LOCK_PATIENCE_S, Clock, lock_file, open_database, telling_storage_trouble
from simscope_server.ledger.deliveries import BATCH_MESSAGES, apply_submissions
from simscope_server.ledger.effects import flush
from simscope_server.ledger.logbook import open_logbook
from simscope_server.ledger.migrations import Tell, upgrade
from simscope_server.messages.protocol import SimscopedError, log
from simscope_server.settings import Config


class Question(NamedTuple):
    """What the writer is asked: a function that gets a Batch and writes, or one that gets the connection and looks."""

    writes: bool
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    named: dict[str, Any]

    def weight(self) -> int:
        """How many messages are submitted, if that is what is asked; they share a transaction with what else is."""
        if self.fn is not apply_submissions or self.named:
            return 0
        return sum(submission.weight() for submission in self.args[0])


class Answer(NamedTuple):
    """What comes back from the writer: an error, or what was returned, the number of the last change, and the jobs
    whose logs were written."""

    error: Exception | None
    result: Any
    seq: int
    logged: frozenset[int] = frozenset()


GOODBYE = Question(False, len, (), {})  # no answer is expected


FRAME_HEAD = struct.Struct("!Q")  # what goes over the line is pickled, behind its length in bytes


def framed(value: Any) -> bytes:
    """A value as it goes over the line between the two processes."""
    content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return FRAME_HEAD.pack(len(content)) + content


class Line:
    """The writer's end of the line."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._read = bytearray()

    def next(self) -> Any:
        """Wait for a value. Raises EOFError when the other side breaks off."""
        while len(self._read) < FRAME_HEAD.size or len(self._read) < self._length():
            try:
                more = self._end.recv(1 << 20)
            except ConnectionResetError:  # it was killed with an answer unread
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

    def tell(self, values: Iterable[Any]) -> None:
        """Send values. That nobody listens any more is no matter."""
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
    """The process that writes: it does what it is asked, until it is told goodbye or the daemon is gone."""

    def __init__(self, config: Config, line: Line) -> None:
        self.config = config
        self._line = line
        self._next: Question | None = None
        self._known = Known()

    def run(self) -> None:
        """Open the database, say how it is, then answer question after question. Raises EOFError if the daemon is gone;
        then nothing is tidied up, so a daemon that was killed leaves what any kill leaves."""
        try:
            self._conn = open_database(self.config.db)
            self._logbook = open_logbook(Path(f"{self.config.db}.logs"))
        except SimscopedError as error:
            self._line.tell([Answer(error, None, 0)])
            return
        epoch, tick, self._seq = self._conn.execute("SELECT epoch, tick, seq FROM daemon").fetchone()
        self.clock = Clock(tick)
        self._line.tell([Answer(None, (epoch, self.clock), self._seq)])
        while questions := self._asked():
            self._line.tell(self._answered(questions))
        self._logbook.conn.close()
        self._conn.close()

    def _asked(self) -> list[Question]:
        """The next question, with all submissions that wait behind it if it is one: what came while the last batch was
        being committed makes the next one (group commit). Empty at the goodbye."""
        first = self._next or self._line.next()
        self._next = None
        if first == GOODBYE:
            return []
        group, weight = [first], first.weight()
        while 0 < weight < BATCH_MESSAGES and self._line.has_more():
            following = self._line.next()
            more = following.weight()
            if not more:
                self._next = following
                break
            group.append(following)
            weight += more
        return group

    def _answered(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers. If questions fail together, each is tried alone, so that none fails for another."""
        if len(questions) == 1:
            return [self._answer(questions[0])]
        together = Question(True, apply_submissions, ([one for asked in questions for one in asked.args[0]],), {})
        answer = self._answer(together)
        if answer.error is not None:
            return [self._answer(question) for question in questions]
        told = iter(answer.result)
        return [answer._replace(result=list(itertools.islice(told, len(asked.args[0])))) for asked in questions]

    def _answer(self, asked: Question) -> Answer:
        """Do what is asked. An error goes back as it is, with the traceback of this side in a note."""
        try:
            with telling_storage_trouble():
                if asked.writes:
                    return self._transaction(asked.fn, asked.args, asked.named)
                return Answer(None, asked.fn(self._conn, *asked.args, **asked.named), self._seq)
        except Exception as error:
            return Answer(portable(error), None, self._seq)

    def _transaction(self, fn: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Answer:
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
        return Answer(None, result, self._seq, frozenset(batch.logged))

    def _roll_back(self) -> None:
        """The database too where the lines cannot be: they do no harm, but a transaction left open ends all writing."""
        try:
            self._logbook.rollback()
        finally:
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")


class WriterProcess(NamedTuple):
    """The writer as the daemon sees it: the line to it, and its process."""

    line: socket.socket
    pid: int


def start_writer(config: Config, tell: Tell) -> WriterProcess:
    """Lock the database, bring it to this release, telling how far that is, and fork the writer; to be called before
    there is a loop or a thread. Raises SimscopedError or NotNow."""
    lock_file(Path(f"{config.db}.lock"), f"{config.db}: another simscoped works on it", LOCK_PATIENCE_S)
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
            signal.signal(number, signal.SIG_IGN)  # it ends when the daemon hangs up
        Writer(config, Line(theirs)).run()
        status = 0
    except EOFError:
        pass
    except BaseException:
        log.exception("store: the writer failed")
    finally:
        os._exit(status)
