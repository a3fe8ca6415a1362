"""Committed events come in, text for streams goes out; each is read and encoded once, however many listen."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from simscope_server.ledger.ledger import Ledger, Notifier, notified
from simscope_server.messages.protocol import Row, encode_json
from simscope_server.reading import answers, queries
from simscope_server.reading.readers import Readers

FRAMES_KEPT = 6000


BEHIND_MOST = 5000  # a reader that is further behind than this starts anew


FEED_TICK_S = 0.05  # all that happens in one tick is one write per reader


HEARTBEAT_S = 15  # a comment this often keeps proxies from closing an idle stream


EVENTS = """
    SELECT e.seq, e.at, e.type, e.regression_id, r.name AS regression, e.job_id, e.result, e.origin, e.data
    FROM event AS e JOIN regression AS r ON r.id = e.regression_id
"""


class Frame(NamedTuple):
    """An event, encoded once for all streams."""

    seq: int
    type: str
    regression_id: int
    job_id: int | None
    text: bytes


class Wanted(NamedTuple):
    """Which events a reader wants; None for all."""

    types: tuple[str, ...] | None = None
    regression_id: int | None = None
    job_id: int | None = None

    def fits(self, frame: Frame) -> bool:
        return (
            (self.regression_id is None or frame.regression_id == self.regression_id)
            and (self.job_id is None or frame.job_id == self.job_id)
            and (self.types is None or any(_type_fits(frame.type, wanted) for wanted in self.types))
        )

    def condition(self) -> queries.Condition:
        """The same as SQL."""
        tests, parameters = ["1"], []
        for column, value in (("e.regression_id", self.regression_id), ("e.job_id", self.job_id)):
            if value is not None:
                tests.append(f"{column} = ?")
                parameters.append(value)
        if self.types is not None:
            tests.append("(" + " OR ".join(["0", *("e.type GLOB ?" for _ in self.types)]) + ")")
            parameters += self.types  # type: ignore[arg-type]
        return queries.Condition(" AND ".join(tests), tuple(parameters))


def _type_fits(kind: str, wanted: str) -> bool:
    return kind.startswith(wanted[:-1]) if wanted.endswith("*") else kind == wanted


EVERYTHING = Wanted()


class Subject(NamedTuple):
    """What somebody waits for news of: a job, a regression with all its jobs, or (`own`) the regression itself."""

    regression_id: int
    job_id: int | None = None
    own: bool = False


class Feed:
    """The newest events in memory, from which all streams are served: each event is read and encoded once.

    It follows the event table only while somebody listens; the first listener after a pause has it catch up."""

    def __init__(self, ledger: Ledger, readers: Readers) -> None:
        self.ledger = ledger
        self.readers = readers
        self.news = Notifier()
        self.last = 0
        self.closed = False
        self.streams = 0
        self._listeners = 0
        self._loading = asyncio.Lock()
        self._frames: deque[Frame] = deque(maxlen=FRAMES_KEPT)
        self.oldest = 0  # the feed begins behind this number
        self._complete = False  # no event behind it is older than the frames
        self._joined: tuple[int, bytes] | None = None  # the last text for all events, and the cursor it is behind

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """While this is entered, `last` and `behind` are up to date, and `news` and the ledger's topics notify."""
        async with self._loading:
            if self._listeners == 0:
                await self._catch_up()
            self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1

    async def run(self) -> None:
        """Follow the event table, for ever."""
        while True:
            committed = self.ledger.committed.next()
            if self._listeners == 0 or await self._read_on(self.readers.read_surely) == 0:
                await notified(committed, 3600)
            await asyncio.sleep(FEED_TICK_S)

    async def _catch_up(self) -> None:
        """Read what is missing, or all anew; run() sees to what is committed while this is done."""
        if self._frames and self.ledger.seq - self.last <= BEHIND_MOST:
            await self._read_on(self.readers.read)
        else:
            await self._load()
        self.ledger.committed.notify()

    async def _load(self) -> None:
        (daemon,) = await self.readers.read("SELECT events_from_seq FROM daemon")
        self.oldest = daemon["events_from_seq"]
        newest = f"{EVENTS} WHERE e.seq > ? ORDER BY e.seq DESC LIMIT ?"
        rows = await self.readers.read(newest, (self.oldest, FRAMES_KEPT))
        self._frames = deque((_frame(row) for row in reversed(rows)), FRAMES_KEPT)
        self._complete = len(rows) < FRAMES_KEPT
        self._joined = None
        self.last = rows[0]["seq"] if rows else self.oldest

    async def _read_on(self, read: Callable[..., Awaitable[list[Row]]]) -> int:
        """Take in what follows, as far as it was not taken in meanwhile. -> how many events were read."""
        following, last = f"{EVENTS} WHERE e.seq > ? ORDER BY e.seq LIMIT ?", self.last
        rows = await read(following, (last, BEHIND_MOST))
        new = [_frame(row) for row in rows if last <= self.last < row["seq"]]
        if new:
            self._complete = self._complete and len(self._frames) + len(new) <= FRAMES_KEPT
            self._frames.extend(new)
            self.last = new[-1].seq
            self._joined = None
            self.ledger.topics.notify(_subjects_of(new))
            self.news.notify()
        return len(rows)

    def close(self) -> None:
        """Tell all streams to end."""
        self.closed = True
        self.news.notify()
        self.ledger.topics.notify_all()

    def behind(self, cursor: int) -> list[Frame] | None:
        """The events after a cursor; None if it is too old, or of the future, so that the reader must start anew."""
        if not self.oldest <= cursor <= self.last:
            return None
        newer = list(itertools.takewhile(lambda frame: frame.seq > cursor, reversed(self._frames)))
        if len(newer) > BEHIND_MOST or (len(newer) == len(self._frames) and not self._complete):
            return None
        return newer[::-1]

    def text(self, cursor: int, wanted: Wanted, *, coalesced: bool) -> bytes | None:
        """What a stream sends to a reader who has all up to `cursor`; None for "start anew"."""
        plain = wanted == EVERYTHING and not coalesced
        if plain and self._joined is not None and self._joined[0] == cursor:
            return self._joined[1]
        frames = self.behind(cursor)
        if frames is None:
            return None
        frames = [frame for frame in frames if wanted.fits(frame)]
        if coalesced:
            newest = {(frame.regression_id, frame.job_id): frame for frame in frames}
            frames = sorted(newest.values())
        text = b"".join(frame.text for frame in frames)
        if plain:
            self._joined = cursor, text
        return text

    async def brings(self, wanted: Wanted, cursor: int, seconds: float) -> bool:
        """Wait for a wanted event behind a cursor; only while `listening`. -> False if none came in time."""
        end = time.monotonic() + seconds
        while not self.closed:
            news = self.news.next()
            if cursor < self.last:
                frames = self.behind(cursor)
                if frames is None or any(map(wanted.fits, frames)):
                    return True
                cursor = self.last
            if not await notified(news, end - time.monotonic()):
                break
        return False


def _subjects_of(frames: Iterable[Frame]) -> set[Subject]:
    """Whom events concern."""
    subjects = set()
    for frame in frames:
        whose = Subject(frame.regression_id)
        subjects |= {whose, whose._replace(job_id=frame.job_id) if frame.job_id else whose._replace(own=True)}
    return subjects


def _frame(row: dict[str, Any]) -> Frame:
    text = b"id: %d\ndata: %b\n\n" % (row["seq"], encode_json(answers.event_object(row)))
    return Frame(row["seq"], row["type"], row["regression_id"], row["job_id"], text)
