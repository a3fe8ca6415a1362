"""What people do by hand, over HTTP: tank, untank, extend, add lines to a log. Each is a function of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from simscope_server.ledger import life
from simscope_server.ledger.batch import Batch
from simscope_server.ledger.jobs import give_up, heard_of, limit_ends, revive, revive_all
from simscope_server.ledger.logbook import LogComplete
from simscope_server.ledger.rows import Job, Regression, limit_of
from simscope_server.ledger.rules import (
    ALIVE,
    DONE,
    LIMITED,
    OPEN,
    TANKED,
    TANKED_SIGNATURE,
    NotExtended,
    extended_limit,
)
from simscope_server.messages.protocol import RESULTS, T
from simscope_server.messages.times import in_words, utc

# What people do by hand.


def by_hand(batch: Batch, peer: str, fn: Callable[..., T], *args: Any) -> T:
    """A change that somebody asked for over HTTP."""
    batch.origin = f"http:{peer}"
    return fn(batch, *args)


def regression_by_id(batch: Batch, regression_id: int) -> Regression:
    """Load a regression by its id. Raises LookupError."""
    row = batch.conn.execute("SELECT name FROM regression WHERE id = ?", (regression_id,)).fetchone()
    if row is None:
        raise LookupError(f"no regression {regression_id}")
    return batch.regression(str(row[0]))


def tank_regression(batch: Batch, regression_id: int, reason: str) -> None:
    """Give a regression up: hide it, and make its live jobs fails."""
    life.tank(batch, regression_by_id(batch, regression_id), reason)


def untank_regression(batch: Batch, regression_id: int) -> None:
    """Show a regression again, and bring its tanked jobs back: live, or missing if it is over by now."""
    regression = regression_by_id(batch, regression_id)
    if life.untank(batch, regression):
        revive_all(batch, regression, TANKED, "untanked")


class Gone(LookupError):
    """A job is not there any more: it was pruned, at a time in ms since 1970."""

    def __str__(self) -> str:
        job_id, pruned_at = self.args
        return f"job {job_id} was live without news for long and was pruned at {utc(pruned_at)}"


def job_by_id(batch: Batch, job_id: int) -> Job:
    """Load a job that was there when its change was asked for. Raises Gone."""
    jobs = batch.load_jobs("id = ?", job_id)
    if jobs:
        return jobs[0]
    pruned = batch.conn.execute("SELECT id, pruned_at FROM pruned_job WHERE id = ?", (job_id,)).fetchone()
    raise Gone(*pruned) if pruned else LookupError(f"no job {job_id}")


def add_lines(batch: Batch, job_id: int, offset: int | None, lines: Sequence[str]) -> None:
    """Add lines to a job's log by themselves, without a message; they are a sign of life.

    Raises Gone, LogGap, or LogComplete."""
    job = job_by_id(batch, job_id)
    if job.state == DONE:
        raise LogComplete(f"job {job_id} has its verdict; its log is complete")
    batch.append_lines(job_id, offset, lines)
    if job.state == ALIVE:
        heard_of(batch, regression_by_id(batch, job.regression_id).name)
        job.seen_at, job.seen_tick = batch.moment
        batch.touch(job)


def tank_job(batch: Batch, job_id: int, reason: str) -> None:
    """Give one live job up. Raises Gone, or ValueError for a job that is not live."""
    job = job_by_id(batch, job_id)
    if job.state == TANKED:
        return
    if job.state != ALIVE:
        raise ValueError(f"job {job_id} is not live, but {RESULTS[job.result]}")
    regression = regression_by_id(batch, job.regression_id)
    job.state = TANKED
    why = f"tanked: {reason or 'no reason given'}"
    give_up(batch, regression, job, "tanked", "job.tanked", TANKED_SIGNATURE, why)


def extend_job(batch: Batch, job_id: int, by_ms: int | None, until: int | None) -> None:
    """Move the time limit of a live job, or of one that its limit ended, which lives again. Raises NotExtended,
    or Gone."""
    job = job_by_id(batch, job_id)
    regression = regression_by_id(batch, job.regression_id)
    where = life.stands(regression)
    if job.state not in (ALIVE, LIMITED):
        raise NotExtended("not-live", f"job {job_id} is not live, but {RESULTS[job.result]}")
    if job.state == LIMITED and where != OPEN:
        raise NotExtended("not-live", f"job {job_id} ran into its time limit, and its regression is {where} by now")
    old = limit_of(job)
    new = extended_limit(old, job.running_tick, *batch.moment, by_ms, until)
    job.extended_ms = new - (job.time_limit_ms or 0)
    if job.state == LIMITED:
        revive(batch, regression, job, None, description="its time limit was moved")
        job.seen_tick = batch.moment.tick
    job.limit_tick = limit_ends(job)
    batch.touch(job)
    said = f"until {utc(until)}" if by_ms is None else f"by {in_words(by_ms)}"
    changed = {"time_limit_ms": [old, new]}
    batch.tell("job.extended", regression, job, changed=changed, description=f"time limit moved {said}")


class KeyReused(ValueError):
    """An Idempotency-Key came with another request than the first time."""


def once(batch: Batch, key: str, asked: str, do: Callable[..., str], *args: Any) -> str:
    """Do something and give its answer; under the same key a second time, give the answer of the first time.

    Without a key it is done each time. Raises KeyReused if something else was asked for under the key."""
    known = batch.conn.execute("SELECT asked, answer FROM idempotency WHERE key = ?", (key,)).fetchone()
    if known is not None and known[0] != asked:
        raise KeyReused("the Idempotency-Key was used for another request; each request takes a new one")
    if known is not None:
        return str(known[1])
    answer = do(batch, *args)
    if key:
        batch.conn.execute("INSERT INTO idempotency VALUES (?, ?, ?, ?)", (key, asked, answer, batch.moment.now))
    return answer
