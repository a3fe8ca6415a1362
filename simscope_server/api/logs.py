"""Logs of jobs: pages, long polls, streams, and lines that come by themselves."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Any

import msgspec
from aiohttp import web

from simscope_server.api.context import Api
from simscope_server.api.events import event_stream
from simscope_server.api.parameters import wait_seconds
from simscope_server.api.problems import Problem, json_response
from simscope_server.api.routing import handler
from simscope_server.ledger.actions import add_lines
from simscope_server.ledger.ledger import heard
from simscope_server.ledger.logbook import LogComplete, LogGap
from simscope_server.ledger.rules import DONE
from simscope_server.messages.decoding import fitting
from simscope_server.messages.protocol import LogLines, Refused, Row, encode_json
from simscope_server.messages.times import utc
from simscope_server.reading import queries
from simscope_server.reading.feed import HEARTBEAT_S, Subject

#
# A handler here, and in the next section, is a function of the Api and the request.
LOG_LIMIT_MOST = 10_000  # lines in one answer


def log_offset(request: web.Request) -> int:
    """The offset from which a log is wanted: Last-Event-ID of a stream that is resumed, else offset=N, else 0."""
    resumed = request.headers.get("Last-Event-ID", "")
    if resumed.isascii() and resumed.isdigit() and len(resumed) < 16:
        return int(resumed) + 1
    said = request.query.get("offset") or "0"
    if not (said.isascii() and said.isdigit() and len(said) < 16):
        raise Problem(422, "log-offset-out-of-range", f"offset={said} is not a line's number, 0 or more", path="offset")
    return int(said)


@handler
async def job_logs(api: Api, request: web.Request) -> web.StreamResponse:
    """A page of a job's log; with wait=SECONDS it blocks at the end of a running job's log, and as an event stream
    it follows until the log is complete."""
    row = await api.job_row(request)
    offset = log_offset(request)
    limit = queries.whole_number("limit", request.query.get("limit") or "500", 1, LOG_LIMIT_MOST)
    if "text/event-stream" in request.headers.get("Accept", "") and request.method != "HEAD":
        return await _follow_log(api, request, row, offset)
    wait = wait_seconds(request)
    if not wait:
        return json_response(await _log_page(api, row, offset, limit))
    end = time.monotonic() + wait
    async with api.feed.listening():
        while True:
            with api.store.bells.listen(*_bells_of_log(row)) as news:
                told = await _log_page(api, await api.job_row(request), offset, limit)
                left = end - time.monotonic()
                if told["lines"] or told["complete"] or left <= 0 or api.feed.closed or not await heard(news, left):
                    return json_response(told)


def _bells_of_log(row: Row) -> tuple[Hashable, ...]:
    """What a job's log may go on or end with: its lines, and what happens to the job."""
    return row["id"], Subject(row["regression_id"], row["id"])


async def _log_page(api: Api, row: dict[str, Any], offset: int, limit: int) -> dict[str, Any]:
    first, following, lines = await api.store.read_log(row["id"], offset, limit)
    if offset > following:
        detail = f"offset {offset} lies beyond the log, whose next line will have offset {following}"
        raise Problem(422, "log-offset-out-of-range", detail, path="offset", next_offset=following)
    end = lines[-1][0] + 1 if len(lines) == limit else following
    return {
        "first_offset": first,
        "next_offset": end,
        "complete": row["state"] == DONE and end == following,
        "lines": [{"offset": number, "at": utc(at), "message": text} for number, at, text in lines],
    }


async def _follow_log(api: Api, request: web.Request, row: Row, offset: int) -> web.StreamResponse:
    """Lines as they come (SSE), until the log is complete."""
    async with event_stream(api, request) as response:
        told, quiet_since = {"complete": False}, time.monotonic()
        while not told["complete"] and not api.feed.closed:
            with api.store.bells.listen(*_bells_of_log(row)) as news:
                told = await _log_page(api, await api.job_row(request), offset, LOG_LIMIT_MOST)
                if not response.prepared:
                    await response.prepare(request)
                frames, offset = _log_frames(told), told["next_offset"]
                if not frames and time.monotonic() - quiet_since >= HEARTBEAT_S:
                    frames = b": alive\n\n"
                if frames:
                    await response.write(frames)
                    quiet_since = time.monotonic()
                if not told["lines"] and not told["complete"]:
                    await heard(news, quiet_since + HEARTBEAT_S - time.monotonic())
    return response


def _log_frames(told: Row) -> bytes:
    """A page of a log as it is streamed."""
    frames = [b"id: %d\ndata: %b\n\n" % (line["offset"], encode_json(line)) for line in told["lines"]]
    if told["complete"]:
        frames.append(b"event: complete\ndata: %b\n\n" % encode_json({"next_offset": told["next_offset"]}))
    return b"".join(frames)


async def said_lines(request: web.Request) -> LogLines:
    """The lines in the body of a request. Raises Problem 400 for what is no JSON, 422 for what are no lines."""
    form = 'the body is like {"offset": 0, "lines": ["…"]}'
    try:
        said = msgspec.json.decode(await request.read())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "bad-json", f"{form}: {error}") from None
    try:
        lines: LogLines = fitting(said, LogLines, "$")
    except Refused as refusal:
        raise Problem(422, "wrong-type", f"{refusal.detail}; {form}", path=refusal.path) from None
    if "lines" not in lines:
        raise Problem(422, "missing-field", f"lines are missing; {form}", path="$.lines")
    return lines


@handler
async def append_logs(api: Api, request: web.Request) -> web.Response:
    """Add lines to a running job's log. A given offset makes it harmless to send the same again, even when the job has
    its verdict. U+0000 becomes U+FFFD: a simulator's output is kept, whatever it is."""
    row = await api.job_row(request)
    said = await said_lines(request)
    begin, lines = said.get("offset"), [line.replace("\0", "\ufffd") for line in said["lines"]]
    complete = None
    try:
        await api.store.change(add_lines, row["id"], begin, lines)
    except LogGap as gap:
        raise Problem(409, "log-gap", str(gap), path="$.offset") from None
    except LogComplete as refusal:
        complete = str(refusal)
    first, following, _ = await api.store.read_log(row["id"], 0, 1)
    if complete and (begin is None or begin + len(lines) > following):
        raise Problem(409, "log-complete", complete)
    return json_response({"first_offset": first, "next_offset": following, "complete": complete is not None})
