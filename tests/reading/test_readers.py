"""The connections that read: what is cancelled is ended, and nobody else has its connection before."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support import rooms

from simscope_server.reading.readers import READERS, Readers, Timeout
from simscope_server.settings import Config

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i FROM n WHERE i > 1"


@pytest.fixture
async def readers(tmp_path: Path) -> AsyncIterator[Readers]:
    for name in ("simscope.db", "simscope.db.logs"):
        with contextlib.closing(sqlite3.connect(tmp_path / name)) as conn:
            conn.execute("CREATE TABLE anything (id)")
    readers = Readers(Config(db=tmp_path / "simscope.db"))
    await readers.open()
    yield readers
    await readers.close()


async def test_a_read_that_is_cancelled_ends_at_once_and_gives_its_connection_back(
    readers: Readers, monkeypatch: Any
) -> None:
    rooms.replace("READ_MOST_S", 120, monkeypatch)
    reading = asyncio.create_task(readers.read(ENDLESS))
    while readers._readers.qsize() == READERS:
        await asyncio.sleep(0.01)

    reading.cancel()
    await asyncio.wait([reading], timeout=60)

    assert reading.cancelled()
    assert readers._readers.qsize() == READERS
    assert [await readers.read("SELECT 1 AS one") for _ in range(READERS)] == [[{"one": 1}]] * READERS


def test_a_search_that_is_cancelled_twice_keeps_its_connection_until_it_has_ended() -> None:
    async def cancel_twice() -> list[bool]:
        found: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        search = asyncio.create_task(Timeout().rows_of(found))
        kept = []
        for _ in range(3):
            await asyncio.wait([search], timeout=0.01)
            kept.append(not search.done())
            search.cancel()
        found.set_result([])
        await asyncio.wait([search])
        return [*kept, search.cancelled()]

    assert asyncio.run(cancel_twice()) == [True] * 4
