"""How much of the spool folder is taken at once, and how long a file must be unchanged: the folder by itself, with real
files and a clock that is set by hand."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import rooms
from support.daemons import live

from simscope_server.doors import spool_folder
from simscope_server.doors.spool_folder import SpoolFolder
from simscope_server.messages.protocol import Delivery
from simscope_server.settings import Config

REST_S = 0.25  # of REST_MS; seconds that are exact as binary fractions
SETTLE_S = 0.5
A_LITTLE = 1 / 1024


class Clock:
    """What time.monotonic() and time.time() give in the room of the folder."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        here = {"monotonic": lambda: self.now, "time": lambda: self.now}
        patch.setattr(spool_folder, "time", SimpleNamespace(**vars(time) | here))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> SpoolFolder:
    return SpoolFolder(Config(spool_dir=tmp_path, settle_ms=int(SETTLE_S * 1000)))


def write(folder: SpoolFolder, name: str, text: str, age: float = 0) -> Path:
    path = Path(folder.root, name)
    path.write_text(text)
    changed = 1_700_000_000 - age
    os.utime(path, (changed, changed))
    return path


def ready(folder: SpoolFolder) -> list[str]:
    """What a scan finds, the oldest first."""
    return [found.path for found in folder.scan()]


def taken(folder: SpoolFolder) -> list[Delivery]:
    """Scan, and take what is found."""
    deliveries, left = folder.take(folder.scan())
    assert not left
    return deliveries


# --- how much at once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lying", "found"), [(1, 1), (2, 2), (3, 2), (4, 2), (9, 2)])
def test_a_scan_finds_the_oldest_files_and_counts_all(
    folder: SpoolFolder, monkeypatch: pytest.MonkeyPatch, lying: int, found: int
) -> None:
    rooms.replace("SCAN_FILES", 2, monkeypatch)
    names = [f"{number * 7 % 10}.json" for number in range(lying)]
    for age, name in enumerate(names):
        write(folder, name, "{}", age)

    assert ready(folder) == names[::-1][:found]
    assert folder.backlog == lying
    assert folder.oldest_ns == (1_700_000_000 - lying + 1) * 10**9


@pytest.mark.parametrize(("lying", "first"), [(2, 2), (3, 3), (4, 3)])
def test_a_chunk_has_so_many_files_and_no_more(
    folder: SpoolFolder, monkeypatch: pytest.MonkeyPatch, lying: int, first: int
) -> None:
    rooms.replace("CHUNK_FILES", 3, monkeypatch)
    for number in range(lying):
        write(folder, f"{number}.json", json.dumps(live()), -number)

    deliveries, left = folder.take(folder.scan())

    assert len(deliveries) == first
    assert [found.path for found in left] == [f"{number}.json" for number in range(first, lying)]


@pytest.mark.parametrize(("most", "first"), [(0, 3), (1, 2)], ids=["just fit", "a byte too many"])
def test_a_chunk_ends_with_the_file_that_brings_it_above_its_bytes(
    folder: SpoolFolder, monkeypatch: pytest.MonkeyPatch, most: int, first: int
) -> None:
    size = len(json.dumps(live()))
    rooms.replace("CHUNK_BYTES", 2 * size - most, monkeypatch)
    for number in range(4):
        write(folder, f"{number}.json", json.dumps(live()), -number)

    deliveries, left = folder.take(folder.scan())

    assert (len(deliveries), len(left)) == (first, 4 - first)


def test_files_that_are_left_alone_count_as_looked_at_and_not_as_bytes(
    folder: SpoolFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms.replace("CHUNK_BYTES", 1, monkeypatch)
    for number, text in enumerate(['{"half', '{"half', json.dumps(live()), json.dumps(live())]):
        write(folder, f"{number}.json", text, -number)

    deliveries, left = folder.take(folder.scan())

    assert [delivery.name for delivery in deliveries] == ["2.json"]
    assert [found.path for found in left] == ["3.json"]


# --- how long unchanged -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "text"), [("x.ndjson", "{}\n"), ("x.jsonl", "{}\n"), ("x.json", "")])
def test_what_looks_whole_also_when_it_is_cut_short_is_left_until_it_has_settled(
    folder: SpoolFolder, clock: Clock, name: str, text: str
) -> None:
    write(folder, name, text)
    assert ready(folder) == []

    clock.now += SETTLE_S - A_LITTLE
    assert ready(folder) == []
    clock.now += A_LITTLE
    assert ready(folder) == [name]


def test_a_file_that_is_cut_short_is_refused_when_it_has_settled(folder: SpoolFolder, clock: Clock) -> None:
    write(folder, "x.json", '{"half')
    assert (ready(folder), taken(folder)) == (["x.json"], [])

    clock.now += SETTLE_S - A_LITTLE
    assert (ready(folder), taken(folder)) == ([], [])
    clock.now += A_LITTLE
    (delivery,) = taken(folder)

    assert delivery.refusal is not None and delivery.refusal.reason == "bad-json"


def test_a_file_that_is_cut_short_is_read_again_when_it_has_changed_and_rested(
    folder: SpoolFolder, clock: Clock
) -> None:
    write(folder, "x.json", '{"half')
    assert taken(folder) == []
    clock.now += REST_S
    write(folder, "x.json", json.dumps(live()), -1)

    assert ready(folder) == []
    clock.now += REST_S - A_LITTLE
    assert ready(folder) == []
    clock.now += A_LITTLE
    (delivery,) = taken(folder)

    assert delivery.refusal is None
    assert folder.waits_since() == math.inf


def test_where_settle_ms_is_shorter_than_the_rest_it_is_enough(tmp_path: Path, clock: Clock) -> None:
    folder = SpoolFolder(Config(spool_dir=tmp_path, settle_ms=125))
    write(folder, "x.json", '{"half')
    assert taken(folder) == []
    write(folder, "x.json", json.dumps(live()), -1)
    assert ready(folder) == []

    clock.now += 0.125
    (delivery,) = taken(folder)

    assert delivery.refusal is None


@pytest.mark.parametrize("name", ["x.json", "x.ndjson"])
@pytest.mark.parametrize("what", ["size", "date"])
def test_a_file_that_keeps_changing_is_not_taken_however_long_that_lasts(
    folder: SpoolFolder, clock: Clock, name: str, what: str
) -> None:
    text = '{"half' if name == "x.json" else '{"a": 1}\n{"b": 2'
    for step in range(12):
        write(folder, name, text + " " * step * (what == "size"), -step * (what == "date"))
        assert taken(folder) == []
        clock.now += REST_S - A_LITTLE

    write(folder, name, json.dumps(live()), -100)
    assert taken(folder) == []
    clock.now += SETTLE_S
    (delivery,) = taken(folder)

    assert delivery.refusal is None


def test_a_file_that_is_not_there_for_a_while_is_new_when_it_comes_back(folder: SpoolFolder, clock: Clock) -> None:
    path = write(folder, "x.ndjson", "{}\n")
    assert ready(folder) == []
    path.rename(path.with_name(".x"))
    assert ready(folder) == []
    clock.now += SETTLE_S
    path.with_name(".x").rename(path)

    assert ready(folder) == []
    clock.now += SETTLE_S
    assert ready(folder) == ["x.ndjson"]


def test_it_is_told_since_when_the_file_waits_that_waits_longest_until_it_has_settled(
    folder: SpoolFolder, clock: Clock
) -> None:
    assert (ready(folder), folder.waits_since()) == ([], math.inf)
    write(folder, "x.ndjson", "{}\n")
    assert (ready(folder), folder.waits_since()) == ([], 1000)
    clock.now += REST_S
    write(folder, "y.ndjson", "{}\n")
    assert (ready(folder), folder.waits_since()) == ([], 1000)

    clock.now += REST_S
    assert (ready(folder), folder.waits_since()) == (["x.ndjson"], 1000 + REST_S)
    clock.now += REST_S
    assert (ready(folder), folder.waits_since()) == (["x.ndjson", "y.ndjson"], math.inf)


def test_an_empty_folder_is_removed_when_it_is_older_than_an_hour(folder: SpoolFolder, clock: Clock) -> None:
    for name in ("r", "r/empty", "r/used"):
        Path(folder.root, name).mkdir()
    write(folder, "r/used/x.json.tmp", "")
    clock.now = 1_700_003_600
    for name in ("r/empty", "r/used", "r"):
        os.utime(Path(folder.root, name), (1_700_000_000,) * 2)

    ready(folder)
    assert Path(folder.root, "r/empty").exists()
    clock.now += A_LITTLE
    ready(folder)

    assert [path.name for path in Path(folder.root, "r").iterdir()] == ["used"]
