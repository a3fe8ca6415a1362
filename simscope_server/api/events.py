"""Events over HTTP: pages of the feed, long polls, and streams (SSE)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from simscope_server.api.context import Api
from simscope_server.api.parameters import job_number, numbered_page, wait_seconds
from simscope_server.api.problems import Problem, json_response, problem_of
from simscope_server.api.routing import handler
from simscope_server.ledger.ledger import heard
from simscope_server.messages.protocol import EVENT_TYPES, FAMILIES, LIMIT_DEFAULT, encode_json, types_named
from simscope_server.reading import answers, queries
from simscope_server.reading.feed import BEHIND_MOST, EVENTS, EVERYTHING, HEARTBEAT_S, Wanted

STREAMS_MOST = 2000


STREAM_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@contextlib.asynccontextmanager
async def event_stream(api: Api, request: web.Request) -> AsyncIterator[web.StreamResponse]:
    """A stream (SSE) that is yet to begin. While this is entered it counts among the open ones, and the feed is
    followed. What goes wrong once it has begun is told as its last event; that its reader leaves is nothing wrong."""
    if api.feed.streams >= STREAMS_MOST:
        raise Problem(503, "too-many-streams", f"{STREAMS_MOST} streams are open; try again later")
    response = web.StreamResponse(headers=STREAM_HEADERS)
    api.feed.streams += 1
    try:
        async with api.feed.listening():
            yield response
    except ConnectionError:
        pass
    except Exception as error:
        if not response.prepared:
            raise
        problem = encode_json(problem_of(request, error).body)
        with contextlib.suppress(ConnectionError):
            await response.write(b"event: problem\ndata: %b\n\n" % problem)
    finally:
        api.feed.streams -= 1


async def _wanted(api: Api, request: web.Request) -> Wanted:
    types: tuple[str, ...] | None = None
    if request.query.get("types") not in (None, "", "*"):
        named = request.query["types"].split(",")
        types = tuple(kind for name in named for kind in types_named(name))
        for kind in types:
            if kind not in EVENT_TYPES and kind not in FAMILIES:
                raise queries.BadQuery("types", kind, f"one or more of {', '.join((*FAMILIES, *EVENT_TYPES))}")
    regression = job = None
    if request.query.get("regression"):
        regression = (await api.regression_row(request, request.query["regression"]))["id"]
    if request.query.get("job"):
        job = job_number(request.query["job"])
    return Wanted(types, regression, job)


@handler
async def events(api: Api, request: web.Request) -> web.Response:
    """Events after a cursor, oldest first; with wait=SECONDS it blocks while there is none."""
    wanted = await _wanted(api, request)
    end = time.monotonic() + wait_seconds(request)
    after, limit = numbered_page(request, LIMIT_DEFAULT)
    told = await _events_after(api, request, wanted, after, limit)
    if not told["items"] and end > time.monotonic():
        async with api.feed.listening():
            in_time = True
            while in_time and not told["items"]:
                in_time = await api.feed.brings(wanted, told["next"], end - time.monotonic())
                told = await _events_after(api, request, wanted, told["next"], limit)
    more = told["next"] if told["next"] < told["newest"] else None
    return json_response(told, headers=api.link_to(request, more))


async def _events_after(api: Api, request: web.Request, wanted: Wanted, after: int, limit: int) -> dict[str, Any]:
    (row,) = await api.store.read("SELECT seq, events_from_seq FROM daemon")
    newest, oldest = row["seq"], row["events_from_seq"]
    epoch = request.query.get("epoch")
    if (after and not oldest <= after <= newest) or (epoch and epoch != api.store.epoch):
        raise Problem(
            410,
            "cursor-expired",
            f"the cursor {after} is not among the events kept; read the state anew and go on from `newest`",
            oldest=oldest,
            newest=newest,
            epoch=api.store.epoch,
        )
    test, begin = wanted.condition(), max(after, oldest)
    rows = await api.store.read(
        f"{EVENTS} WHERE e.seq > ? AND e.seq <= ? AND {test.sql} ORDER BY e.seq LIMIT ?",
        (begin, newest, *test.parameters, limit + 1),
        search=wanted != EVERYTHING and newest - begin > BEHIND_MOST,
    )
    return {
        "items": [answers.event_object(event) for event in rows[:limit]],
        "next": rows[limit - 1]["seq"] if len(rows) > limit else newest,
        "oldest": oldest,
        "newest": newest,
        "epoch": api.store.epoch,
    }


@handler
async def stream(api: Api, request: web.Request) -> web.StreamResponse:
    """Events as they come (SSE). Resumes behind Last-Event-ID, or after=SEQ; without either it begins now."""
    wanted = await _wanted(api, request)
    tick = queries.whole_number("coalesce", request.query.get("coalesce") or "0", 0, 10_000) / 1000
    cursor = _cursor(api, request)
    epoch = request.query.get("epoch")
    async with event_stream(api, request) as response:
        if epoch and epoch != api.store.epoch:
            cursor = api.feed.last + 1
        elif cursor == 0:
            cursor = api.feed.oldest
        await response.prepare(request)
        await response.write(b"retry: 3000\n: epoch %b\n\n" % api.store.epoch.encode())
        await _follow(api, response, wanted, api.feed.last if cursor is None else cursor, tick)
    return response


def _cursor(api: Api, request: web.Request) -> int | None:
    """Where a stream is to go on; None for now. A browser that resumes with what is no number is told to start
    anew: it would never come back from an error."""
    resumed = request.headers.get("Last-Event-ID")
    if resumed:
        return int(resumed) if resumed.isascii() and resumed.isdigit() and len(resumed) < 19 else -1
    after = request.query.get("after")
    return queries.whole_number("after", after) if after else None


async def _follow(api: Api, response: web.StreamResponse, wanted: Wanted, cursor: int, tick: float) -> None:
    quiet_since = time.monotonic()
    while not api.feed.closed:
        rung = api.feed.news.listen()
        last = api.feed.last
        text = api.feed.text(cursor, wanted, coalesced=tick > 0)
        cursor = last
        if text is None:
            reset = encode_json({"reason": "cursor-expired", "epoch": api.store.epoch, "newest": last})
            text = b"id: %d\nevent: reset\ndata: %b\n\n" % (last, reset)
        if not text and time.monotonic() - quiet_since >= HEARTBEAT_S:
            text = b"id: %d\n: alive\n\n" % cursor
        if text:
            await response.write(text)
            quiet_since = time.monotonic()
        if await heard(rung, quiet_since + HEARTBEAT_S - time.monotonic()) and tick:
            await asyncio.sleep(tick)
