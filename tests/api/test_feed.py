"""The feed in memory, over an event table that does as it is told."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import Any

from simscope_server.ledger.ledger import Notifier, Topics, cancel
from simscope_server.reading.feed import BEHIND_MOST, EVERYTHING, FEED_TICK_S, Feed


class Table:
    """The event table as the feed sees it; what run() and the loading read comes when it is let go."""

    def __init__(self, newest: int) -> None:
        self.committed = Notifier()
        self.topics = Topics()
        self.newest = newest
        self.given = 0  # rows
        self.paged = asyncio.Event()
        self.let_go = asyncio.Event()
        self.let_go.set()

    def rows(self, after: int) -> list[dict[str, Any]]:
        names = ("seq", "at", "type", "regression_id", "regression", "job_id", "result", "origin", "data")
        values = (0, "job.live", 1, "r", 1, 0, "x", json.dumps({"description": "d" * 200}))
        return [dict(zip(names, (seq, *values), strict=True)) for seq in range(after + 1, self.newest + 1)]

    @property
    def seq(self) -> int:
        return self.newest

    async def read(self, sql: str, parameters: tuple[int, ...] = ()) -> list[dict[str, Any]]:
        if "events_from_seq" in sql:
            return [{"events_from_seq": 0}]
        if "DESC" in sql:
            return (await self.read_surely(sql, parameters))[: -parameters[1] - 1 : -1]
        return self.taken(parameters)

    async def read_surely(self, sql: str, parameters: tuple[int, ...]) -> list[dict[str, Any]]:
        rows = self.taken(parameters)
        self.paged.set()
        await self.let_go.wait()
        return rows

    def taken(self, parameters: tuple[int, ...]) -> list[dict[str, Any]]:
        rows = self.rows(parameters[0])
        self.given += len(rows)
        return rows


def test_the_feed_does_not_go_backwards_when_it_is_loaded_during_a_commit() -> None:
    async def reload() -> list[int]:
        table = Table(10)
        feed = Feed(table, table)  # type: ignore[arg-type]
        async with feed.listening():
            table.newest = 12
            table.let_go.clear()
            running = asyncio.create_task(feed.run())
            await table.paged.wait()
        table.newest = 14
        async with feed.listening():
            cursor = feed.last
            table.newest = 15
            news = feed.news.next()
            table.let_go.set()
            await news
            await cancel(running)
            return [cursor, *(frame.seq for frame in feed.behind(13) or ())]

    assert asyncio.run(reload()) == [14, 14, 15]


def test_what_is_committed_while_the_feed_loads_comes_without_another_commit() -> None:
    async def load() -> bool:
        table = Table(10)
        table.let_go.clear()
        feed = Feed(table, table)  # type: ignore[arg-type]
        running = asyncio.create_task(feed.run())

        async def wait_for_news() -> bool:
            async with feed.listening():
                return await feed.brings(EVERYTHING, 10, 20)

        waiting = asyncio.create_task(wait_for_news())
        await table.paged.wait()
        table.newest = 11
        table.committed.notify()
        await asyncio.sleep(2 * FEED_TICK_S)
        table.let_go.set()
        news = await waiting
        await cancel(running)
        return news

    assert asyncio.run(load())


def test_a_feed_that_nobody_listened_to_reads_only_what_it_missed_unless_that_is_much() -> None:
    async def pause(missed: int) -> tuple[int, list[int]]:
        table = Table(3000)
        feed = Feed(table, table)  # type: ignore[arg-type]
        async with feed.listening():
            table.given = 0
        table.newest += missed
        async with feed.listening():
            return table.given, [frame.seq for frame in feed.behind(2998 + missed) or ()]

    assert asyncio.run(pause(0)) == (0, [2999, 3000])
    assert asyncio.run(pause(7)) == (7, [3006, 3007])
    assert asyncio.run(pause(BEHIND_MOST + 1)) == (3000 + BEHIND_MOST + 1, [8000, 8001])


def test_streams_that_begin_anywhere_leave_no_text_behind() -> None:
    async def begin() -> int:
        feed = Feed(table := Table(4000), table)  # type: ignore[arg-type]
        async with feed.listening():
            tracemalloc.start()
            for cursor in range(100):
                assert feed.text(cursor, EVERYTHING, coalesced=False)
            return tracemalloc.get_traced_memory()[0]

    try:
        assert asyncio.run(begin()) < 20_000_000
    finally:
        tracemalloc.stop()
