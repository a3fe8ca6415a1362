"""The spool's one task: sweeps of the folder -> chunks -> intake -> settled. asyncio, no SQL."""

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
from simscope_server.doors.spool_folder import CHUNK_FILES, SCAN_FILES, Found, SpoolFolder, is_file, sync_folder
from simscope_server.ledger.ledger import cancel
from simscope_server.messages.protocol import Delivery, StorageError, decode_json, log
from simscope_server.settings import Config

CHUNKS_UNDER_WAY = 2  # one with the writer, one ready for it; so the writer never waits for a reader
AWAKE_S = 0.010  # between two scans while files keep coming
AWAKE_FOR_S = 1.0  # after the last file
START_PATIENCE_S = 3.0  # deadlines do not wait at the start for files that change later than this after it


class Spool:
    """Takes what comes into the folder. One task runs it; the folder's operations run in threads, one by one."""

    def __init__(self, config: Config, intake: Intake) -> None:
        self.config = config
        self.intake = intake
        self.folder = SpoolFolder(config)
        self.drained = asyncio.Event()  # all that lay here at the start is taken
        self.trouble: str | None = None
        self._under_way: deque[asyncio.Task[None]] = deque()  # chunks that are being applied and settled
        self._settling = asyncio.Lock()  # one chunk after the other: two could find the same name free
        self._unsynced: list[int] = []  # notes of batches whose files are cleared away, but perhaps not on disk
        self._settled: list[int] = []  # notes of batches of whose files that is on disk
        self._watched = True
        self._synced = 0.0  # when .work was synced last (monotonic)
        self._listed = 0.0  # when the folder was first listed (monotonic)

    async def run(self, settling: Sequence[tuple[int, str]], details: Callable[[int], Awaitable[list[Any]]]) -> None:
        """Take what comes, for ever. `settling` are the notes that a crash left; `details` looks up a receipt's."""
        try:
            await self._take(await self._left_over(settling, details), self.folder.take_claimed)
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

    def _note_drained(self, found: int) -> None:
        """What lay here at the start is taken, but for files that are still being written."""
        if found < SCAN_FILES and self.folder.waits_since() > self._listed + START_PATIENCE_S:
            self.drained.set()

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
            await self._wait_for_better("the folder cannot be worked on", error)
            return 0
        return taken

    async def _take(
        self, found: Sequence[Found], take: Callable[[Sequence[Found]], tuple[list[Delivery], Sequence[Found]]]
    ) -> int:
        """Take, apply and settle files, chunk by chunk. -> how many."""
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
            settled, self._settled = self._settled, []
            self._under_way.append(asyncio.create_task(self._apply_and_settle(deliveries, settled)))
        await self._see_through(CHUNKS_UNDER_WAY)
        return len(deliveries)

    async def _see_through(self, most: int) -> None:
        """Wait until no more than `most` chunks are under way."""
        while len(self._under_way) > most:
            await self._under_way[0]
            self._under_way.popleft()

    async def _apply_and_settle(self, deliveries: list[Delivery], settled: list[int]) -> None:
        """While the disk is full, deliveries wait here, claimed."""
        while True:
            try:
                receipts, note = await self.intake.submit(deliveries, settled)
                break
            except StorageError:
                await asyncio.sleep(1)
        verdicts = [
            (delivery.claim[0], receipt.refused())
            for delivery, receipt in zip(deliveries, receipts, strict=True)
            if delivery.claim is not None
        ]
        await self._settle(verdicts)
        self._unsynced.append(note)

    async def _settle(self, verdicts: Sequence[tuple[str, Sequence[Any]]]) -> None:
        while True:
            try:
                async with self._settling:
                    await asyncio.to_thread(self.folder.settle, verdicts)
                return
            except OSError as error:
                await self._wait_for_better("files cannot be cleared away", error)

    async def _wait_for_better(self, what: str, error: OSError) -> None:
        if self.trouble is None:
            log.error("spool: %s: %s", what, error)
        self.trouble = f"{what}: {error}"
        await asyncio.sleep(1)

    async def _sync(self) -> None:
        """Once a second, have the removal of files brought to disk, so that their notes can be deleted. This may
        fail, so it is asked for while no deliveries are in hand."""
        if not self._unsynced or time.monotonic() - self._synced < 1:
            return
        notes = list(self._unsynced)
        await asyncio.to_thread(sync_folder, self.folder.work)
        self._synced = time.monotonic()
        del self._unsynced[: len(notes)]
        self._settled += notes

    async def _sleep_until_news(self) -> None:
        """Sleep until a file-system event or poll_ms, whichever is first. The watch is set before the last look, so
        that a file which arrives between the two is not missed; a file system without events is polled."""
        stop = threading.Event()
        event = asyncio.create_task(self._next_event(stop))
        try:
            await asyncio.sleep(0)
            while not await self._sweep() and not event.done():
                patience = [self.config.poll_ms]
                patience += [self.config.settle_ms, 500] if self.folder.waits_since() < math.inf else []
                await asyncio.wait([event], timeout=max(min(patience), 10) / 1000)
        finally:
            stop.set()
            await cancel(event)

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
                log.warning("spool: no file-system events, listed every %d ms: %s", self.config.poll_ms, error)
            self._watched = False
            await asyncio.Event().wait()

    def _is_news(self, change: object, path: str) -> bool:
        """Not what we do ourselves, in the folders whose names begin with a dot."""
        return "/." not in path[len(self.folder.root) :]

    async def _left_over(
        self, settling: Sequence[tuple[int, str]], details: Callable[[int], Awaitable[list[Any]]]
    ) -> list[Found]:
        """After a start: settle what was committed. -> what was claimed but not committed. Where the disk does not let
        us, try again."""
        while True:
            try:
                await self._settle_noted([files for _, files in settling], details)
                await self._forget_notes([number for number, _ in settling])
                left = await asyncio.to_thread(self.folder.left_over)
                break
            except OSError as error:
                await self._wait_for_better("the folder cannot be worked on", error)
        if left or settling:
            log.info(
                "spool: after the last run: %d batches to settle, %d claimed files to take", len(settling), len(left)
            )
        return left

    async def _settle_noted(self, noted: Sequence[str], details: Callable[[int], Awaitable[list[Any]]]) -> None:
        await asyncio.to_thread(os.makedirs, self.folder.work, exist_ok=True)
        for files in noted:
            verdicts = [
                (work, await details(receipt) if receipt else [])
                for work, inode, mtime_ns, receipt in decode_json(files)
                if is_file(f"{self.folder.work}/{work}", inode, mtime_ns)
            ]
            await self._settle(verdicts)
        await asyncio.to_thread(sync_folder, self.folder.work)

    async def _forget_notes(self, notes: list[int]) -> None:
        """Delete notes before their paths are used again: a new file could be taken for the one that was settled."""
        while notes:
            try:
                await self.intake.submit([], notes)
                return
            except StorageError:
                await asyncio.sleep(1)
