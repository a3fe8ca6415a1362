"""Rows of tables job and regression as objects, what they count for, and the statements that write them."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from simscope_server.ledger.rules import ALIVE, DONE, LIMITED, limit_that_holds
from simscope_server.messages.decoding import counted_cycles
from simscope_server.messages.protocol import COLUMN_OF_JOB, FAIL, LIVE, PASS, SKIP


class Counters(msgspec.Struct):
    """The one row of table daemon."""

    epoch: str
    tick: int
    seq: int
    last_job_id: int
    last_receipt_id: int
    events_from_seq: int


class Regression(msgspec.Struct):
    """A row of table regression, in the order of its columns."""

    id: int
    name: str
    series: str | None
    number: int | None
    component: str | None
    project: str | None
    branch: str | None
    tag: str | None
    submitted: int | None
    running: int | None
    starttime_at: int | None
    time_limit_ms: int | None
    fields: str
    ended: str | None
    ending: str | None
    tanked_at: int | None
    tank_reason: str | None
    created_at: int
    ended_at: int | None
    last_activity_at: int
    active_tick: int
    first_tick: int
    limit_tick: int | None
    progress_seq: int | None
    first_failure: int
    new_signatures: int
    n_pass: int
    n_fail: int
    n_skip: int
    n_live: int
    n_migrated: int
    sum_compute_ms: int
    sum_runtime_ms: int
    sum_cycles: int
    sum_cycle_compute_ms: int
    version: int


class JobRow(msgspec.Struct):
    """What the ledger itself reads or writes of a row of table job."""

    id: int
    regression_id: int
    key: str | bytes
    result: int
    state: str
    reason: str | None
    category: str
    signature_id: int | None
    test_id: int | None
    name: str | None
    phase: str | None
    config: str | None
    seed: str | None
    start_at: int | None
    finish_at: int | None
    verdict_start_at: int | None
    compute_ms: int | None
    runtime_ms: int | None
    cycles: int | None
    fail_message: str | None
    bucket: str | None
    metadata: str | None
    extra: str | None
    submitted_at: int
    running_at: int | None
    done_at: int | None
    seen_at: int
    seen_tick: int
    running_tick: int | None
    time_limit_ms: int | None
    extended_ms: int | None
    limit_tick: int | None
    progress_seq: int | None
    version: int


# A row of table job: the columns above, and those that only take what a publisher said of a field.
if TYPE_CHECKING:
    Job = JobRow
else:
    Job = msgspec.defstruct(
        "Job", [name for name in COLUMN_OF_JOB.values() if name not in JobRow.__struct_fields__], bases=(JobRow,)
    )


def limit_of(job: Job) -> int | None:
    """The time limit that holds, in ms since the job began to run."""
    return limit_that_holds(job.time_limit_ms, job.extended_ms)


def counted_runtime(job: Job) -> int | None:
    """The runtime that counts: as published, else finish - start, else compute time."""
    if job.runtime_ms is not None:
        return job.runtime_ms
    if job.finish_at is not None and job.start_at is not None and job.finish_at >= job.start_at:
        return job.finish_at - job.start_at
    return job.compute_ms


class Tally(NamedTuple):
    """What one job adds to the counters of its regression."""

    n_pass: int = 0
    n_fail: int = 0
    n_skip: int = 0
    n_live: int = 0
    n_migrated: int = 0
    sum_compute_ms: int = 0
    sum_runtime_ms: int = 0
    sum_cycles: int = 0
    sum_cycle_compute_ms: int = 0


NOTHING = Tally()
OF_LIVE, OF_LOST, OF_LIMITED = Tally(n_live=1), Tally(n_fail=1, n_migrated=1), Tally(n_fail=1)


def tally(job: Job) -> Tally:
    """Live jobs add nothing to statistics, nor do verdicts that are not their publisher's."""
    if job.state == ALIVE:
        return OF_LIVE
    if job.state != DONE:
        return OF_LIMITED if job.state == LIMITED else OF_LOST
    result, compute = job.result, job.compute_ms or 0
    return Tally(
        result == PASS,
        result == FAIL,
        result == SKIP,
        0,
        0,
        compute,
        counted_runtime(job) or 0,
        counted_cycles(job.cycles),
        compute if job.cycles is not None else 0,
    )


JOB_COLUMNS = ", ".join(Job.__struct_fields__)
REGRESSION_COLUMNS = ", ".join(Regression.__struct_fields__)

BLANK_JOB = Job(
    **dict.fromkeys(Job.__struct_fields__) | {"result": LIVE, "state": ALIVE}  # type: ignore[arg-type]
)

copied: Callable[[Job], Job] = Job.__copy__  # type: ignore[attr-defined]  # five times as quick as copy.copy
what_it_runs = operator.itemgetter(*map(Job.__struct_fields__.index, ("category", "name", "config", "seed")))


def differing(row: Iterable[Any], stored: Iterable[Any]) -> bytes:
    """Which columns of two rows differ: a byte each, 1 if so."""
    return bytes(map(operator.ne, row, stored))


@functools.lru_cache(maxsize=512)
def writing(table: str, names: tuple[str, ...], marked: bytes, is_new: bool) -> str:
    """The statement that writes the marked columns of a row: half as many cost half as much."""
    columns = list(itertools.compress(names, marked))
    if is_new:
        return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' for _ in columns)})"
    return f"UPDATE {table} SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?"


UPDATE_COUNTERS = "UPDATE daemon SET tick = ?, seq = ?, last_job_id = ?, last_receipt_id = ?, events_from_seq = ?"
FIND_JOB = f"SELECT {JOB_COLUMNS} FROM job WHERE regression_id = ? AND key = ?"

FIND_JOBS = f"""
    SELECT {", ".join(f"j.{name}" for name in Job.__struct_fields__)} FROM json_each(?) AS wanted
    JOIN job AS j ON j.regression_id = wanted.value ->> 0 AND j.key = wanted.value ->> 1
"""

FIND_REGRESSION = f"SELECT {REGRESSION_COLUMNS} FROM regression WHERE name = ?"

INSERT_REGRESSION = """
    INSERT INTO regression
        (name, series, number, fields, created_at, last_activity_at, active_tick, first_tick, version)
    VALUES (?, ?, ?, '{}', ?, ?, ?, ?, ?)
"""

FIND_SIGNATURE = "SELECT id FROM signature WHERE category = ? AND title = ?"

INSERT_SIGNATURE = """
    INSERT INTO signature (category, title, first_seen_at, first_regression_id, last_seen_at) VALUES (?, ?, ?, ?, ?)
"""

FIND_TEST = "SELECT id FROM test WHERE key = ?"
INSERT_TEST = "INSERT INTO test (key, title, category) VALUES (?, ?, ?) RETURNING id"
TEST_TITLE_LENGTH = 500

INSERT_SIGHTING = """
    INSERT INTO sighting VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET last_seen_at = excluded.last_seen_at
"""

INSERT_EVENT = """
    INSERT INTO event (seq, at, type, regression_id, job_id, result, origin, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""

INSERT_RECEIPT = """
    INSERT INTO receipt (id, name, received_at, applied, duplicate, ignored, rejected, details)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
