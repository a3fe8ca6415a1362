"""What one transaction knows: rows in memory, changed by the effects, written back as rows and events.

A Batch loads the rows that its messages speak of, lets the rules change them in memory, and writes them back in
write(): jobs, counters, events. Nothing of it outlives the transaction, so a rollback leaves no trace in memory either.
Plain SQL, no asyncio.
"""

from __future__ import annotations

import hashlib
import itertools
import operator
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from simscope_server.ledger import signatures
from simscope_server.ledger.database import Moment
from simscope_server.ledger.logbook import LOG_SIZE_MOST, LogBook, LogGap
from simscope_server.ledger.rows import (
    BLANK_JOB,
    FIND_JOB,
    FIND_JOBS,
    FIND_REGRESSION,
    FIND_SIGNATURE,
    FIND_TEST,
    INSERT_EVENT,
    INSERT_REGRESSION,
    INSERT_SIGHTING,
    INSERT_SIGNATURE,
    INSERT_TEST,
    JOB_COLUMNS,
    NOTHING,
    TEST_TITLE_LENGTH,
    UPDATE_COUNTERS,
    Counters,
    Job,
    Regression,
    Tally,
    copied,
    differing,
    tally,
    what_it_runs,
    writing,
)
from simscope_server.ledger.rules import split_series, test_of
from simscope_server.messages.protocol import Message, encode_json, to_json
from simscope_server.settings import Config

CHANGED_LENGTH = 200  # characters of a value in the `changed` of an event
SLICE_JOBS = 10_000  # jobs given up per transaction: about 0.1 s, so that all but giants end in one step
KNOWN_MOST = 1000  # regressions, and tests


class Known:
    """What is remembered of the database from one transaction to the next, which nobody but the writer changes."""

    def __init__(self) -> None:
        self.regressions: dict[str, tuple[Any, ...]] = {}  # name -> row
        self.tests: dict[tuple[str, str], int] = {}  # category, title -> id

    def learn(self, more: Known) -> None:
        """Take over what a transaction has found and written; once it is committed, not before."""
        if len(self.regressions) + len(more.regressions) > KNOWN_MOST:
            self.regressions.clear()
        if len(self.tests) + len(more.tests) > KNOWN_MOST:
            self.tests.clear()
        self.regressions.update(more.regressions)
        self.tests.update(more.tests)


class Batch:
    """The rows that one transaction touches. Made and used by the writer only."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        config: Config,
        moment: Moment,
        logbook: LogBook,
        known: Known | None = None,
    ) -> None:
        self.conn = conn
        self.known, self.learned = known or Known(), Known()
        self.logbook = logbook
        self.config = config
        self.moment = moment
        self.origin = "daemon"
        self.left_of_slice = SLICE_JOBS
        row = conn.execute(f"SELECT {', '.join(Counters.__struct_fields__)} FROM daemon").fetchone()
        self.counters = Counters(*row)
        self.counters.tick = max(self.counters.tick, moment.tick)
        self.signatures: dict[tuple[str, str], int] = {}
        self.sightings: set[tuple[int, str]] = set()
        self.logged: set[int] = set()  # jobs that lines were written for
        self.forget()

    def forget(self) -> None:
        """Drop all rows that are not written yet."""
        self.regressions: dict[str, Regression] = {}
        self.stored_regressions: dict[int, tuple[Any, ...]] = {}  # rows as the database has them
        self.jobs: dict[tuple[int, str | bytes], Job] = {}
        self.absent: set[tuple[int, str | bytes]] = set()  # looked for and not found
        self.stored_jobs: dict[int, tuple[Any, ...]] = {}
        self.touched: dict[int, Job] = {}
        self.counted: dict[int, Tally] = {}  # what of a job is in the counters of its regression
        self.events: dict[int, tuple[Any, ...]] = {}
        self.replaced: list[int] = []
        self.failed: set[int] = set()  # regressions of which a job has failed
        self.signatures.clear()
        self.sightings.clear()

    def unlearn(self) -> None:
        """Forget all, and believe nothing but the database: part of the transaction was rolled back."""
        self.forget()
        self.known, self.learned = Known(), Known()

    # Rows, loaded once and kept.

    def regression(self, name: str) -> Regression:
        """The regression of that name; made, live, at the first message that names it."""
        if self._known_regression(name):
            return self.regressions[name]
        now, tick = self.moment
        series, number = split_series(name, self.config.seriesseparator)
        self.conn.execute(INSERT_REGRESSION, (name, series, number, now, now, tick, tick, self.counters.seq))
        self._known_regression(name)
        self.tell("regression.started", self.regressions[name])
        return self.regressions[name]

    def _known_regression(self, name: str) -> bool:
        """Is there a regression of that name? If so, it is loaded."""
        if name not in self.regressions:
            row = self.learned.regressions.get(name) or self.known.regressions.get(name)
            row = row or self.conn.execute(FIND_REGRESSION, (name,)).fetchone()
            if row is None:
                return False
            self.regressions[name] = Regression(*row)
            self.stored_regressions[self.regressions[name].id] = row
        return True

    def preload(self, messages: Iterable[Message]) -> None:
        """Load the jobs that messages speak of with one query, which costs half of one for each.

        Only texts can be handed over in JSON; a job without a uniqueid is looked up when its turn comes."""
        wanted: dict[int, set[str]] = {}
        for message in messages:
            if isinstance(message.key, str) and message.key and self._known_regression(message.regression):
                wanted.setdefault(self.regressions[message.regression].id, set()).add(message.key)
        keys = [(number, key) for number, texts in wanted.items() for key in texts]
        if keys:
            self.absent.update(keys)
            for row in self.conn.execute(FIND_JOBS, (to_json(keys),)):
                job = self.loaded(row)
                self.absent.discard((job.regression_id, job.key))

    def job(self, regression: Regression, key: str | bytes) -> Job | None:
        """The job of that key, or None."""
        known = self.jobs.get((regression.id, key))
        if known is not None or (regression.id, key) in self.absent:
            return known
        row = self.conn.execute(FIND_JOB, (regression.id, key)).fetchone()
        return None if row is None else self.loaded(row)

    def loaded(self, row: tuple[Any, ...]) -> Job:
        """Take a row that was read by whatever query into the batch, unless it is there already."""
        job = Job(*row)
        known = self.jobs.setdefault((job.regression_id, job.key), job)
        if known is job:
            self.stored_jobs[job.id] = row
            self.counted[job.id] = tally(job)
        return known

    def load_jobs(self, where: str, *parameters: Any) -> list[Job]:
        """Jobs by a condition on their stored rows; call it only when no job has unwritten changes."""
        rows = self.conn.execute(f"SELECT {JOB_COLUMNS} FROM job WHERE {where}", parameters)
        return [self.loaded(row) for row in rows]

    def load_slice(self, where: str, *parameters: Any) -> list[Job]:
        """The same for jobs that are to be given up: no more in all than one transaction may take at a time."""
        jobs = self.load_jobs(f"{where} ORDER BY id LIMIT ?", *parameters, self.left_of_slice)
        self.left_of_slice -= len(jobs)
        return jobs

    def new_job(self, regression: Regression, message: Message) -> Job:
        """An empty live row under a new id."""
        self.counters.last_job_id += 1
        job = copied(BLANK_JOB)
        job.id, job.regression_id, job.key = self.counters.last_job_id, regression.id, message.key
        job.seen_at, job.seen_tick = self.moment
        job.submitted_at = job.seen_at
        self.jobs[regression.id, message.key] = self.touched[job.id] = job
        return job

    def touch(self, job: Job) -> None:
        """Note that a row must be written."""
        self.touched[job.id] = job

    def signature(self, regression: Regression, category: str, title: str, *, ours: bool = False) -> int:
        """The id of a signature; after 25 brand-new ones in one regression, that of the overflow. Notes where it was
        seen."""
        known = self.signatures.get((category, title))
        if known is not None:
            self.sightings.add((known, regression.series or regression.name))
            return known
        row = self.conn.execute(FIND_SIGNATURE, (category, title)).fetchone()
        if row is None and not ours and regression.new_signatures >= signatures.OVERFLOW_AFTER:
            return self.signature(regression, category, signatures.OVERFLOW_TITLE, ours=True)
        now = self.moment.now
        if row is None:
            regression.new_signatures += not ours
            row = self.conn.execute(
                INSERT_SIGNATURE + " RETURNING id", (category, title, now, regression.id, now)
            ).fetchone()
        else:
            self.conn.execute("UPDATE signature SET last_seen_at = ? WHERE id = ?", (now, row[0]))
        self.signatures[category, title] = int(row[0])
        self.sightings.add((int(row[0]), regression.series or regression.name))
        return int(row[0])

    def test(self, job: Job) -> int | None:
        """The id of the test that a job is a run of, made at first sight; None for a job without name and config."""
        title = test_of(job.name, job.config, job.seed)
        if title is None:
            return None
        test = (job.category, title)
        known = self.learned.tests.get(test) or self.known.tests.get(test)
        if known is None:
            key = hashlib.blake2b(encode_json([job.category, title]), digest_size=16).digest()
            row = self.conn.execute(FIND_TEST, (key,)).fetchone()
            row = row or self.conn.execute(INSERT_TEST, (key, title[:TEST_TITLE_LENGTH], job.category)).fetchone()
            known = self.learned.tests[test] = int(row[0])
        return known

    # What happened.

    def tell(self, kind: str, regression: Regression, job: Job | None = None, **data: Any) -> int:
        """Write an event and let it number the change: the row's `version` is the `seq` of its last event."""
        self.counters.seq += 1
        seq = self.counters.seq
        regression.version = seq
        if job is not None:
            job.version = seq
            if job.phase is not None:
                data.setdefault("phase", job.phase)
            if job.reason is not None:
                data.setdefault("reason", job.reason)
        told = to_json(data) if data else None
        whose, result = (None, None) if job is None else (job.id, job.result)
        self.events[seq] = (seq, self.moment.now, kind, regression.id, whose, result, self.origin, told)
        return seq

    def forget_progress(self, row: Job | Regression) -> None:
        """Delete a row's event that told progress and nothing else, because a newer one takes its place."""
        if row.progress_seq is not None and self.events.pop(row.progress_seq, None) is None:
            self.replaced.append(row.progress_seq)

    def append_lines(self, job: int, offset: int | None, lines: Sequence[str]) -> None:
        """Add lines to a job's log; those that overlap what is there are left out. Only the newest are kept.

        Raises LogGap if they do not follow what is there."""
        columns = "id, first_offset, next_offset, size"
        row = self.conn.execute(f"SELECT {columns} FROM log WHERE job_id = ?", (job,)).fetchone()
        log, first, following, size = row or (0, 0, 0, 0)
        begin = following if offset is None else offset
        if begin > following:
            raise LogGap(f"offset {begin} leaves a gap: the next line of the log has offset {following}")
        new = dict(enumerate(lines[following - begin :], following))
        if not new:
            return
        log = log or self.begin_log(job, 0)
        self.logged.add(job)
        self.logbook.cut(log, first, following)
        after, size = following + len(new), size + sum(map(len, new.values()))
        for number, length in self.logbook.lengths(log, new):
            if after - number <= self.config.log_lines and size <= LOG_SIZE_MOST:
                break
            first, size = number + 1, size - length
        self.logbook.write(log, ((number, text) for number, text in new.items() if number >= first), self.moment.now)
        changed = "UPDATE log SET first_offset = ?, next_offset = ?, size = ? WHERE id = ?"
        self.conn.execute(changed, (first, after, size, log))

    def begin_log(self, job: int, offset: int) -> int:
        """Give a job that has no log an empty one, whose first line will have that offset. -> its number."""
        insert = "INSERT INTO log (job_id, first_offset, next_offset, size) VALUES (?, ?, ?, 0) RETURNING id"
        (log,) = self.conn.execute(insert, (job, offset, offset)).fetchone()
        self.logbook.forget(log)
        return int(log)

    def leave_log(self, job: int) -> None:
        """Take a job's log away from it; forget_logs() deletes the lines."""
        self.conn.execute("UPDATE log SET job_id = NULL WHERE job_id = ?", (job,))

    # Writing it all.

    def write(self) -> None:
        """Write all changed rows and what happened, and drop them from memory."""
        self.save_jobs()
        for regression in self.regressions.values():
            self._save_regression(regression)
        if self.replaced:
            self.conn.executemany("DELETE FROM event WHERE seq = ?", ((seq,) for seq in self.replaced))
        if self.events:
            self.conn.executemany(INSERT_EVENT, self.events.values())
        if self.sightings:
            now = self.moment.now
            self.conn.executemany(INSERT_SIGHTING, ((*sighting, now) for sighting in self.sightings))
        self.forget()

    def close(self) -> None:
        """Write the daemon's own row: the last thing of a transaction."""
        counters = msgspec.structs.astuple(self.counters)
        self.conn.execute(UPDATE_COUNTERS, counters[1:])

    def _save_regression(self, regression: Regression) -> None:
        row, stored = msgspec.structs.astuple(regression), self.stored_regressions[regression.id]
        changed = differing(row, stored)
        if any(changed):
            update = writing("regression", Regression.__struct_fields__, changed, False)
            self.conn.execute(update, (*itertools.compress(row, changed), regression.id))
        self.learned.regressions[regression.name] = row

    def save_jobs(self) -> None:
        """Write what changed of the jobs, and add it to the counters of their regressions."""
        self._count_jobs()
        written: dict[tuple[bool, bytes], list[tuple[Any, ...]]] = {}
        for job in self.touched.values():
            stored = self.stored_jobs.get(job.id)
            if stored is None or what_it_runs(stored) != (job.category, job.name, job.config, job.seed):
                job.test_id = self.test(job)
            row = msgspec.structs.astuple(job)
            changed = differing(row, itertools.repeat(None) if stored is None else stored)
            tail = () if stored is None else (job.id,)
            written.setdefault((stored is None, changed), []).append((*itertools.compress(row, changed), *tail))
            self.stored_jobs[job.id] = row
        for (is_new, changed), rows in written.items():
            if any(changed):
                self.conn.executemany(writing("job", Job.__struct_fields__, changed, is_new), rows)
        self.touched.clear()

    def _count_jobs(self) -> None:
        sums: dict[int, Iterable[int]] = {}
        for job in self.touched.values():
            after, before = tally(job), self.counted.get(job.id, NOTHING)
            if after is not before:
                total = sums.get(job.regression_id, NOTHING)
                sums[job.regression_id] = list(map(operator.add, total, map(operator.sub, after, before)))
                self.counted[job.id] = after
        for regression in self.regressions.values():
            for field, number in zip(Tally._fields, sums.get(regression.id, ()), strict=False):
                setattr(regression, field, getattr(regression, field) + number)
