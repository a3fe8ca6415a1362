"""A database in memory that messages are told to, at a time set by hand, and what must hold in it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from simscope_server.ledger.batch import Batch, Known
from simscope_server.ledger.database import Moment, _make_database
from simscope_server.ledger.deliveries import apply_deliveries
from simscope_server.ledger.effects import flush
from simscope_server.ledger.expiry import expire, prune_jobs
from simscope_server.ledger.logbook import LogBook
from simscope_server.ledger.rows import Regression, Tally
from simscope_server.messages.protocol import Context, Delivery, Outcome, Receipt, json_object
from simscope_server.settings import Config

T = TypeVar("T")
SIGNATURE = "LIVE Job Timeout or Missing"
HOUR_S = 3600
DAY_S = 24 * HOUR_S
T1, T2, T3 = (f"2025-01-0{day}T00:00:00Z" for day in (1, 2, 3))


class Story:
    """A database in memory that messages are told to, one call a transaction, at a time set by hand."""

    def __init__(self, **options: Any) -> None:
        given: dict[str, Any] = {"enablelivejobs": True, "livetimeoutsignature": "LIVE Job Timeout or Missing"}
        self.config = Config(**(given | options))
        self.now = 1_700_000_000_000
        self.tick = 0
        self.conn = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.conn.row_factory = None
        _make_database(self.conn)
        self.logbook = LogBook(":memory:")
        self.known = Known()

    def __del__(self) -> None:
        """Tests make stories wherever they need one; a connection that is left to the collector is a warning."""
        self.conn.close()
        self.logbook.conn.close()

    def pass_time(self, seconds: float) -> None:
        """Let both clocks go on."""
        self.now += round(seconds * 1000)
        self.tick += round(seconds * 1000)

    def batch(self) -> Batch:
        return Batch(self.conn, self.config, Moment(self.now, self.tick), self.logbook, self.known)

    def change(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run fn(batch, …) as one transaction, as the store does."""
        self.conn.execute("BEGIN IMMEDIATE")
        try:
            batch = self.batch()
            result = fn(batch, *args, **kwargs)
            flush(batch)
            batch.close()
            self.logbook.commit()
        except BaseException:
            self.logbook.rollback()
            self.conn.execute("ROLLBACK")
            raise
        self.conn.execute("COMMIT")
        self.known = batch.known
        self.known.learn(batch.learned)
        return result

    def send(self, *messages: tuple[str, str, Any]) -> list[Outcome]:
        """Apply (type, regression, body) messages in one batch. -> their outcomes."""
        items = [json.dumps({"type": kind, "regression": name, "body": body}).encode() for kind, name, body in messages]
        delivery = Delivery("story", "story", items, Context())
        receipts: list[Receipt] = self.change(apply_deliveries, [delivery])
        return receipts[0].details

    def live(self, regression: str = "r/1", uniqueid: str = "a", **fields: Any) -> Outcome:
        body = {"category": "sim", "uniqueid": uniqueid, "result": "live"} | fields
        return self.send(("job-live", regression, body))[0]

    def finish(self, regression: str = "r/1", uniqueid: str = "a", result: str = "pass", **fields: Any) -> Outcome:
        body = {"category": "sim", "uniqueid": uniqueid, "result": result} | fields
        return self.send(("job-finish", regression, body))[0]

    def regr(self, kind: str, regression: str = "r/1", **fields: Any) -> Outcome:
        return self.send((kind, regression, fields or None))[0]

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        cursor = self.conn.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def regression(self, name: str = "r/1") -> dict[str, Any]:
        return self.rows("SELECT * FROM regressions WHERE name = ?", name)[0]

    def job(self, uniqueid: str = "a", regression: str = "r/1") -> dict[str, Any]:
        return self.rows("SELECT * FROM jobs WHERE key = ? AND regression = ?", uniqueid, regression)[0]

    def events(self, prefix: str = "") -> list[str]:
        rows = self.conn.execute("SELECT type FROM event WHERE type GLOB ? ORDER BY seq", (f"{prefix}*",))
        return [kind for (kind,) in rows]


def assert_consistent(story: Story) -> None:
    """Counters are what COUNT and SUM say; the version of a row is the number of its last change."""
    counted = story.rows(
        """
        SELECT r.id, count(j.id) FILTER (WHERE j.result = 1) AS n_pass,
               count(j.id) FILTER (WHERE j.result = 2) AS n_fail,
               count(j.id) FILTER (WHERE j.result = 3) AS n_skip, count(j.id) FILTER (WHERE j.result = 0) AS n_live,
               count(j.id) FILTER (WHERE j.migrated) AS n_migrated,
               total(j.compute_ms) FILTER (WHERE j.state = 'done') AS sum_compute_ms,
               total(j.counted_runtime_ms) FILTER (WHERE j.state = 'done') AS sum_runtime_ms,
               total(j.cycles) FILTER (WHERE j.state = 'done') AS sum_cycles,
               total(j.compute_ms) FILTER (WHERE j.state = 'done' AND j.cycles IS NOT NULL) AS sum_cycle_compute_ms
        FROM regression AS r LEFT JOIN jobs AS j ON j.regression_id = r.id GROUP BY r.id ORDER BY r.id
        """
    )
    kept = story.rows(f"SELECT id, {', '.join(Tally._fields)} FROM regression ORDER BY id")
    assert kept == counted
    versions = story.rows("SELECT id, version FROM job ORDER BY id")
    told = "SELECT id, (SELECT max(seq) FROM event WHERE job_id = job.id) AS version FROM job ORDER BY id"
    assert versions == story.rows(told)
    told = (
        "SELECT id, (SELECT max(seq) FROM event WHERE regression_id = r.id) AS version FROM regression AS r ORDER BY id"
    )
    assert story.rows("SELECT id, version FROM regression ORDER BY id") == story.rows(told)
    assert not story.rows("SELECT id FROM job WHERE (result = 0) != (state = 'live')")
    assert not story.rows("SELECT id FROM job WHERE (result = 2) != (signature_id IS NOT NULL)")


def counts(story: Story, name: str = "r/1") -> dict[str, int]:
    """The counters of a regression that are not 0."""
    row = story.regression(name)
    return {key[2:]: row[key] for key in ("n_pass", "n_fail", "n_skip", "n_live", "n_migrated") if row[key]}


def row_of_regression(**columns: Any) -> Regression:
    """What a rule needs to see of a row."""
    return cast(Regression, SimpleNamespace(**columns))


def wait(story: Story, seconds: float) -> None:
    """Let time pass, and let the daemon act on it until there is nothing more to do."""
    story.pass_time(seconds)
    for act in (expire, prune_jobs):
        slices(story, act)


def slices(story: Story, act: Callable[[Batch], bool] = expire) -> int:
    """Let the daemon go on with what is not done yet. -> how many times it took."""
    for number in range(1, 1000):
        if not story.change(act):
            return number
    raise AssertionError("there is always more to do")


def told(story: Story, kind: str) -> list[dict[str, Any]]:
    """The data of all events of a type, oldest first."""
    return [json_object(row["data"]) for row in story.rows("SELECT data FROM event WHERE type = ? ORDER BY seq", kind)]


def state(story: Story, uniqueid: str = "a") -> tuple[str, str | None, str | None]:
    """Result, reason and signature of a job."""
    job = story.job(uniqueid)
    return job["result_name"], job["reason"], job["signature"]


def status(story: Story, name: str = "r/1") -> tuple[str, str | None]:
    row = story.regression(name)
    return row["status"], row["status_reason"]


def extra(story: Story, uniqueid: str = "a") -> dict[str, Any]:
    return json_object(story.job(uniqueid)["extra"])


def fields(story: Story, name: str = "r/1") -> dict[str, Any]:
    return json_object(story.regression(name)["fields"])


def deliver(story: Story, *items: Any, careful: bool = False) -> Receipt:
    """One delivery of envelopes (or of bytes as they are). -> its receipt."""
    raw = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
    delivery = Delivery("file.json", "spool:file.json", raw, Context())
    receipts: list[Receipt] = story.change(apply_deliveries, [delivery], careful=careful)
    return receipts[0]


def finish_of(uniqueid: str, result: str = "pass", **said: Any) -> dict[str, Any]:
    body = {"category": "sim", "uniqueid": uniqueid, "result": result} | said
    return {"type": "job-finish", "regression": "r/1", "body": body}


def words(number: int) -> str:
    """A message of words, without a number that a title would leave out."""
    return "stuck in " + "".join(chr(ord("a") + int(digit)) for digit in f"{number:03d}")
