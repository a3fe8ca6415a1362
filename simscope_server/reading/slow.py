"""How long jobs of a test usually take, and how many live jobs of a regression are slow by that: looked up now and
then, since it changes slowly and is asked for often. Rows go in, numbers go out; what is known is kept for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from simscope_server.ledger.database import Clock
from simscope_server.messages.protocol import LIVE, Row, StorageError, decode_json, to_json
from simscope_server.reading import answers, figures
from simscope_server.reading.readers import Readers, ReadTooLong

USUAL_FOR_S = 60.0  # how long jobs of a test take is looked up again after this


USUAL_MOST = 20_000  # tests of which that is kept


SLOW_FOR_S = 5.0  # how many jobs of a regression are slow is counted again after this


SLOW_MOST = 5_000  # regressions of which that is kept


SLOW_TIMEOUT_S = 0.1  # an answer waits no longer for it


class UsualTimes:
    """What jobs of a test usually take."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._known: dict[int, tuple[float, answers.Usual | None]] = {}  # test -> until (monotonic), what it takes

    async def of_tests(self, tests: Collection[int]) -> dict[int, answers.Usual | None]:
        now = time.monotonic()
        if len(self._known) > USUAL_MOST:
            self._known.clear()
        stale = [test for test in tests if self._known.get(test, (0.0, None))[0] < now]
        for row in await self._readers.read(figures.PASSES, (to_json(stale),)) if stale else ():
            self._known[row["test_id"]] = (now + USUAL_FOR_S, answers.usual_of(decode_json(row["passes"])))
        return {test: self._known[test][1] for test in tests if test in self._known}

    async def of_live(self, jobs: Iterable[Row]) -> dict[int, answers.Usual | None]:
        """For the tests of the live ones among some jobs."""
        live = {row["test_id"] for row in jobs if row["result"] == LIVE and row["test_id"] is not None}
        return await self.of_tests(live) if live else {}

    async def of_job(self, job: Row) -> answers.Usual | None:
        """None for a job that is not live."""
        return (await self.of_live([job])).get(job["test_id"])


class SlowJobs:
    """How many jobs of live regressions are slow for their test. Counted by one task at a time; where that takes long,
    answers go on showing what was known before, or none."""

    def __init__(self, readers: Readers, usual: UsualTimes) -> None:
        self._readers = readers
        self._usual = usual
        self._known: dict[int, tuple[float, int]] = {}  # regression -> until (monotonic), how many
        self._counting: asyncio.Task[None] | None = None

    @property
    def known(self) -> Mapping[int, tuple[float, int]]:
        """What was counted last, by regression: until when that holds, and how many."""
        return self._known

    async def count(self, regressions: Iterable[Row], clock: Clock) -> None:
        """Have it known of those among some regressions that are live."""
        now = time.monotonic()
        live = (row["id"] for row in regressions if row["status"] == "live" and row["n_live"])
        stale = [regression for regression in live if self._known.get(regression, (0.0, 0))[0] < now]
        if stale and (self._counting is None or self._counting.done()):
            self._counting = asyncio.create_task(self._count(stale, clock))
        if stale and self._counting is not None:
            await asyncio.wait([self._counting], timeout=SLOW_TIMEOUT_S)

    async def _count(self, regressions: list[int], clock: Clock) -> None:
        with contextlib.suppress(ReadTooLong, StorageError):
            jobs = await self._readers.read(figures.LONGEST_LIVE, (to_json(regressions),), search=True)
            usual = await self._usual.of_tests({job["test_id"] for job in jobs})
            now = clock.moment().now
            slow = Counter(
                job["regression_id"]
                for job in jobs
                if answers.is_slow(job["running_at"], usual.get(job["test_id"]), now)
            )
            if len(self._known) > SLOW_MOST:
                self._known.clear()
            until = time.monotonic() + SLOW_FOR_S
            self._known.update((regression, (until, slow[regression])) for regression in regressions)
