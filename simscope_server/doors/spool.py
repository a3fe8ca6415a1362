"""The spool's one task: sweeps of the folder -> chunks -> intake -> cleared away. asyncio, no SQL."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from watchfiles import awatch

from simscope_server.doors.intake import Intake
from simscope_server.doors.spool_folder import CHUNK_FILES, SCAN_FILES, Found, SpoolFolder, is_file
from simscope_server.ledger.database import sync
from simscope_server.ledger.ledger import cancel
from simscope_server.messages.protocol import Delivery, StorageError, decode_json, log
from simscope_server.messages.times import in_words
from simscope_server.settings import Config

CHUNKS_UNDER_WAY = 2  # one with the writer, one ready for it; so the writer never waits for a reader
AWAKE_S = 0.010  # between two scans while files keep coming
AWAKE_FOR_S = 1.0  # after the last file
START_TIMEOUT_S = 3.0  # deadlines do not wait at the start for files that change later than this after it


class Spool:
    """Takes what comes into the folder. One task runs it; the folder's operations run in threads, one by one."""

    def __init__(self, config: Config, intake: Intake) -> None:
        self.config = config
        self.intake = intake
        self.folder = SpoolFolder(config)
        self.drained = asyncio.Event()  # all that lay here at the start is taken
        self.trouble: str | None = None
        self._under_way: deque[asyncio.Task[None]] = deque()  # chunks that are being applied and cleared away
        self._clearing = asyncio.Lock()  # one chunk after the other: two could find the same name free
        self._unsynced: list[int] = []  # notes of batches whose files are cleared away, but perhaps not on disk
        self._deletable: list[int] = []  # notes of batches of whose files that is on disk
        self._watched = True
        self._synced = 0.0  # when .work was synced last (monotonic)
        self._listed = 0.0  # when the folder was first listed (monotonic)

    async def run(self, noted: Sequence[tuple[int, str]], details: Callable[[int], Awaitable[list[Any]]]) -> None:
        """Take what comes, for ever. `noted` are the notes that a crash left; `details` looks up a receipt's."""
        try:
            await self._take(await self._left_over(noted, details), self.folder.take_claimed)
            await self._follow()
        finally:
            for chunk in self._under_way:
                chunk.cancel()

    async def _follow(self) -> None:
        news = time.monotonic()
        while True:
            taken = await self._sweep()
            if taken:
                news = time.monotonic()
            if taken >= CHUNK_FILES:
                continue
            if time.monotonic() - news < AWAKE_FOR_S:
                await asyncio.sleep(AWAKE_S)
            else:
                await self._sleep_until_news()
                news = time.monotonic()

    async def _sweep(self) -> int:
        """Scan once and take all that is found. -> how many files. Where the disk does not let us, wait a second."""
        try:
            found = await asyncio.to_thread(self.folder.scan)
            self._listed = self._listed or time.monotonic()
            taken = await self._take(found, self.folder.take)
            await self._see_through(0)
            self.trouble = None
            self.folder.swept()
            self._note_drained(len(found))
        except OSError as error:
            await self._wait_for_better("the folder cannot be used", error)
            return 0
        return taken

    def _note_drained(self, found: int) -> None:
        """What lay here at the start is taken, but for files that are still being written."""
        if found < SCAN_FILES and self.folder.waits_since() > self._listed + START_TIMEOUT_S:
            self.drained.set()

    async def _take(
        self, found: Sequence[Found], take: Callable[[Sequence[Found]], tuple[list[Delivery], Sequence[Found]]]
    ) -> int:
        """Take and apply files and clear them away, chunk by chunk. -> how many."""
        taken = 0
        while found:
            await self._sync()
            deliveries, found = await asyncio.to_thread(take, found)
            taken += await self._apply(deliveries)
        return taken

    async def _apply(self, deliveries: list[Delivery]) -> int:
        """Have deliveries applied and their files cleared away, beside the reading of the chunks that come next.
        -> how many."""
        self.folder.backlog = max(self.folder.backlog - len(deliveries), 0)
        if deliveries:
            deletable, self._deletable = self._deletable, []
            self._under_way.append(asyncio.create_task(self._apply_and_clear(deliveries, deletable)))
        await self._see_through(CHUNKS_UNDER_WAY)
        return len(deliveries)

    async def _see_through(self, most: int) -> None:
        """Wait until no more than `most` chunks are under way."""
        while len(self._under_way) > most:
            await self._under_way[0]
            self._under_way.popleft()

    async def _apply_and_clear(self, deliveries: list[Delivery], deletable: list[int]) -> None:
        """While the disk is full, deliveries wait here, claimed."""
        while True:
            try:
                receipts, note = await self.intake.submit(deliveries, deletable)
                break
            except StorageError:
                await asyncio.sleep(1)
        verdicts = [
            (delivery.claim[0], receipt.refused())
            for delivery, receipt in zip(deliveries, receipts, strict=True)
            if delivery.claim is not None
        ]
        await self._clear_away(verdicts)
        self._unsynced.append(note)

    async def _clear_away(self, verdicts: Sequence[tuple[str, Sequence[Any]]]) -> None:
        while True:
            try:
                async with self._clearing:
                    await asyncio.to_thread(self.folder.clear_away, verdicts)
                return
            except OSError as error:
                await self._wait_for_better("files cannot be cleared away", error)

    async def _wait_for_better(self, what: str, error: OSError) -> None:
        if self.trouble is None:
            log.error("spool: %s: %s", what, in_plain_words(error))
        self.trouble = f"{what}: {in_plain_words(error)}"
        await asyncio.sleep(1)

    async def _sync(self) -> None:
        """Once a second, have the removal of files brought to disk, so that their notes can be deleted. This may
        fail, so it is asked for while no deliveries are in hand."""
        if not self._unsynced or time.monotonic() - self._synced < 1:
            return
        notes = list(self._unsynced)
        await asyncio.to_thread(sync, self.folder.work)
        self._synced = time.monotonic()
        del self._unsynced[: len(notes)]
        self._deletable += notes

    async def _sleep_until_news(self) -> None:
        """Sleep until a file-system event or poll_ms, whichever is first. The watch is set before the last look, so
        that a file which arrives between the two is not missed; a file system without events is polled."""
        stop = threading.Event()
        event = asyncio.create_task(self._next_event(stop))
        try:
            await asyncio.sleep(0)
            while not await self._sweep() and not event.done():
                await asyncio.wait([event], timeout=self._pause_ms() / 1000)
        finally:
            stop.set()
            await cancel(event)

    def _pause_ms(self) -> int:
        """How long to wait for a file-system event before the folder is listed all the same."""
        pauses = [self.config.poll_ms]
        if self.folder.waits_since() < math.inf:
            pauses += [self.config.settle_ms, 500]
        return max(min(pauses), 10)

    async def _next_event(self, stop: threading.Event) -> None:
        """Return at the next file-system event; never, where there are none to be had."""
        watch = awatch(
            self.folder.root, stop_event=stop, watch_filter=self._is_news, step=10, debounce=20, rust_timeout=500
        )
        try:
            async for _ in watch:
                return
        except OSError as error:
            if self._watched:
                every = in_words(self.config.poll_ms)
                log.warning(
                    "spool: there are no file-system events; the folder is listed every %s: %s",
                    every,
                    in_plain_words(error),
                )
            self._watched = False
            await asyncio.Event().wait()

    def _is_news(self, change: object, path: str) -> bool:
        """Not what we do ourselves, in the folders whose names begin with a dot."""
        return "/." not in path[len(self.folder.root) :]

    async def _left_over(
        self, noted: Sequence[tuple[int, str]], details: Callable[[int], Awaitable[list[Any]]]
    ) -> list[Found]:
        """After a start: clear away what was committed. -> what was claimed but not committed. Where the disk does not
        let us, try again."""
        while True:
            try:
                await self._clear_noted([files for _, files in noted], details)
                await self._forget_notes([number for number, _ in noted])
                left = await asyncio.to_thread(self.folder.left_over)
                break
            except OSError as error:
                await self._wait_for_better("the folder cannot be used", error)
        if left or noted:
            log.info("spool: the last run left %d batches to clear away and %d files to take", len(noted), len(left))
        return left

    async def _clear_noted(self, noted: Sequence[str], details: Callable[[int], Awaitable[list[Any]]]) -> None:
        await asyncio.to_thread(os.makedirs, self.folder.work, exist_ok=True)
        for files in noted:
            verdicts = [
                (work, await details(receipt) if receipt else [])
                for work, inode, mtime_ns, receipt in decode_json(files)
                if is_file(f"{self.folder.work}/{work}", inode, mtime_ns)
            ]
            await self._clear_away(verdicts)
        await asyncio.to_thread(sync, self.folder.work)

    async def _forget_notes(self, notes: list[int]) -> None:
        """Delete notes before their paths are used again: a new file could be taken for one that is cleared away."""
        while notes:
            try:
                await self.intake.submit([], notes)
                return
            except StorageError:
                await asyncio.sleep(1)


def in_plain_words(error: OSError) -> str:
    """What the system says, and of which file."""
    said = error.strerror or str(error)
    return f"{os.fsdecode(error.filename)}: {said}" if error.filename else said
