"""Files that jobs declare, as they lie on the disk: only below configured roots, none of our own, and hashed once.

A disk may hang, so every look is taken in one of few threads that nothing else uses.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import hashlib
import io
import os
import stat
import threading
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate

from simscope_server.api.problems import Problem
from simscope_server.messages.protocol import P, Row, T
from simscope_server.reading import shapes
from simscope_server.settings import Config

FILE_THREADS = 8  # that look at declared files at a time


DIGESTS_MOST = 1000  # files of which the SHA-256 is kept


HASHED_BYTES = 8 << 20  # of one list of files


class DeclaredFiles:
    """The files below [server] file_roots that jobs declare."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._digests: dict[tuple[int, ...], bytes] = {}  # device, inode, size and mtime of a file -> SHA-256
        self._threads = asyncio.Semaphore(FILE_THREADS)

    async def look(self, fn: Callable[Concatenate[DeclaredFiles, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """fn(self, …) in a thread, for which a stop does not wait. The thread stays taken when the request has been
        given up."""
        return await asyncio.shield(asyncio.create_task(self._in_thread(lambda: fn(self, *args, **kwargs))))

    def content(self, job: shapes.Job, declared: str) -> tuple[io.FileIO, bytes]:
        """A declared file, opened, and its SHA-256. Raises Problem unless it lies below a root and can be read."""
        file = _opened(self.config, job, declared)
        try:
            return file, sha256_of(self._digests, file)
        except OSError as error:
            file.close()
            raise _unreadable(declared, error) from None

    def shown(self, job: shapes.Job, files: list[Row]) -> list[Row]:
        """Declared files as they are shown. Those that are served have a link to their content and, where the job does
        not tell them, the size and the SHA-256 that they have: the SHA-256 only once the job is done, and of no more
        than a bounded number of bytes."""
        shown, left = [], HASHED_BYTES if job["done"] else -1
        for file in files:
            told, links = {name: value for name, value in file.items() if value is not None}, {}
            with contextlib.suppress(Problem, OSError), _opened(self.config, job, told.get("path", "")) as opened:
                size, links = os.fstat(opened.fileno()).st_size, _content_link(job, told)
                told = {"size": size, **told}
                if "sha256" not in told and size <= left:
                    told["sha256"] = sha256_of(self._digests, opened).hex()
                    left -= size
            shown.append({**file, **told, "_links": links})
        return shown

    async def _in_thread(self, look: Callable[[], T]) -> T:
        found: concurrent.futures.Future[T] = concurrent.futures.Future()

        def find() -> None:
            try:
                found.set_result(look())
            except BaseException as error:
                found.set_exception(error)

        async with self._threads:
            found.set_running_or_notify_cancel()
            threading.Thread(target=find, daemon=True).start()
            return await asyncio.wrap_future(found)


def sha256_of(digests: dict[tuple[int, ...], bytes], file: io.FileIO) -> bytes:
    """The SHA-256 of an open file, computed again only when the file has changed."""
    said = os.fstat(file.fileno())
    state = (said.st_dev, said.st_ino, said.st_size, said.st_mtime_ns)
    digest = digests.get(state)
    if digest is None:
        digest = hashlib.file_digest(file, "sha256").digest()
        if len(digests) >= DIGESTS_MOST:
            digests.clear()
        digests[state] = digest
    return digest


def _content_link(job: shapes.Job, file: Row) -> Row:
    if not all(isinstance(file.get(part), str) for part in ("kind", "name")):
        return {}
    place = "/".join(urllib.parse.quote(file[part], safe="") for part in ("kind", "name"))
    return {"content": {"href": f"{job['_links']['files']['href']}/{place}"}}


def _opened(config: Config, job: shapes.Job, declared: str) -> io.FileIO:
    """A declared file, opened. Raises Problem as _real_path does, also if the path leads elsewhere by now."""
    real = _real_path(config, job, declared)
    with contextlib.ExitStack() as unless_good:
        try:
            file = unless_good.enter_context(io.FileIO(os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)))
            place = os.readlink(f"/proc/self/fd/{file.fileno()}")
        except OSError as error:
            raise _unreadable(declared, error) from None
        if place != str(real) or not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Problem(404, "no-such-file", f"{declared!r} was replaced while it was being opened")
        unless_good.pop_all()
    return file


def _real_path(config: Config, job: shapes.Job, declared: str) -> Path:
    """Where a declared file really lies. Raises Problem unless that is below a root, and none of our own files."""
    path = Path(job["jobdir"] or "/", declared)
    real = Path(os.path.realpath(path))
    roots = [Path(os.path.realpath(root)) for root in config.file_roots]
    own = [Path(os.path.realpath(place)) for place in (config.path, config.spool_dir)]
    database = os.path.realpath(config.db)
    is_own = any(real.is_relative_to(place) for place in own) or str(real).startswith(database)
    if is_own or not any(real.is_relative_to(root) for root in roots):
        raise Problem(403, "outside-roots", f"{declared!r} is not below one of [server] file_roots")
    if not os.path.isfile(real):
        raise Problem(404, "no-such-file", f"there is no file {declared!r}, or it is not a regular file")
    return real


def _unreadable(declared: str, error: OSError) -> Problem:
    return Problem(404, "no-such-file", f"{declared!r} cannot be read: {error.strerror}")
