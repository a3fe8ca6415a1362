"""Files that jobs declare: the list, and their content from below configured roots."""

from __future__ import annotations

import base64
import io
import math
import os
import urllib.parse
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

from aiohttp import web

from simscope_server.api.context import Context
from simscope_server.api.declared import DeclaredFiles
from simscope_server.api.lists import listed
from simscope_server.api.parameters import numbered_page
from simscope_server.api.problems import Problem
from simscope_server.api.rows import job_row
from simscope_server.messages.protocol import LIMIT_MOST
from simscope_server.reading import answers

PRECONDITIONS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")


async def job_files(context: Context, request: web.Request) -> web.Response:
    """The files that a job declares; with kind=KIND those of one kind. The cursor is the number of those before."""
    job = answers.job_object(await job_row(context, request), context.viewpoint())
    kind = request.query.get("kind")
    after, limit = numbered_page(request, LIMIT_MOST)
    wanted = [file for file in job["files"] if kind in (None, "", file.get("kind"))]
    shown = await context.files.look(DeclaredFiles.shown, job, wanted[after : after + limit])
    return listed(context, request, shown, after + limit if after + limit < len(wanted) else None)


async def job_file(context: Context, request: web.Request) -> web.StreamResponse:
    """A file's content, from below [server] file_roots only, with its SHA-256."""
    job = answers.job_object(await job_row(context, request), context.viewpoint())
    kind, name = request.match_info["kind"], request.match_info["name"]
    declared = [file for file in job["files"] if (file.get("kind"), file.get("name")) == (kind, name)]
    if not declared or not declared[0].get("path"):
        raise Problem(404, "no-such-file", f"job {job['id']} declares no file {name!r} of kind {kind!r}")
    file, digest = await context.files.look(DeclaredFiles.content, job, declared[0]["path"])
    shown = urllib.parse.quote(name.rpartition("/")[2], safe="")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{shown}",
        "Content-Type": "application/octet-stream",
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
        "X-Content-Type-Options": "nosniff",
    }
    try:
        return FileContent(file, headers, part_wanted(request, os.fstat(file.fileno())))
    except Problem:
        file.close()
        raise


def part_wanted(request: web.Request, file: os.stat_result) -> str | None:
    """The Range of a request for a file, where it counts: one range of bytes, of the file that If-Range means. Any
    other means the whole file (RFC 9110). Raises Problem 416 for a range that begins behind the end."""
    known = (None, f'"{file.st_mtime_ns:x}-{file.st_size:x}"', formatdate(math.ceil(file.st_mtime), usegmt=True))
    if request.method != "GET" or request.headers.get("If-Range") not in known:
        return None
    try:
        first = request.http_range.start
    except ValueError:
        return None
    if first is not None and first >= file.st_size:
        detail = f"{request.headers['Range']} lies beyond the {file.st_size} bytes of the file"
        refusal = Problem(416, "range-not-satisfiable", detail)
        refusal.headers["Content-Range"] = f"bytes */{file.st_size}"
        raise refusal
    return request.headers.get("Range")


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
