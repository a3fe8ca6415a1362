"""What becomes of files that were taken, and many files at once."""

from __future__ import annotations

import datetime
import json
import os
import threading
import time
from collections.abc import Callable

from support.daemons import LIVE_SIGS, Daemon, live, wait_until
from support.spools import SPOOL, count, in_work, long_name, put, receipt, receipts

CONFIG = SPOOL


def test_a_taken_file_is_deleted_and_leaves_nothing_in_the_work_folder(shared: Daemon, run: str) -> None:
    path = shared.drop(f"{run}/x.json", live())

    receipt(shared, f"{run}/x.json")

    wait_until(lambda: in_work(shared) == [])
    assert not path.exists()


def test_kept_files_move_to_the_folder_of_the_day_and_old_days_are_removed(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f'{LIVE_SIGS}[spool]\ndir = "spool"\ndone = "keep"\nkeep_done_days = 7\n')
    today = datetime.date.today()
    kept = daemon.spool / ".done"
    for days in (8, 400, 6, 0):
        day = kept / f"{today - datetime.timedelta(days)}" / "r"
        day.mkdir(parents=True)
        (day / "x.json").write_text("earlier")
    (kept / "my notes").mkdir()

    daemon.start()
    daemon.drop("r/x.json", live("first"))

    receipt(daemon, "r/x.json")
    again = wait_until(lambda: next(kept.glob("*/r/x~*.json"), None))
    assert json.loads(again.read_text()) == live("first")
    assert again.parent.parent.name in (f"{today}", f"{datetime.date.today()}")
    assert (again.parent / "x.json").read_text() == "earlier"
    wait_until(lambda: len(list(kept.iterdir())) == 3)
    assert sorted(path.name for path in kept.iterdir()) == [f"{today - datetime.timedelta(6)}", f"{today}", "my notes"]


def test_kept_files_of_the_longest_name_are_all_kept(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f'{LIVE_SIGS}[spool]\ndir = "spool"\ndone = "keep"\n').start()
    name = long_name(255, "x")
    for number in (1, 2, 3):
        put(daemon, f"r/{name}", live(str(number)))
        wait_until(lambda number=number: len(receipts(daemon, f"r/{name}")) == number)  # type: ignore[misc]

    daemon.drop("r/good.json", live("good"))

    receipt(daemon, "r/good.json")
    kept = wait_until(lambda: len(paths := list(daemon.spool.glob(".done/*/r/x*.json"))) == 3 and paths)
    assert sorted(json.loads(path.read_text())["uniqueid"] for path in kept) == ["1", "2", "3"]


def test_folders_left_empty_are_removed_after_an_hour(shared: Daemon, run: str) -> None:
    spool = shared.spool / run
    for name in ("old", "young", "old-and-used"):
        (spool / name).mkdir(parents=True)
    (spool / "old-and-used" / "x.json.tmp").write_text("")
    long_ago = time.time() - 3700
    for name in ("old", "old-and-used"):
        os.utime(spool / name, (long_ago, long_ago))

    wait_until(lambda: not (spool / "old").exists())

    assert sorted(path.name for path in spool.iterdir()) == ["old-and-used", "young"]


def test_a_folder_of_kept_files_that_cannot_be_listed_does_not_stop_the_daemon(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.drop(".done", "a file where the folder should be")

    daemon.start()

    daemon.drop("r/x.json", live())
    receipt(daemon, "r/x.json")
    assert daemon.stop() == 0
    assert "deadlines failed" not in daemon.log.read_text()


# --- many files -------------------------------------------------------------------------------------------------------


def test_three_thousand_files_at_once_are_all_taken(shared: Daemon, run: str) -> None:
    hidden = shared.spool / f".{run}"
    hidden.mkdir()
    for number in range(3000):
        (hidden / f"{number}.json").write_text(json.dumps(live(f"{number:04}")))

    hidden.rename(shared.spool / run)

    wait_until(lambda: count(shared, run) == 3000, 20)
    (taken,) = shared.rows("SELECT count(*), sum(applied) FROM receipt WHERE name GLOB ?", f"{run}/*")
    assert taken == (3000, 3000)
    wait_until(lambda: list((shared.spool / run).iterdir()) == [])


def test_stopping_in_the_middle_of_a_burst_and_starting_again_loses_nothing(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    names: list[str] = []
    enough = threading.Event()

    def publish() -> None:
        while not enough.is_set():
            names.append(f"r/{len(names)}.json")
            daemon.drop(names[-1], live(names[-1]))

    burst = threading.Thread(target=publish)
    burst.start()
    try:
        wait_until(lambda: count(daemon, "r"))
        code = daemon.stop()
        dropped = len(names)
        wait_until(lambda: len(names) > dropped)
    finally:
        enough.set()
        burst.join()
    taken = count(daemon, "r")

    daemon.start()

    assert code == 0
    assert taken < len(names)
    wait_until(lambda: count(daemon, "r") == len(names), 20)
    wait_until(lambda: in_work(daemon) == [])
    assert daemon.rows("SELECT count(*), sum(applied) FROM receipt") == [(len(names), len(names))]
    assert daemon.rows("SELECT count(*) FROM event WHERE type = 'job.live'") == [(len(names),)]
