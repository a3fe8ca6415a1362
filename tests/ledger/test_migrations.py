"""A database that release 0.1.0 made (schema version 3, see version-3/make.py) becomes one of this release: with the
same answers to all that was asked of it then, whole whatever happens on the way, and with a copy of what it was."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import rooms
from support.daemons import Daemon, driven, wait_until
from support.stories import Story

from simscope_server.ledger import migrations
from simscope_server.ledger.database import SCHEMA_VERSION, _make_database
from simscope_server.messages.protocol import NotNow
from simscope_server.program import __version__

FIXTURE = Path(__file__).with_name("version-3")
ANSWERS: dict[str, Any] = json.loads(gzip.decompress((FIXTURE / "answers.json.gz").read_bytes()))
CONFIG = """
[sigs]
enablelivejobs = true
livetimeoutsignature = "LIVE Job Timeout or Missing"
prunelivedays = 0
[regr]
autotimeouthours = 0
[limits]
keep_events_days = 36500
keep_receipts_days = 36500
"""
OF_NOW = {"elapsed_ms", "now", "due_at", "eta_at", "eta", "stalled_since"}  # computed by the clock
KILLED = """
def kill(point):
    if point == "before-migration":
        os.kill(os.getpid(), signal.SIGKILL)

rooms.replace("passing", kill)
"""


def unpack(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("simscope.db", "simscope.db.logs"):
        (folder / name).write_bytes(gzip.decompress((FIXTURE / f"{name}.gz").read_bytes()))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the fixture."""
    unpack(tmp_path / "daemon")
    return tmp_path / "daemon" / "simscope.db"


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of this release on the fixture."""
    folder = tmp_path_factory.mktemp("upgraded")
    unpack(folder)
    daemon = Daemon(folder, CONFIG).start()
    wait_until(lambda: not daemon.rows("SELECT 1 FROM test WHERE category IS NULL"), what="the categories of tests")
    yield daemon
    daemon.stop()


def rows(path: Path, sql: str) -> list[Any]:
    conn = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return conn.execute(sql).fetchall()
    finally:
        conn.close()


def version(path: Path) -> int:
    return int(rows(path, "PRAGMA user_version")[0][0])


def content(path: Path) -> list[Any]:
    """Every row of every table, and the schema."""
    tables = [name for (name,) in rows(path, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    return [
        rows(path, "SELECT sql FROM sqlite_schema ORDER BY name"),
        *(rows(path, f"SELECT * FROM {t}") for t in tables),
    ]


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: timeless(part) for name, part in value.items() if name not in OF_NOW}
    return [timeless(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", ANSWERS)
def test_what_is_answered_about_old_data_is_what_was_answered_before(upgraded: Daemon, path: str) -> None:
    status, told, _ = upgraded.request("GET", path)

    assert [status, timeless(told)] == timeless(ANSWERS[path])


def test_a_file_that_is_brought_up_has_the_schema_of_one_that_is_made_anew(upgraded: Daemon) -> None:
    fresh = sqlite3.connect(":memory:")
    _make_database(fresh)
    shape = 'SELECT m.type, m.name, c.name, c.type, c."notnull", c.pk FROM sqlite_schema AS m, '
    shape += "pragma_table_xinfo(m.name) AS c ORDER BY m.type, m.name, c.cid"
    plain = "SELECT type, name, replace(replace(sql, char(10), ''), ' ', '') FROM sqlite_schema "
    plain += "WHERE type <> 'table' ORDER BY type, name"

    assert upgraded.rows(shape) == fresh.execute(shape).fetchall()
    assert upgraded.rows(plain) == fresh.execute(plain).fetchall()


def test_the_file_as_it_was_is_kept_and_opens_as_it_did(upgraded: Daemon, old: Path) -> None:
    kept = Path(f"{upgraded.db}.before-v3")

    assert version(upgraded.db) == SCHEMA_VERSION
    assert content(kept) == content(old)
    assert version(kept) == 3
    assert not Path(f"{kept}.part").exists()


def test_values_that_came_with_the_version_are_filled_in(upgraded: Daemon) -> None:
    wrong = "SELECT t.id FROM test AS t JOIN job AS j ON j.test_id = t.id WHERE t.category IS NOT j.category"

    assert upgraded.rows("SELECT count(*) FROM test WHERE category IS NOT NULL")[0][0] > 20
    assert upgraded.rows(wrong) == []
    assert upgraded.rows("SELECT program FROM daemon") == [(f"simscoped {__version__}",)]


def test_values_are_filled_in_slices_and_what_has_none_ends_nothing(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms.replace("FILL_ROWS", 2, monkeypatch)
    for number in range(5):
        story.finish(uniqueid=str(number), name=f"test{number}", category=f"kind{number}")
    story.live(uniqueid="live", name="only live")
    story.conn.execute("UPDATE test SET category = NULL")

    told = [story.change(migrations.fill_tests) for _ in range(4)]

    assert told == [True, True, False, False]
    filled = [row["category"] for row in story.rows("SELECT category FROM test ORDER BY id")]
    assert filled == [*(f"kind{number}" for number in range(5)), None]


def test_a_kill_in_the_middle_leaves_the_old_file_whole_and_the_next_start_does_it(
    make_daemon: Callable[..., Daemon], old: Path, tmp_path: Path
) -> None:
    before = content(old)
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", KILLED)).start(wait=False)
    assert daemon.process is not None
    assert daemon.process.wait(20) == -signal.SIGKILL
    assert (version(old), content(old)) == (3, before)
    assert content(Path(f"{old}.before-v3")) == before

    make_daemon(CONFIG).start()

    assert version(old) == SCHEMA_VERSION
    assert content(Path(f"{old}.before-v3")) == before


def test_the_copy_takes_the_place_of_one_that_was_kept_before(make_daemon: Callable[..., Daemon], old: Path) -> None:
    kept, part = Path(f"{old}.before-v3"), Path(f"{old}.before-v3.part")
    kept.write_text("of another time")
    part.write_text("of a copy that was killed")

    make_daemon(CONFIG).start()

    assert version(kept) == 3
    assert not part.exists()


def test_without_room_for_the_copy_nothing_is_changed_and_the_sentence_says_how_much_is_missing(
    make_daemon: Callable[..., Daemon], old: Path, tmp_path: Path
) -> None:
    before = content(old)
    full = "import shutil\nshutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**12, 10**12 - 10, 10)"
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", full)).start(wait=False)
    assert daemon.process is not None

    assert daemon.process.wait(20) == 1

    assert "before it is changed to 4; that takes 65 MiB of disk, and 0 MiB are free" in daemon.log.read_text()
    assert (version(old), content(old)) == (3, before)
    assert sorted(path.name for path in old.parent.glob("*before*")) == []


def test_a_copy_that_cannot_be_written_changes_nothing(old: Path) -> None:
    Path(f"{old}.before-v3.part").mkdir()

    with pytest.raises(NotNow, match="the copy before the change cannot be written"):
        migrations.upgrade(old, lambda _: None)

    assert version(old) == 3


def test_how_far_it_is_is_told_and_the_service_manager_is_asked_for_time(
    make_daemon: Callable[..., Daemon], old: Path, tmp_path: Path
) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))

    daemon = make_daemon(CONFIG).start(env={"NOTIFY_SOCKET": str(tmp_path / "notify")})

    told: list[str] = []
    while not any("READY=1" in text for text in told):
        told.append(manager.recv(4096).decode())
    assert told[0].startswith("EXTEND_TIMEOUT_USEC=60000000\nSTATUS=")
    assert "100 % of 1 MiB copied" in told[0]
    assert "schema version 3 became 4" in daemon.log.read_text()


@pytest.mark.parametrize(("other", "program"), [(2, None), (5, "simscoped 9.9"), (5, None)])
def test_a_file_of_a_version_that_we_do_not_know_is_left_alone_with_a_sentence(
    make_daemon: Callable[..., Daemon], old: Path, other: int, program: str | None
) -> None:
    conn = sqlite3.connect(old)
    if program:
        conn.execute("ALTER TABLE daemon ADD COLUMN program TEXT")
        conn.execute("UPDATE daemon SET program = ?", (program,))
    conn.execute(f"PRAGMA user_version = {other}")
    conn.commit()
    conn.close()
    before = old.read_bytes()
    daemon = make_daemon(CONFIG).start(wait=False)
    assert daemon.process is not None

    assert daemon.process.wait(20) == 2

    by = f", written by {program}" if program else ""
    assert f"has schema version {other}{by}; this simscoped {__version__} works with versions 3 to 4." in (
        daemon.log.read_text()
    )
    assert old.read_bytes() == before
    assert list(old.parent.glob("*before*")) == []


def test_commands_that_only_read_ask_for_a_start_first(make_daemon: Callable[..., Daemon], old: Path) -> None:
    daemon = make_daemon(CONFIG)

    told = subprocess.run(
        [sys.executable, str(daemon.program[-1]), "receipt", "x", "--config", str(daemon.config)],
        capture_output=True,
        text=True,
    )

    assert told.returncode == 2
    assert "belongs to an earlier release; start the daemon once" in told.stderr
    assert version(old) == 3
