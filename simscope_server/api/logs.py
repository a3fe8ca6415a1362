"""Logs of jobs: pages, long polls, streams, and lines that come by themselves."""

from __future__ import annotations

import time
from collections.abc import Hashable

import msgspec
from aiohttp import web

from simscope_server.api.context import Context
from simscope_server.api.parameters import wait_seconds
from simscope_server.api.problems import Problem
from simscope_server.api.responses import json_response
from simscope_server.api.routes import LINES_DEFAULT, LINES_MOST
from simscope_server.api.rows import job_row
from simscope_server.api.streams import event_stream
from simscope_server.ledger.actions import add_lines
from simscope_server.ledger.ledger import notified
from simscope_server.ledger.logbook import LogComplete, LogGap
from simscope_server.ledger.rules import DONE
from simscope_server.messages.decoding import fitting
from simscope_server.messages.protocol import LogLines, Refused, Row, encode_json
from simscope_server.messages.times import utc
from simscope_server.reading import queries, shapes
from simscope_server.reading.feed import HEARTBEAT_S, Subject


async def job_logs(context: Context, request: web.Request) -> web.StreamResponse:
    """A page of a job's log; with wait=SECONDS it blocks at the end of a running job's log, and as an event stream
    it follows until the log is complete."""
    row = await job_row(context, request)
    offset = log_offset(request)
    limit = queries.whole_number("limit", request.query.get("limit") or str(LINES_DEFAULT), 1, LINES_MOST)
    if "text/event-stream" in request.headers.get("Accept", "") and request.method != "HEAD":
        return await _follow_log(context, request, row, offset)
    wait = wait_seconds(request)
    if not wait:
        return json_response(await _log_page(context, row, offset, limit))
    end = time.monotonic() + wait
    async with context.feed.listening():
        while True:
            with context.ledger.topics.subscribe(*_topics_of_log(row)) as news:
                told = await _log_page(context, await job_row(context, request), offset, limit)
                left = end - time.monotonic()
                if (
                    told["lines"]
                    or told["complete"]
                    or left <= 0
                    or context.feed.closed
                    or not await notified(news, left)
                ):
                    return json_response(told)


async def append_logs(context: Context, request: web.Request) -> web.Response:
    """Add lines to a running job's log. A given offset makes it harmless to send the same again, even when the job has
    its verdict. U+0000 becomes U+FFFD: a simulator's output is kept, whatever it is."""
    row = await job_row(context, request)
    said = await _said_lines(request)
    begin, lines = said.get("offset"), [line.replace("\0", "\ufffd") for line in said["lines"]]
    complete = None
    try:
        await context.ledger.change(add_lines, row["id"], begin, lines)
    except LogGap as gap:
        raise Problem(409, "log-gap", str(gap), path="$.offset") from None
    except LogComplete as refusal:
        complete = str(refusal)
    first, following, _ = await context.readers.read_log(row["id"], 0, 1)
    if complete and (begin is None or begin + len(lines) > following):
        raise Problem(409, "log-complete", complete)
    return json_response({"first_offset": first, "next_offset": following, "complete": complete is not None})


def log_offset(request: web.Request) -> int:
    """The offset from which a log is wanted: Last-Event-ID of a stream that is resumed, else offset=N, else 0."""
    resumed = request.headers.get("Last-Event-ID", "")
    if resumed.isascii() and resumed.isdigit() and len(resumed) < 16:
        return int(resumed) + 1
    said = request.query.get("offset") or "0"
    if not (said.isascii() and said.isdigit() and len(said) < 16):
        raise Problem(
            422,
            "log-offset-out-of-range",
            f"offset={said} is not accepted; offset must be the number of a line, 0 or more",
            path="offset",
        )
    return int(said)


async def _said_lines(request: web.Request) -> LogLines:
    """The lines in the body of a request. Raises Problem 400 for what is not JSON, 422 for what is not lines."""
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


async def _log_page(context: Context, row: Row, offset: int, limit: int) -> shapes.LogPage:
    first, following, lines = await context.readers.read_log(row["id"], offset, limit)
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


async def _follow_log(context: Context, request: web.Request, row: Row, offset: int) -> web.StreamResponse:
    """Lines as they come (SSE), until the log is complete."""
    async with event_stream(context, request) as response:
        is_complete, quiet_since = False, time.monotonic()
        while not is_complete and not context.feed.closed:
            with context.ledger.topics.subscribe(*_topics_of_log(row)) as news:
                told = await _log_page(context, await job_row(context, request), offset, LINES_MOST)
                if not response.prepared:
                    await response.prepare(request)
                frames, offset, is_complete = _log_frames(told), told["next_offset"], told["complete"]
                if not frames and time.monotonic() - quiet_since >= HEARTBEAT_S:
                    frames = b": alive\n\n"
                if frames:
                    await response.write(frames)
                    quiet_since = time.monotonic()
                if not told["lines"] and not is_complete:
                    await notified(news, quiet_since + HEARTBEAT_S - time.monotonic())
    return response


def _log_frames(told: shapes.LogPage) -> bytes:
    """A page of a log as it is streamed."""
    frames = [b"id: %d\ndata: %b\n\n" % (line["offset"], encode_json(line)) for line in told["lines"]]
    if told["complete"]:
        frames.append(b"event: complete\ndata: %b\n\n" % encode_json({"next_offset": told["next_offset"]}))
    return b"".join(frames)


def _topics_of_log(row: Row) -> tuple[Hashable, ...]:
    """What a job's log may go on or end with: its lines, and what happens to the job."""
    return row["id"], Subject(row["regression_id"], row["id"])
