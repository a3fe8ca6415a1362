"""Deliveries from all doors come in, together they become batches; receipts go out. No SQL, no files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from simscope_server.ledger.deliveries import BATCH_MESSAGES, apply_submissions
from simscope_server.ledger.ledger import Ledger
from simscope_server.messages.protocol import OUTCOMES, Delivery, Receipt, StorageError, Submission, log


class Intake:
    """Takes submissions from all doors and answers each with its receipts. Owned by the event loop.

    There is no timer: what comes while one batch is being committed waits with the writer, and makes the next one."""

    WAITING = 64  # submissions; a door that finds the queue full waits, and so does whoever stands before it
    UNDER_WAY = 4  # groups with the writer: it always has one ready, and what comes after them grows together here

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue(self.WAITING)
        self._room = asyncio.Semaphore(self.UNDER_WAY)
        self._under_way: set[asyncio.Task[None]] = set()

    async def submit(self, deliveries: list[Delivery], deletable: Sequence[int] = ()) -> tuple[list[Receipt], int]:
        """Have deliveries applied, and notes about files that nobody needs any more deleted. Answers after the commit,
        with the receipts and the id of the new note.

        Raises StorageError if the disk does not let us; nothing is applied then."""
        answer: asyncio.Future[tuple[list[Receipt], int]] = asyncio.get_running_loop().create_future()
        await self._queue.put(Waiting(Submission(deliveries, list(deletable)), answer))
        return await answer

    async def run(self) -> None:
        """Hand what is submitted to the writer, group by group, for ever."""
        while True:
            await self._room.acquire()
            group = [await self._queue.get()]
            await asyncio.sleep(0)  # whoever is ready to submit joins
            weight = group[0].submission.weight()
            while not self._queue.empty() and weight < BATCH_MESSAGES:
                group.append(self._queue.get_nowait())
                weight += group[-1].submission.weight()
            task = asyncio.create_task(self._apply(group))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def drain(self) -> None:
        """Wait until all that was submitted is answered."""
        await self._queue.join()

    async def _apply(self, group: Sequence[Waiting]) -> None:
        try:
            told = await self._apply_somehow([waiting.submission for waiting in group])
        except Exception as error:
            self._fail(group, error)
        else:
            for waiting, answer in zip(group, told, strict=True):
                self._count(answer[0])
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
        self._room.release()
        for _ in group:
            self._queue.task_done()

    async def _apply_somehow(self, submissions: list[Submission]) -> list[tuple[list[Receipt], int]]:
        """All at once; if that fails, one message after the other, so that the bad one alone is refused."""
        try:
            return await self.ledger.change(apply_submissions, submissions)
        except StorageError:
            raise
        except Exception:
            log.exception("intake: a batch failed; its messages are taken one by one")
        return await self.ledger.change(apply_submissions, submissions, careful=True)

    def _fail(self, group: Sequence[Waiting], error: Exception) -> None:
        for waiting in group:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
        if not isinstance(error, StorageError):
            log.error("intake: a batch failed as a whole", exc_info=error)

    def _count(self, receipts: Iterable[Receipt]) -> None:
        for receipt in receipts:
            for outcome in self.counts:
                self.counts[outcome] += getattr(receipt, outcome)


class Waiting(NamedTuple):
    """A submission, and where it waits for the answer."""

    submission: Submission
    answer: asyncio.Future[tuple[list[Receipt], int]]
