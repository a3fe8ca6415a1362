"""The commands beside serve: requeue, snapshot, receipt. Configuration in, exit code or sentences out."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from simscope_server.doors.spool_folder import REASON, free_path, is_reason, move, remove_empty
from simscope_server.ledger.database import check_database, copy_whole, read_only
from simscope_server.messages.protocol import NotNow, SimscopedError
from simscope_server.reading import answers, queries
from simscope_server.settings import Config


def requeue(config: Config, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Put refused files back into the spool: all, or those named (file name or path, also that of the reasons).
    -> the paths that they have there, and the names that fit none."""
    bad = os.path.realpath(config.spool_dir / ".bad")
    below = [f"{folder}/{file}"[len(bad) + 1 :] for folder, _, files in os.walk(bad) for file in files]
    refused = sorted(path for path in below if not is_reason(f"{bad}/{path}"))
    known = {*refused, *map(os.path.basename, refused)}
    meant = {name: _refused_name(bad, name, known) for name in names}
    back = []
    for path in refused:
        if not names or {path, os.path.basename(path)}.intersection(meant.values()):
            target = free_path(f"{bad}/{path}", f"{config.spool_dir}/{path}")
            move(f"{bad}/{path}", target)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{bad}/{path}{REASON}")
            back.append(os.path.relpath(target, config.spool_dir))
    remove_empty(bad)
    return back, [name for name, told in meant.items() if told not in known]


def _refused_name(bad: str, name: str, known: Collection[str]) -> str:
    """What somebody says of a refused file, as it is known: a path into .bad becomes one below it."""
    told = os.path.realpath(name).removeprefix(f"{bad}/")
    told = name if os.path.isabs(told) else told
    return told if told in known else told.removesuffix(REASON)


def take_snapshot(config: Config, target: Path) -> list[Path]:
    """Write a consistent copy of the database, for reading elsewhere, and one of its logs. -> their names.

    The logs come second, and hold at least the lines that the copy of the database speaks of, but for those that made
    room for newer ones meanwhile. Raises SimscopedError."""
    copies = [target, Path(f"{target}.logs")]
    parts = [Path(f"{copy}.part") for copy in copies]
    for copy in copies:
        if os.path.lexists(copy):
            raise SimscopedError(f"{copy}: exists already; a snapshot overwrites nothing")
    try:
        with contextlib.closing(_open_to_read(config)) as database:
            copy_whole(database, parts[0])
        with contextlib.closing(sqlite3.connect(read_only(Path(f"{config.db}.logs")), uri=True)) as logs:
            copy_whole(logs, parts[1])
        for part, copy in reversed([*zip(parts, copies, strict=True)]):
            part.rename(copy)
    except (sqlite3.Error, OSError) as error:
        raise NotNow(f"{target}: the snapshot cannot be written: {error}") from None
    finally:
        for part in parts:
            with contextlib.suppress(OSError):
                part.unlink()
    return copies


def _open_to_read(config: Config) -> sqlite3.Connection:
    try:
        conn = sqlite3.connect(read_only(config.db), uri=True)
        conn.row_factory = sqlite3.Row
        if check_database(conn, config.db) is None:
            raise SimscopedError(f"{config.db}: is empty; no daemon has used it yet")
    except sqlite3.Error as error:
        raise SimscopedError(f"{config.db}: cannot be read: {error}") from None
    return conn


def print_receipts(config: Config, name: str) -> int:
    """Print the newest receipt of a delivery as JSON. -> 1 if something was refused or there is none, else 0."""
    found = queries.RECEIPTS.filters["name"]("name", name)
    with contextlib.closing(_open_to_read(config)) as conn:
        sql = f"SELECT * FROM receipt WHERE {found.sql} ORDER BY id DESC LIMIT 1"
        row = conn.execute(sql, found.parameters).fetchone()
    if row is None:
        print(
            f"there is no receipt for {name!r}: it is not taken yet, or its receipt is not kept any more",
            file=sys.stderr,
        )
        return 1
    print(json.dumps(answers.stored_receipt(row), ensure_ascii=False, indent=2))
    return 1 if row["rejected"] else 0
