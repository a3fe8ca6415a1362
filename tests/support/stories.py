"""A database in memory that messages are told to, at a time set by hand, and what must hold in it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from simscope_server.ledger.batch import Batch, Known
from simscope_server.ledger.database import Moment, _make_database
from simscope_server.ledger.deliveries import apply_deliveries
from simscope_server.ledger.effects import flush
from simscope_server.ledger.logbook import LogBook
from simscope_server.ledger.rows import Tally
from simscope_server.messages.protocol import Context, Delivery, Outcome
from simscope_server.settings import Config

T = TypeVar("T")
SIGNATURE = "LIVE Job Timeout or Missing"


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
        [receipt] = self.change(apply_deliveries, [delivery])
        return receipt.details

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
