"""The same log comes to the same rows, in both files, however it is cut into transactions, whatever was rolled back or
forgotten on the way, in whatever order SQLite finds rows, and whatever Python's hashes are."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest
from support import replays, rooms
from support.daemons import ROOT
from support.replays import Replica, cuts, make_log, one_by_one

SEED, COUNT = 7, 700


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that many an end takes several transactions."""
    rooms.replace("SLICE_JOBS", 3, monkeypatch)
    rooms.replace("SLICE_LOGS", 2, monkeypatch)


@pytest.fixture
def straight() -> Replica:
    return one_by_one(make_log(SEED, COUNT))


def test_the_log_has_something_of_everything(straight: Replica) -> None:
    told = {kind for (kind,) in straight.conn.execute("SELECT DISTINCT type FROM event")}
    pruned = straight.conn.execute("SELECT count(*) FROM pruned_job").fetchone()[0]
    lines = straight.logbook.conn.execute("SELECT count(*) FROM log_line").fetchone()[0]

    assert {"job.revived", "job.corrected", "job.timed_out", "job.missing", "job.tanked", "job.pruned"} <= told
    assert {"regression.timed_out", "regression.reopened", "regression.tanked", "regression.untanked"} <= told
    assert pruned > 5
    assert lines > 100


@pytest.mark.parametrize("seed", range(2))
def test_the_cuts_into_transactions_and_what_is_rolled_back_do_not_matter(straight: Replica, seed: int) -> None:
    replica, chance = Replica(), random.Random(seed)

    for piece in cuts(make_log(SEED, COUNT), seed, 200):
        if chance.random() < 0.5:
            replica.apply(piece[: chance.randint(1, len(piece))], undo=True)
        replica.apply(piece)

    assert replica.digest() == straight.digest()


@pytest.mark.parametrize("slice_jobs", [3, 200])
def test_the_order_in_which_sqlite_finds_unordered_rows_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, slice_jobs: int
) -> None:
    rooms.replace("SLICE_JOBS", slice_jobs, monkeypatch)
    log = make_log(SEED, COUNT)

    assert one_by_one(log, reversed_selects=True).digest() == one_by_one(log).digest()


@pytest.mark.process
def test_the_hashes_of_python_do_not_matter() -> None:
    told = {
        subprocess.run(
            [sys.executable, replays.__file__, str(SEED), str(COUNT)],
            env=os.environ | {"PYTHONHASHSEED": hashes, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    }

    assert len(told) == 1
