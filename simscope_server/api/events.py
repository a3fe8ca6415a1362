"""Events over HTTP: pages of the feed, long polls, and streams (SSE)."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from simscope_server.api.context import Context
from simscope_server.api.lists import link_to
from simscope_server.api.parameters import job_number, numbered_page, wait_seconds
from simscope_server.api.problems import Problem
from simscope_server.api.responses import json_response
from simscope_server.api.rows import regression_row
from simscope_server.api.streams import event_stream
from simscope_server.ledger.ledger import notified
from simscope_server.messages.protocol import EVENT_TYPES, FAMILIES, LIMIT_DEFAULT, encode_json, types_named
from simscope_server.reading import answers, queries, shapes
from simscope_server.reading.feed import BEHIND_MOST, EVENTS, EVERYTHING, HEARTBEAT_S, Wanted


async def events(context: Context, request: web.Request) -> web.Response:
    """Events after a cursor, oldest first; with wait=SECONDS it blocks while there is none."""
    wanted = await _wanted(context, request)
    end = time.monotonic() + wait_seconds(request)
    after, limit = numbered_page(request, LIMIT_DEFAULT)
    told = await _events_after(context, request, wanted, after, limit)
    if not told["items"] and end > time.monotonic():
        async with context.feed.listening():
            in_time = True
            while in_time and not told["items"]:
                in_time = await context.feed.brings(wanted, told["next"], end - time.monotonic())
                told = await _events_after(context, request, wanted, told["next"], limit)
    more = told["next"] if told["next"] < told["newest"] else None
    return json_response(told, headers=link_to(context, request, more))


async def stream(context: Context, request: web.Request) -> web.StreamResponse:
    """Events as they come (SSE). Resumes behind Last-Event-ID, or after=SEQ; without either it begins now."""
    wanted = await _wanted(context, request)
    tick = queries.whole_number("coalesce", request.query.get("coalesce") or "0", 0, 10_000) / 1000
    cursor = _cursor(context, request)
    epoch = request.query.get("epoch")
    async with event_stream(context, request) as response:
        if epoch and epoch != context.ledger.epoch:
            cursor = context.feed.last + 1
        elif cursor == 0:
            cursor = context.feed.oldest
        await response.prepare(request)
        await response.write(b"retry: 3000\n: epoch %b\n\n" % context.ledger.epoch.encode())
        await _follow(context, response, wanted, context.feed.last if cursor is None else cursor, tick)
    return response


async def _events_after(
    context: Context, request: web.Request, wanted: Wanted, after: int, limit: int
) -> shapes.EventList:
    (row,) = await context.readers.read("SELECT seq, events_from_seq FROM daemon")
    newest, oldest = row["seq"], row["events_from_seq"]
    epoch = request.query.get("epoch")
    if (after and not oldest <= after <= newest) or (epoch and epoch != context.ledger.epoch):
        raise Problem(
            410,
            "cursor-expired",
            f"the cursor {after} is not among the events kept; read the state anew and go on from `newest`",
            oldest=oldest,
            newest=newest,
            epoch=context.ledger.epoch,
        )
    test, begin = wanted.condition(), max(after, oldest)
    rows = await context.readers.read(
        f"{EVENTS} WHERE e.seq > ? AND e.seq <= ? AND {test.sql} ORDER BY e.seq LIMIT ?",
        (begin, newest, *test.parameters, limit + 1),
        search=wanted != EVERYTHING and newest - begin > BEHIND_MOST,
    )
    return {
        "items": [answers.event_object(event) for event in rows[:limit]],
        "next": rows[limit - 1]["seq"] if len(rows) > limit else newest,
        "oldest": oldest,
        "newest": newest,
        "epoch": context.ledger.epoch,
    }


async def _wanted(context: Context, request: web.Request) -> Wanted:
    types: tuple[str, ...] | None = None
    if request.query.get("types") not in (None, "", "*"):
        named = request.query["types"].split(",")
        types = tuple(kind for name in named for kind in types_named(name))
        for kind in types:
            if kind not in EVENT_TYPES and kind not in FAMILIES:
                raise queries.BadQuery("types", kind, f"one or more of {', '.join((*FAMILIES, *EVENT_TYPES))}")
    regression = job = None
    if request.query.get("regression"):
        regression = (await regression_row(context, request, request.query["regression"]))["id"]
    if request.query.get("job"):
        job = job_number(request.query["job"])
    return Wanted(types, regression, job)


def _cursor(context: Context, request: web.Request) -> int | None:
    """Where a stream is to go on; None for now. A browser that resumes with what is not a number is told to start
    anew: it would never come back from an error."""
    resumed = request.headers.get("Last-Event-ID")
    if resumed:
        return int(resumed) if resumed.isascii() and resumed.isdigit() and len(resumed) < 19 else -1
    after = request.query.get("after")
    return queries.whole_number("after", after) if after else None


async def _follow(context: Context, response: web.StreamResponse, wanted: Wanted, cursor: int, tick: float) -> None:
    quiet_since = time.monotonic()
    while not context.feed.closed:
        news = context.feed.news.next()
        last = context.feed.last
        text = context.feed.text(cursor, wanted, coalesced=tick > 0)
        cursor = last
        if text is None:
            reset = encode_json({"reason": "cursor-expired", "epoch": context.ledger.epoch, "newest": last})
            text = b"id: %d\nevent: reset\ndata: %b\n\n" % (last, reset)
        if not text and time.monotonic() - quiet_since >= HEARTBEAT_S:
            text = b"id: %d\n: alive\n\n" % cursor
        if text:
            await response.write(text)
            quiet_since = time.monotonic()
        if await notified(news, quiet_since + HEARTBEAT_S - time.monotonic()) and tick:
            await asyncio.sleep(tick)
