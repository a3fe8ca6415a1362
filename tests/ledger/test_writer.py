"""The writer: one transaction after the other, whole or not at all, whichever statement fails; its order of commits."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.daemons import ROOT, Daemon, done, driven, live, publish, wait_until
from support.stories import SIGNATURE, finish_of

from simscope_server.ledger.actions import extend_job, tank_job, tank_regression
from simscope_server.ledger.deliveries import BATCH_MESSAGES, apply_submissions
from simscope_server.ledger.expiry import anything_due, expire, save_tick
from simscope_server.ledger.rules import NotExtended
from simscope_server.ledger.writer import CLOSE, Channel, Reply, Request, Writer, framed, portable
from simscope_server.messages.protocol import Context, Delivery, SimscopedError, StorageError, Submission
from simscope_server.settings import Config


class FailingConnection(sqlite3.Connection):
    """A connection of which one statement fails, as if the disk were full; and a list of what is committed when."""

    trouble: tuple[str, str | tuple[str, ...]] | None = None  # end of the file's name, beginnings of statements
    commits: ClassVar[list[str]] = []

    def __init__(self, path: Any, *args: Any, **named: Any) -> None:
        super().__init__(path, *args, **named)
        self.path = str(path)

    def _look(self, sql: str) -> None:
        if self.trouble and self.path.endswith(self.trouble[0]) and sql.strip().startswith(self.trouble[1]):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        if sql == "COMMIT":
            self.commits.append(Path(self.path).suffix)

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        self._look(sql)
        return super().execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
        self._look(sql)
        return super().executemany(sql, *args)


class Asker:
    """A real writer on files of its own, in a thread, and the other end of its channel."""

    def __init__(self, folder: Path) -> None:
        self.config = Config(db=folder / "simscope.db", enablelivejobs=True, livetimeoutsignature=SIGNATURE)
        self.end, self.theirs = socket.socketpair()
        self.end.settimeout(20)
        self.channel = Channel(self.end)
        self.thread = threading.Thread(target=Writer(self.config, Channel(self.theirs)).run, daemon=True)
        self.thread.start()
        self.started = self.heard()

    def close(self) -> None:
        self.end.close()
        self.theirs.close()

    def heard(self) -> Reply:
        reply: Reply = self.channel.receive()
        return reply

    def tell(self, *requests: Request) -> None:
        self.end.sendall(b"".join(map(framed, requests)))

    def do(self, fn: Callable[..., Any], *args: Any) -> Reply:
        self.tell(Request(True, fn, args, {}))
        return self.heard()

    def send(self, *messages: dict[str, Any]) -> Reply:
        return self.do(apply_submissions, [submission(*messages)])

    def rows(self, sql: str, suffix: str = "") -> list[tuple[Any, ...]]:
        """Read one of the files as another program would."""
        with contextlib.closing(sqlite3.connect(f"{self.config.db}{suffix}")) as conn:
            return conn.execute(sql).fetchall()

    def dump(self) -> list[str]:
        with contextlib.closing(sqlite3.connect(self.config.db)) as conn:
            return list(conn.iterdump())

    def lines(self) -> list[str]:
        """The log lines that a reader sees."""
        visible = self.rows("SELECT id, first_offset, next_offset FROM log WHERE job_id IS NOT NULL")
        found = self.rows("SELECT log, number, message FROM log_line ORDER BY 1, 2", ".logs")
        spans = {log: range(first, after) for log, first, after in visible}
        return [text for log, number, text in found if number in spans.get(log, ())]


def submission(*messages: dict[str, Any]) -> Submission:
    return Submission([Delivery("x.json", "test", [json.dumps(message).encode() for message in messages], Context())])


@pytest.fixture
def asker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asker]:
    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=FailingConnection))
    FailingConnection.trouble, FailingConnection.commits = None, []
    asker = Asker(tmp_path)
    yield asker
    FailingConnection.trouble = None
    asker.tell(CLOSE)
    asker.thread.join(20)
    assert not asker.thread.is_alive()
    asker.close()


# Whole or not at all.

FIRST = finish_of("a", "fail", name="smoke", fail_message="boom", log={"lines": ["one", "two"]})
STEPS = [
    ("db", "BEGIN"),
    ("db", "INSERT INTO regression"),
    ("db", "INSERT INTO signature"),
    ("db", "INSERT INTO log "),
    ("logs", "BEGIN"),
    ("logs", "INSERT INTO log_line"),
    ("db", "INSERT INTO test"),
    ("db", "INSERT INTO job"),
    ("db", "UPDATE regression"),
    ("db", "INSERT INTO event"),
    ("db", "INSERT INTO sighting"),
    ("db", "INSERT INTO receipt"),
    ("db", "UPDATE daemon"),
    ("logs", "COMMIT"),
    ("db", "COMMIT"),
]


@pytest.mark.parametrize("step", STEPS, ids=" ".join)
def test_a_transaction_of_which_any_statement_fails_leaves_no_trace_and_can_be_done_again(
    asker: Asker, step: tuple[str, str]
) -> None:
    before = asker.dump()

    FailingConnection.trouble = step
    failed = asker.send(FIRST)

    assert isinstance(failed.error, StorageError)
    assert (asker.dump(), asker.lines()) == (before, [])
    FailingConnection.trouble = None
    assert asker.send(FIRST).error is None
    assert asker.send(finish_of("b", "fail", name="smoke", fail_message="boom")).error is None
    assert asker.rows("SELECT id, name, n_fail FROM regression") == [(1, "r/1", 2)]
    assert asker.rows("SELECT regression_id, key, test_id, signature_id FROM job ORDER BY id") == [
        (1, "a", 1, 1),
        (1, "b", 1, 1),
    ]
    assert asker.rows("SELECT id, title FROM test") == [(1, "smoke")]
    assert asker.rows("SELECT id, title FROM signature") == [(1, "boom")]
    assert asker.rows("SELECT type FROM event ORDER BY seq") == [
        ("regression.started",),
        ("job.failed",),
        ("regression.first_failure",),
        ("job.failed",),
    ]
    assert asker.lines() == ["one", "two"]


def test_where_not_even_the_lines_can_be_rolled_back_the_database_is_and_goes_on_afterwards(asker: Asker) -> None:
    before = asker.dump()

    FailingConnection.trouble = ("logs", ("COMMIT", "ROLLBACK"))
    failed = [asker.send(FIRST).error for _ in range(2)]
    FailingConnection.trouble = None

    assert [type(error) for error in failed] == [StorageError] * 2
    assert asker.dump() == before
    assert asker.send(FIRST).error is None
    assert asker.lines() == ["one", "two"]
    assert asker.rows("SELECT message FROM log_line ORDER BY number", ".logs") == [("one",), ("two",)]


def test_what_a_failed_commit_would_have_changed_is_not_remembered(asker: Asker) -> None:
    asker.send(finish_of("a"))

    FailingConnection.trouble = ("db", "COMMIT")
    failed = asker.send({"type": "regr-finish", "regression": "r/1", "body": {}}, finish_of("b", "fail"))
    FailingConnection.trouble = None
    answer = asker.send({"type": "regr-update", "regression": "r/1", "body": {"tag": "x"}})

    assert answer.seq == failed.seq + 1
    assert asker.rows("SELECT ended, n_pass, n_fail, first_failure, tag FROM regression") == [(None, 1, 0, 0, "x")]


def test_lines_of_a_transaction_that_failed_are_not_committed_with_the_next_one(asker: Asker) -> None:
    FailingConnection.trouble = ("db", "INSERT INTO job")
    asker.send(FIRST)
    FailingConnection.trouble = None

    asker.send(finish_of("b", log={"lines": []}), finish_of("c", log={"lines": ["three"]}))

    assert asker.rows("SELECT message FROM log_line", ".logs") == [("three",)]


def test_the_lines_of_logs_are_committed_before_the_database_tells_of_them(asker: Asker) -> None:
    FailingConnection.commits.clear()

    asker.send(FIRST)

    assert FailingConnection.commits == [".logs", ".db"]


def test_a_daemon_killed_between_both_commits_has_lines_that_nothing_tells_of_and_takes_them_once(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(program=[sys.executable, str(ROOT / "tests/support/crashing_daemon.py")])
    daemon.drop("r/1/a.json", live(log={"lines": ["one", "two"]}))
    daemon.start(wait=False, env={"CRASH_AT": "before-commit:1"})
    assert daemon.process is not None
    daemon.process.wait(20)
    with contextlib.closing(sqlite3.connect(f"{daemon.db}.logs")) as conn:
        lines = conn.execute("SELECT message FROM log_line ORDER BY number").fetchall()
    assert lines == [("one",), ("two",)]
    assert daemon.rows("SELECT id FROM job") == daemon.rows("SELECT id FROM log") == []

    daemon.program = [sys.executable, str(ROOT / "simscoped.py")]
    daemon.start()

    wait_until(lambda: daemon.rows("SELECT id FROM receipt"))
    assert [line["message"] for line in daemon.get("/jobs/1/logs")["lines"]] == ["one", "two"]


# Questions and answers.


def test_the_writer_begins_by_saying_which_database_it_has(asker: Asker) -> None:
    [(epoch, seq)] = asker.rows("SELECT epoch, seq FROM daemon")

    assert (asker.started.result[0], asker.started.seq) == (epoch, seq)


def test_a_writer_that_cannot_open_its_files_says_why(tmp_path: Path) -> None:
    (tmp_path / "simscope.db").mkdir()

    asker = Asker(tmp_path)

    asker.thread.join(20)
    assert isinstance(asker.started.error, SimscopedError)
    assert "cannot be opened as a database" in str(asker.started.error)
    asker.close()


def test_a_question_that_looks_changes_nothing(asker: Asker) -> None:
    asker.send(finish_of("a"))
    before = asker.dump()

    asker.tell(Request(False, anything_due, (asker.config, 10**12), {}))

    answer = asker.heard()
    assert (answer.error, answer.result, answer.logged) == (None, True, frozenset())
    assert asker.dump() == before


def test_an_answer_tells_the_last_change_and_the_jobs_whose_logs_were_written(asker: Asker) -> None:
    first = asker.send(FIRST, finish_of("b"))
    second = asker.send(finish_of("c"))
    third = asker.do(save_tick)

    assert first.logged == {1}
    assert second.logged == frozenset()
    assert (third.seq, second.seq, first.seq) == (second.seq, first.seq + 1, asker.started.seq + 4)


def crowd(asker: Asker, *sizes: int) -> tuple[list[Reply], int]:
    """Hand in submissions of so many messages together, while the writer is kept busy. -> answers, transactions."""
    held = threading.Event()
    asker.tell(Request(False, hold, (), {}))
    HOLDS.append(held)
    asker.tell(*(request(size, f"{place}") for place, size in enumerate(sizes)))
    FailingConnection.commits.clear()
    held.set()
    asker.heard()
    answers = [asker.heard() for _ in sizes]
    return answers, FailingConnection.commits.count(".db")


HOLDS: list[threading.Event] = []


def hold(conn: sqlite3.Connection) -> None:
    wait_until(lambda: HOLDS)
    HOLDS.pop().wait(20)


def request(size: int, name: str) -> Request:
    bodies = [finish_of(f"{name}-{number}") for number in range(size)]
    return Request(True, apply_submissions, ([submission(*bodies)],), {})


@pytest.mark.parametrize(
    ("sizes", "transactions"),
    [
        ((1, 1, 1), 1),
        ((BATCH_MESSAGES - 1, 1, 1), 2),  # full with the second
        ((BATCH_MESSAGES, 1), 2),
        ((BATCH_MESSAGES - 1, 2), 1),
        ((1, 0, 1), 3),  # what has no messages ends the group, and is asked alone
    ],
)
def test_submissions_that_wait_share_a_transaction_until_it_has_enough_messages(
    asker: Asker, sizes: Sequence[int], transactions: int
) -> None:
    answers, counted = crowd(asker, *sizes)

    assert counted == transactions
    assert [sum(receipt.applied for receipt in answer.result[0][0]) for answer in answers] == list(sizes)


def test_other_questions_are_answered_in_their_turn(asker: Asker) -> None:
    held = threading.Event()
    asker.tell(Request(False, hold, (), {}))
    HOLDS.append(held)
    asker.tell(request(1, "a"), Request(True, tank_regression, (1, "why"), {}), request(1, "b"))
    held.set()

    _, first, tanked, last = (asker.heard() for _ in range(4))

    assert (first.error, tanked.error, last.error) == (None, None, None)
    assert first.seq < tanked.seq < last.seq
    assert asker.rows("SELECT type FROM event ORDER BY seq") == [
        ("regression.started",),
        ("job.passed",),
        ("regression.tanked",),
        ("job.passed",),
    ]


def test_of_submissions_that_fail_together_each_is_tried_alone(asker: Asker) -> None:
    held = threading.Event()
    asker.tell(Request(False, hold, (), {}))
    HOLDS.append(held)
    broken = Request(True, apply_submissions, ([Submission([Delivery("x", "x", [b"{}"], None)])],), {})  # type: ignore[arg-type]
    asker.tell(request(1, "a"), broken, request(1, "b"))
    held.set()

    _, first, wrong, last = (asker.heard() for _ in range(4))

    assert isinstance(wrong.error, AttributeError)
    assert "Traceback" in wrong.error.__notes__[0]
    assert [first.error, last.error] == [None, None]
    assert asker.rows("SELECT key FROM job ORDER BY key") == [("a-0",), ("b-0",)]


def test_an_error_of_a_rule_comes_back_as_it_is_and_leaves_no_trace(asker: Asker) -> None:
    asker.send(finish_of("a"))
    before = asker.dump()

    refused, unknown, wrong = asker.do(extend_job, 1, 5, None), asker.do(tank_job, 9, ""), asker.do(tank_job, 1, "")

    assert isinstance(refused.error, NotExtended)
    assert refused.error.reason == "not-live"
    assert isinstance(unknown.error, LookupError)
    assert isinstance(wrong.error, ValueError)
    assert asker.dump() == before
    assert asker.do(expire).error is None


class Unportable(Exception):
    """It cannot be pickled, because of what it holds."""

    def __init__(self) -> None:
        super().__init__("a lock", threading.Lock())


def test_an_error_that_cannot_be_sent_is_told_in_words() -> None:
    try:
        raise Unportable
    except Unportable as error:
        sent = portable(error)

    assert type(sent) is RuntimeError
    assert str(sent).startswith("Unportable: ('a lock'")
    assert "raise Unportable" in sent.__notes__[0]


def test_values_arrive_however_the_line_cuts_them() -> None:
    ours, theirs = socket.socketpair()
    values = [Reply(None, "x" * 200_000, 1), Reply(None, [], 2), Reply(None, {"a": 1}, 3)]
    channel, raw = Channel(theirs), b"".join(map(framed, values))

    assert not channel.has_more()
    ours.sendall(raw[:5])
    assert channel.has_more()
    pieces = [raw[place : place + 777] for place in range(5, len(raw), 777)]
    sender = threading.Thread(target=lambda: [*map(ours.sendall, pieces)])
    sender.start()

    assert [channel.receive() for _ in values] == values
    sender.join()
    assert not channel.has_more()
    ours.sendall(raw[:5])
    ours.close()
    with pytest.raises(EOFError):
        channel.receive()
    theirs.close()


def test_that_nobody_listens_any_more_is_no_matter() -> None:
    ours, theirs = socket.socketpair()
    ours.close()

    Channel(theirs).send([Reply(None, "x" * 1_000_000, 1)])
    theirs.close()


# Signals.

SLOW = """
os.setsid()
applied = rooms.find("apply_submissions")

@functools.wraps(applied)
def slowly(*asked, **named):
    receipts = applied(*asked, **named)
    if os.path.exists("slow"):
        os.rename("slow", "committing")
        while not os.path.exists("go on"):
            time.sleep(0.01)
    return receipts

rooms.replace("apply_submissions", slowly)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_loses_no_request(
    make_daemon: Callable[..., Daemon], tmp_path: Path, number: int
) -> None:
    """What is being committed is committed, and the daemon ends in order; on a busy machine the reply may come too late
    for a daemon that is told to stop."""
    daemon = make_daemon(program=driven(tmp_path / "daemon", SLOW)).start()
    assert daemon.process is not None
    (daemon.folder / "slow").touch()

    def ask() -> None:
        with contextlib.suppress(OSError):
            publish(daemon, "job-finish", "r", done())

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until((daemon.folder / "committing").exists)

    os.killpg(daemon.process.pid, number)
    time.sleep(0.2)  # for the signal to do its harm
    (daemon.folder / "go on").touch()

    asking.join(20)
    assert daemon.process.wait(20) == 0
    assert daemon.rows("SELECT key FROM job") == [("a",)]


# The process.

WRITE = """
import os, sys
from pathlib import Path
from simscope_server.ledger.writer import CLOSE, Channel, framed, start_writer
from simscope_server.settings import Config
writer = start_writer(Config(db=Path(sys.argv[1])), print)
assert Channel(writer.channel).receive().error is None
if sys.argv[2] == "close":
    writer.channel.sendall(framed(CLOSE))
else:
    writer.channel.close()
print(os.waitstatus_to_exitcode(os.waitpid(writer.pid, 0)[1]))
"""


@pytest.mark.process
@pytest.mark.parametrize(("how", "status", "left"), [("close", 0, False), ("hanging up", 1, True)])
def test_a_writer_tidies_up_at_the_end_and_leaves_all_as_it_is_when_the_daemon_is_gone(
    tmp_path: Path, how: str, status: int, left: bool
) -> None:
    command = [sys.executable, "-c", WRITE, str(tmp_path / "x.db"), how]

    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert (ran.stdout, ran.stderr) == (f"{status}\n", "")
    assert [(tmp_path / f"x.db{name}").exists() for name in ("", "-wal", ".logs-wal")] == [True, left, left]
