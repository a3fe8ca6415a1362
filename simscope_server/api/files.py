"""Files that jobs declare: the list, and their content from below configured roots."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import contextlib
import hashlib
import io
import math
import os
import re
import stat
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any, Concatenate

from aiohttp import web

from simscope_server.api.context import Api
from simscope_server.api.parameters import numbered_page
from simscope_server.api.problems import Problem
from simscope_server.api.routing import handler
from simscope_server.messages.protocol import LIMIT_MOST, P, Row, T
from simscope_server.reading import answers
from simscope_server.settings import Config

DIGESTS_MOST = 1000  # files of which the SHA-256 is kept


@handler
async def job_files(api: Api, request: web.Request) -> web.Response:
    """The files that a job declares; with kind=KIND those of one kind. The cursor is the number of those before."""
    job = answers.job_object(await api.job_row(request), api.viewpoint())
    kind = request.query.get("kind")
    after, limit = numbered_page(request, LIMIT_MOST)
    wanted = [file for file in job["files"] if kind in (None, "", file.get("kind"))]
    shown = await with_files(api, look_at_files, job, wanted[after : after + limit])
    return api.listed(request, shown, after + limit if after + limit < len(wanted) else None)


async def with_files(api: Api, look: Callable[Concatenate[Api, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """look(api, …) at declared files, which may lie on a disk that hangs: in one of few threads that nothing else uses,
    and for which a stop does not wait. The thread stays taken when the request has been given up."""
    return await asyncio.shield(asyncio.create_task(_in_thread(api.file_threads, lambda: look(api, *args, **kwargs))))


async def _in_thread(room: asyncio.Semaphore, look: Callable[[], T]) -> T:
    found: concurrent.futures.Future[T] = concurrent.futures.Future()

    def find() -> None:
        try:
            found.set_result(look())
        except BaseException as error:
            found.set_exception(error)

    async with room:
        found.set_running_or_notify_cancel()
        threading.Thread(target=find, daemon=True).start()
        return await asyncio.wrap_future(found)


HASHED_BYTES = 8 << 20  # of one list of files


def look_at_files(api: Api, job: Row, files: list[Row]) -> list[Row]:
    """Declared files as they are shown. Those that are served have a link to their content and, where the job does not
    tell them, the size and the SHA-256 that they have: the SHA-256 only once the job is done, and of no more than a
    bounded number of bytes."""
    shown, left = [], HASHED_BYTES if job["done"] else -1
    for file in files:
        told, links = {name: value for name, value in file.items() if value is not None}, {}
        with contextlib.suppress(Problem, OSError), _opened(api.config, job, told.get("path", "")) as opened:
            size, links = os.fstat(opened.fileno()).st_size, _content_link(job, told)
            told = {"size": size, **told}
            if "sha256" not in told and size <= left:
                told["sha256"] = sha256_of(api, opened).hex()
                left -= size
        shown.append({**file, **told, "_links": links})
    return shown


def _content_link(job: Row, file: Row) -> Row:
    if not all(isinstance(file.get(part), str) for part in ("kind", "name")):
        return {}
    place = "/".join(urllib.parse.quote(file[part], safe="") for part in ("kind", "name"))
    return {"content": {"href": f"{job['_links']['files']['href']}/{place}"}}


def sha256_of(api: Api, file: io.FileIO) -> bytes:
    """The SHA-256 of an open file, computed again only when the file has changed."""
    said = os.fstat(file.fileno())
    state = (said.st_dev, said.st_ino, said.st_size, said.st_mtime_ns)
    digest = api.digests.get(state)
    if digest is None:
        digest = hashlib.file_digest(file, "sha256").digest()
        if len(api.digests) >= DIGESTS_MOST:
            api.digests.clear()
        api.digests[state] = digest
    return digest


BYTE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)


PRECONDITIONS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")


class FileContent(web.FileResponse):
    """An open file, or a part of it; whatever lies under its name by now, and never a compressed one beside it, whose
    SHA-256 would be another."""

    def __init__(self, file: io.FileIO, headers: Mapping[str, str], part: str | None) -> None:
        super().__init__(f"/proc/self/fd/{file.fileno()}", headers=headers)
        self.file = file
        self.asked = {"Range": part} if part else {}

    async def prepare(self, request: web.BaseRequest) -> Any:
        for name in PRECONDITIONS:
            if name in request.headers:
                self.asked[name] = request.headers[name].encode("utf-8", "replace").decode()
        with self.file:
            return await super().prepare(request.clone(headers=self.asked))


def part_wanted(request: web.Request, file: os.stat_result) -> str | None:
    """The Range of a request for a file, where it counts: one range of bytes, of the file that If-Range means. Any
    other means the whole file (RFC 9110). Raises Problem 416 for a range that begins behind the end."""
    found = BYTE_RANGE.fullmatch(request.headers.get("Range", ""))
    known = (None, f'"{file.st_mtime_ns:x}-{file.st_size:x}"', formatdate(math.ceil(file.st_mtime), usegmt=True))
    if found is None or request.method != "GET" or request.headers.get("If-Range") not in known:
        return None
    first, last = found.groups()
    if not (first or last) or (first and last and int(last) < int(first)):
        return None
    if (int(first) if first else file.st_size - min(int(last), file.st_size)) >= file.st_size:
        refusal = Problem(416, "range-not-satisfiable", f"{found[0]} lies beyond the {file.st_size} bytes of the file")
        refusal.headers["Content-Range"] = f"bytes */{file.st_size}"
        raise refusal
    return found[0]


@handler
async def job_file(api: Api, request: web.Request) -> web.StreamResponse:
    """A file's content, from below [server] file_roots only, with its SHA-256."""
    job = answers.job_object(await api.job_row(request), api.viewpoint())
    kind, name = request.match_info["kind"], request.match_info["name"]
    declared = [file for file in job["files"] if (file.get("kind"), file.get("name")) == (kind, name)]
    if not declared or not declared[0].get("path"):
        raise Problem(404, "no-such-file", f"job {job['id']} declares no file {name!r} of kind {kind!r}")
    file, digest = await with_files(api, _content, job, declared[0]["path"])
    shown = urllib.parse.quote(name.rpartition("/")[2], safe="")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{shown}",
        "Content-Type": "application/octet-stream",
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
        "X-Content-Type-Options": "nosniff",
    }
    return FileContent(file, headers, part_wanted(request, os.fstat(file.fileno())))


def _real_path(config: Config, job: dict[str, Any], declared: str) -> Path:
    """Where a declared file really lies. Raises Problem unless that is below a root, and none of our own files."""
    path = Path(job["jobdir"] or "/", declared)
    real = Path(os.path.realpath(path))
    roots = [Path(os.path.realpath(root)) for root in config.file_roots]
    own = [Path(os.path.realpath(place)) for place in (config.path, config.spool_dir)]
    database = os.path.realpath(config.db)
    is_own = any(real.is_relative_to(place) for place in own) or str(real).startswith(database)
    if is_own or not any(real.is_relative_to(root) for root in roots):
        raise Problem(403, "outside-roots", f"{declared!r} does not lie below one of [server] file_roots")
    if not os.path.isfile(real):
        raise Problem(404, "no-such-file", f"{declared!r} is not there, or not a regular file")
    return real


def _opened(config: Config, job: dict[str, Any], declared: str) -> io.FileIO:
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


def _unreadable(declared: str, error: OSError) -> Problem:
    return Problem(404, "no-such-file", f"{declared!r} cannot be read: {error.strerror}")


def _content(api: Api, job: Row, declared: str) -> tuple[io.FileIO, bytes]:
    """A declared file, opened, and its SHA-256. Raises Problem as _opened does."""
    file = _opened(api.config, job, declared)
    try:
        return file, sha256_of(api, file)
    except OSError as error:
        file.close()
        raise _unreadable(declared, error) from None
