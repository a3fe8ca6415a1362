"""A log of what happens to a database, and its application in ways that must not matter: cut into transactions
anywhere, with rollbacks and lost caches, in whatever order SQLite finds rows, whatever hashes Python uses.

As a program it applies one log and prints the digest, for a run with other hashes: replays.py SEED."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from simscope_server.ledger.actions import tank_regression, untank_regression
from simscope_server.ledger.batch import Batch, Known
from simscope_server.ledger.database import Moment, _make_database
from simscope_server.ledger.deliveries import apply_deliveries
from simscope_server.ledger.effects import flush
from simscope_server.ledger.expiry import expire, forget_logs, prune_jobs, prune_records
from simscope_server.ledger.logbook import LogBook
from simscope_server.messages.protocol import Context, Delivery
from simscope_server.settings import Config

HOUR_MS = 3_600_000
Said = tuple[str, str, dict[str, Any]]  # type, regression, body
REGRESSIONS = [f"r/{number}" for number in range(12)]
CONFIG = Config(
    enablelivejobs=True,
    livetimeoutsignature="LIVE Job Timeout or Missing",
    autotimeouthours=2,
    prunelivedays=0.1,
    log_lines=20,
    keep_events_days=1,
    keep_receipts_days=1,
)


class Entry(NamedTuple):
    """One thing that happened: when, in ms since the log's beginning, and what was done, with what."""

    at: int
    do: Callable[..., Any]
    args: tuple[Any, ...]


class Undone(Exception):
    """A transaction that is rolled back on purpose."""


# --- making a log -----------------------------------------------------------------------------------------------------


def make_log(seed: int, count: int) -> list[Entry]:
    """Entries of all kinds, in the order of their times."""
    chance, at, entries = random.Random(seed), 0, []
    for number in range(count):
        at += 4 * HOUR_MS if number % 100 == 99 else chance.choice((0, 1, 1000, 60_000, HOUR_MS // 10))
        entries.append(Entry(at, *_deed(chance, number)))
    return entries + _ends_together(at)


def _ends_together(at: int) -> list[Entry]:
    """Some regressions that run into their time limits at once, and then some that are silent for too long at once."""
    limited: list[Said] = [("regr-start", f"limited/{number}", {"time_limit_hours": 1}) for number in range(3)]
    silent: list[Said] = [("regr-start", f"silent/{number}", {}) for number in range(3)]
    told = [Entry(at, *_delivery("together", limited + silent))]
    return told + [Entry(at + late * HOUR_MS, expire, ()) for late in (1, 2, 2, 3)]


def _deed(chance: random.Random, number: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    kind = 0.8 if number % 100 == 99 else chance.random()
    if kind < 0.75:
        messages = [_message(chance, number) for _ in range(chance.choice((1, 1, 1, 8, 30)))]
        return _delivery(f"d{number}", messages)
    if kind < 0.9:
        return chance.choice((expire, expire, prune_jobs)), ()
    if kind < 0.91:
        return forget_logs, ()
    if kind < 0.93:
        return prune_records, ()
    tanks = chance.choice((untank_regression, tank_regression))
    return tanks, (chance.randint(1, len(REGRESSIONS)), *(("why",) if tanks is tank_regression else ()))


def _delivery(name: str, messages: list[Said]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    items = [json.dumps(dict(zip(("type", "regression", "body"), said, strict=True))).encode() for said in messages]
    return apply_deliveries, ([Delivery(name, "test", items, Context())],)


def _message(chance: random.Random, newest: int) -> Said:
    regression = REGRESSIONS[(newest // 90 + chance.randint(0, 3)) % len(REGRESSIONS)]  # the others are silent
    kind = chance.choice(("job-live", "job-live", "job-live", "job-finish", "job-finish", "regression"))
    if kind == "regression":
        run = {"starttime": f"2025-01-0{chance.randint(1, 3)}T00:00:00Z"}
        kind = chance.choice(("regr-start", "regr-update", "regr-update", "regr-finish"))
        return (
            kind,
            regression,
            run | {"running": chance.randint(0, 9), "time_limit_hours": chance.choice((0, 0, 0, 3))},
        )
    job: dict[str, Any] = {"category": "sim", "uniqueid": f"job-{chance.randint(max(0, newest - 60), newest)}"}
    job |= {"host": f"h{chance.randint(0, 3)}", "name": f"test{chance.randint(0, 5)}"}
    if chance.random() < 0.6:
        job["log"] = {"lines": [f"line {chance.random()}" for _ in range(chance.randint(1, 9))]}
    if kind == "job-live":
        job |= {"result": "live", "phase": chance.choice(("queued", "run")), "progress": {"done": chance.random()}}
        return kind, regression, job | chance.choice(({}, {"time_limit_ms": chance.choice((HOUR_MS, 2 * HOUR_MS))}))
    message = f"{chance.choice(('ERROR', 'FATAL', 'assert'))} {chance.choice('abcdefgh')} stuck"
    start = f"2025-01-01T0{chance.randint(0, 9)}:00:00Z"
    return (
        kind,
        regression,
        job | {"result": chance.choice(("pass", "fail")), "fail_message": message, "start_time": start},
    )


# --- applying it ------------------------------------------------------------------------------------------------------


class Replica:
    """A database in memory that entries of a log are applied to."""

    def __init__(self, *, reversed_selects: bool = False) -> None:
        self.conn = sqlite3.connect(":memory:", isolation_level=None)
        _make_database(self.conn)
        self.conn.execute("UPDATE daemon SET epoch = 'epoch', seq = 0, events_from_seq = 0")
        self.logbook = LogBook(":memory:")
        self.known = Known()
        for conn in (self.conn, self.logbook.conn):
            conn.execute(f"PRAGMA reverse_unordered_selects = {int(reversed_selects)}")

    def __del__(self) -> None:
        """A connection that is left to the collector is a warning."""
        self.conn.close()
        self.logbook.conn.close()

    def apply(self, entries: Iterable[Entry], *, undo: bool = False) -> None:
        """Apply entries in one transaction, each at its own moment; `undo` rolls it back at the end."""
        self.conn.execute("BEGIN IMMEDIATE")
        try:
            known = self.known
            for entry in entries:
                known = self._apply_one(entry, known)
            if undo:
                raise Undone
        except Undone:
            self.logbook.rollback()
            self.conn.execute("ROLLBACK")
            self.known = Known()
        else:
            self.logbook.commit()
            self.conn.execute("COMMIT")
            self.known = known

    def _apply_one(self, entry: Entry, known: Known) -> Known:
        moment = Moment(1_700_000_000_000 + entry.at, entry.at)
        batch = Batch(self.conn, CONFIG, moment, self.logbook, known)
        with contextlib.suppress(LookupError):  # there is no such regression yet
            entry.do(batch, *entry.args)
        flush(batch)
        batch.close()
        batch.known.learn(batch.learned)
        return batch.known

    def digest(self) -> str:
        """Of every row of both files."""
        told = hashlib.sha256()
        for conn in (self.conn, self.logbook.conn):
            tables = conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
            for (table,) in tables:
                rows = sorted(map(repr, conn.execute(f"SELECT * FROM {table}")))
                told.update(repr((table, rows)).encode())
        return told.hexdigest()


def cuts(entries: list[Entry], seed: int, most: int) -> Iterator[list[Entry]]:
    """The log in pieces of 1 to `most` entries."""
    chance, begin = random.Random(seed), 0
    while begin < len(entries):
        end = begin + chance.randint(1, most)
        yield entries[begin:end]
        begin = end


def one_by_one(entries: list[Entry], **options: Any) -> Replica:
    """Each entry a transaction of its own."""
    replica = Replica(**options)
    for entry in entries:
        replica.apply([entry])
    return replica


if __name__ == "__main__":
    print(one_by_one(make_log(int(sys.argv[1]), int(sys.argv[2]))).digest())
