"""The lines of jobs' output, in a file of their own beside the database.

Lines lie in a file of their own, so that the database stays small and quick to copy. Two files cannot be
committed as one, so one of them decides: the database, where table log says which lines a log has. The file of lines
is committed first. What the database tells of is therefore always there; and what lies outside of that was written
by a transaction that was never committed (killed, disk full) or is no longer wanted. No reader sees it, and the next
lines of the log take its place: so a delivery that is taken again after a failure adds its lines once.

For the same reason what the database may still tell of is not deleted. Lines that are too many go when the next ones
come (so those that come twice in one transaction may take some along although it fails: the oldest, as ever). A log
that no job has any more, because its job was pruned or run again, is marked, and its lines are deleted by a later
transaction. That a rollback gives the number of a log to another one is no matter: a log begins by deleting what lies
under its number.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from simscope_server.ledger.database import PRAGMAS
from simscope_server.messages.protocol import NotNow

LOG_SIZE_MOST = 16_000_000  # characters of one job's log; what it had before goes, as for [limits] log_lines


class LogGap(ValueError):
    """Lines whose offset lies beyond the end of a log: some before them are missing."""


class LogComplete(ValueError):
    """Lines for the log of a job that has its verdict, which no line can follow."""


class LogBook:
    """Lines of jobs' output, by the number of their log. Writer's thread only."""

    SCHEMA = """
        CREATE TABLE IF NOT EXISTS log_line (
            log INTEGER, number INTEGER, at INTEGER NOT NULL, message TEXT NOT NULL, PRIMARY KEY (log, number)
        ) STRICT, WITHOUT ROWID;
    """

    def __init__(self, path: Path | str) -> None:
        self.conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.conn.executescript(PRAGMAS + self.SCHEMA)

    def write(self, log: int, lines: Iterable[tuple[int, str]], now: int) -> None:
        """Add lines, each with its offset."""
        self._begin()
        self.conn.executemany(
            "INSERT INTO log_line VALUES (?, ?, ?, ?)", ((log, number, now, text) for number, text in lines)
        )

    def lengths(self, log: int, new: dict[int, str]) -> Iterator[tuple[int, int]]:
        """(offset, characters) of all lines, and of new ones by their offset, from the oldest on."""
        yield from self.conn.execute(
            "SELECT number, length(message) FROM log_line WHERE log = ? ORDER BY number", (log,)
        )
        yield from ((number, len(text)) for number, text in new.items())

    def cut(self, log: int, first: int, following: int) -> None:
        """Leave no lines but those from `first` up to, and without, `following`."""
        self._begin()
        self.conn.execute("DELETE FROM log_line WHERE log = ? AND number < ?", (log, first))
        self.conn.execute("DELETE FROM log_line WHERE log = ? AND number >= ?", (log, following))

    def forget(self, log: int) -> None:
        """Delete all lines of a log."""
        self.cut(log, 0, 0)

    def _begin(self) -> None:
        if not self.conn.in_transaction:
            self.conn.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        if self.conn.in_transaction:
            self.conn.execute("COMMIT")

    def rollback(self) -> None:
        if self.conn.in_transaction:
            self.conn.execute("ROLLBACK")


def open_logbook(path: Path) -> LogBook:
    """Open the file of the logs, made anew if there is none. Raises NotNow."""
    try:
        return LogBook(path)
    except sqlite3.Error as error:
        raise NotNow(f"{path}: cannot be opened for the logs of jobs: {error}") from None
