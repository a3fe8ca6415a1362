"""The clock comes in, verdicts and pruning go out, in slices, through the writer like everything else."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import shutil
import time
from collections.abc import Awaitable, Callable

from simscope_server.doors.spool import Spool
from simscope_server.ledger.batch import Batch
from simscope_server.ledger.expiry import (
    anything_due,
    expire,
    forget_logs,
    is_tick_old,
    prune_jobs,
    prune_records,
    save_tick,
)
from simscope_server.ledger.ledger import Ledger
from simscope_server.ledger.migrations import fill_tests
from simscope_server.messages.protocol import StorageError
from simscope_server.messages.times import DAY_MS
from simscope_server.settings import Config

LOOK_S = 0.5  # a limit is acted on within a second
HOUSEKEEPING_S = 3600.0


async def watch_deadlines(ledger: Ledger, spool: Spool) -> None:
    """Act on time limits, for ever, once the spool that waited at the start is drained. Saves the uptime as it goes."""
    await spool.drained.wait()
    chores = [
        Chore(prune_interval(ledger.config), lambda: until_done(ledger, prune_jobs)),
        Chore(HOUSEKEEPING_S, lambda: keep_house(ledger)),
    ]
    while True:
        try:
            if await ledger.look(anything_due, ledger.config, ledger.clock.moment().tick):
                await until_done(ledger, expire)
            if await ledger.look(is_tick_old, ledger.config, ledger.clock.moment().tick):
                await ledger.change(save_tick)
            for chore in chores:
                await chore.do_if_due()
        except StorageError:
            await asyncio.sleep(1)
        await asyncio.sleep(LOOK_S)


class Chore:
    """Something to be done every so many seconds; never, if that is infinite."""

    def __init__(self, every_s: float, do: Callable[[], Awaitable[None]]) -> None:
        self.every_s = every_s
        self.do = do
        self.done = -math.inf if every_s < math.inf else math.inf

    async def do_if_due(self) -> None:
        if time.monotonic() - self.done >= self.every_s:
            self.done = time.monotonic()
            await self.do()


def prune_interval(config: Config) -> float:
    """Seconds between two looks for jobs to prune, which go through all live jobs: a hundredth of the limit, and a
    minute at most."""
    days = config.prunelivedays
    return min(60.0, max(LOOK_S, days * DAY_MS / 1000 / 100)) if days else math.inf


async def until_done(ledger: Ledger, slice_of: Callable[[Batch], bool]) -> None:
    """Do long work in slices, each a transaction, so that messages are taken in between."""
    more = True
    while more:
        more = await ledger.change(slice_of)


async def keep_house(ledger: Ledger) -> None:
    """Fill in what an earlier release did not keep; forget what is older than the configuration says, receipts, events,
    kept files, and logs that no job has."""
    await until_done(ledger, fill_tests)
    await until_done(ledger, prune_records)
    await until_done(ledger, forget_logs)
    await asyncio.to_thread(remove_old_days, f"{ledger.config.spool_dir}/.done", ledger.config.keep_done_days)


def remove_old_days(folder: str, days: float) -> None:
    """Remove the folders of kept files whose day, YYYY-MM-DD, is longer ago than `days`, as far as that can be done."""
    first = time.strftime("%Y-%m-%d", time.localtime(time.time() - days * 86400))
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if re.fullmatch(r"\d{4}-\d\d-\d\d", name) and name < first:
                shutil.rmtree(f"{folder}/{name}", ignore_errors=True)
