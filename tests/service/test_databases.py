"""Two daemons, and databases that are not ours or were moved."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from support.daemons import LIVE_SIGS, Daemon, driven, live, wait_until
from support.spools import counted

CONFIG = f'{LIVE_SIGS}[spool]\ndir = "spool"\nsettle_ms = 50\npoll_ms = 100\n'


def refusal(daemon: Daemon, code: int) -> str:
    """Start a daemon that must not start. -> what it says, one sentence without a traceback."""
    daemon.start(wait=False)
    assert daemon.process is not None
    assert daemon.process.wait(10) == code
    said = daemon.log.read_text()
    assert "Traceback" not in said
    assert said.count("\n") == 1
    return said


def test_a_second_daemon_on_the_same_database_is_refused(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    first = make_daemon(CONFIG).start()
    impatient = driven(tmp_path / "second", "rooms.replace('LOCK_TIMEOUT_S', 0.1)")
    second = make_daemon(CONFIG, folder="second", program=impatient)
    second.config.write_text(second.config.read_text().replace('"simscope.db"', f'"{first.db}"'))

    said = refusal(second, 1)

    assert f"{first.db}: another simscoped works on it" in said
    assert first.post("/publish/job-live?regression=r", live("a"))[0] == 200


def test_a_second_daemon_on_the_same_spool_is_refused(make_daemon: Callable[..., Daemon]) -> None:
    first = make_daemon(CONFIG).start()
    second = make_daemon(CONFIG, folder="second")
    second.config.write_text(second.config.read_text().replace('dir = "spool"', f'dir = "{first.spool}"'))

    said = refusal(second, 1)

    assert f"{first.spool}: another simscoped reads this spool" in said
    first.drop("r/x.json", live("a"))
    wait_until(lambda: counted(first, "job") == 1)


def test_a_lock_does_not_outlive_a_daemon_that_was_killed(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG).start()
    daemon.stop(signal.SIGKILL)

    daemon.start()

    assert daemon.request("GET", "/healthz")[0] == 200


def foreign(path: Path) -> None:
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE theirs (x)")
    conn.commit()
    conn.close()


def foreign_with_id(path: Path) -> None:
    conn = sqlite3.connect(path)
    conn.executescript("PRAGMA application_id = 12345; CREATE TABLE theirs (x);")
    conn.close()


def text(path: Path) -> None:
    path.write_text("dear diary, " * 500)


def newer(path: Path) -> None:
    conn = sqlite3.connect(path)
    conn.executescript(f"PRAGMA application_id = {0x73696D73}; PRAGMA user_version = 99; CREATE TABLE job (id);")
    conn.close()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (foreign, "is a database of another program"),
        (foreign_with_id, "is a database of another program"),
        (text, "file is not a database"),
        (newer, "has schema version 99; this simscoped"),
    ],
)
def test_a_file_that_is_not_our_database_is_left_alone(
    make_daemon: Callable[..., Daemon], make: Callable[[Path], None], sentence: str
) -> None:
    daemon = make_daemon(CONFIG)
    make(daemon.db)
    before = daemon.db.read_bytes()

    said = refusal(daemon, 2)

    assert said.startswith(f"simscoped: {daemon.db}: ")
    assert sentence in said
    assert daemon.db.read_bytes() == before
    assert sorted(path.name for path in daemon.folder.glob("simscope.db*")) == ["simscope.db", "simscope.db.lock"]


@pytest.mark.parametrize(
    ("prelude", "sentence"),
    [
        ("def no(*_): raise OSError(28, 'No space left on device')\nos.open = no", "No space left on device"),
        (
            "def no(*_): raise sqlite3.OperationalError('disk I/O error')\nrooms.replace('_make_database', no)",
            "disk I/O error",
        ),
        ("rooms.replace('_make_database', lambda _: os.kill(os.getpid(), signal.SIGKILL))", "the process that writes"),
    ],
    ids=["full disk", "I/O error", "writer killed"],
)
def test_what_may_go_well_at_the_next_start_is_a_sentence_and_no_matter_of_configuration(
    make_daemon: Callable[..., Daemon], tmp_path: Path, prelude: str, sentence: str
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", prelude))

    assert sentence in refusal(daemon, 1)


def test_a_copy_of_a_database_and_its_log_left_by_a_kill_is_taken_over_whole(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(CONFIG).start()
    for number in range(20):
        daemon.post("/publish/job-live?regression=r", live(str(number)))
    daemon.stop(signal.SIGKILL)
    other = make_daemon(CONFIG, folder="other")
    for path in daemon.folder.glob("simscope.db*"):
        shutil.copy(path, other.folder)

    other.start()

    assert len(other.get("/jobs?limit=500")["items"]) == 20
