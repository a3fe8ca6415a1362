"""How others wait for what the writer does: bells that ring at a commit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Hashable, Iterator, Set
from typing import Any, NamedTuple

WRITER_LOST = "the process that writes the database is gone"


class Bell:
    """Wakes everybody who waits for the next commit. Event loop only."""

    def __init__(self) -> None:
        self._rung: asyncio.Future[None] | None = None

    def ring(self) -> None:
        if self._rung is not None and not self._rung.done():
            self._rung.set_result(None)
        self._rung = None

    def listen(self) -> asyncio.Future[None]:
        """The next ring. Listen first, look second, wait third: then no ring is missed."""
        if self._rung is None:
            self._rung = asyncio.get_running_loop().create_future()
        return self._rung


class Bells:
    """A bell for each subject: what happens to others costs those who wait for news of one nothing. Event loop only."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, set[asyncio.Future[None]]] = {}

    @contextlib.contextmanager
    def listen(self, *subjects: Hashable) -> Iterator[asyncio.Future[None]]:
        """The next ring for any of some subjects. Listen first, look second, wait third."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for subject in subjects:
            self._waiting.setdefault(subject, set()).add(future)
        try:
            yield future
        finally:
            for subject in subjects:
                self._waiting[subject].discard(future)
                if not self._waiting[subject]:
                    del self._waiting[subject]

    def ring(self, subjects: Set[Hashable]) -> None:
        for subject in subjects & self._waiting.keys():
            for future in self._waiting[subject]:
                if not future.done():
                    future.set_result(None)

    def ring_all(self) -> None:
        self.ring(self._waiting.keys())


async def cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end, however it ends."""
    task.cancel()
    await asyncio.wait([task])


async def heard(rung: asyncio.Future[None], seconds: float) -> bool:
    """Wait for a ring. -> False if it did not come in time."""
    done, _ = await asyncio.wait([rung], timeout=seconds)
    return bool(done)


class Asked(NamedTuple):
    """Where an answer of the writer goes, and whether it means that something was written."""

    writes: bool
    answer: asyncio.Future[Any]
