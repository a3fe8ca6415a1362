"""Regressions, jobs, their histories and signatures, and receipts: the lists, and one of each."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from simscope_server.api.context import Context
from simscope_server.api.lists import list_of, listed, page_of
from simscope_server.api.parameters import job_filter, numbered_page, wait_seconds
from simscope_server.api.problems import Problem
from simscope_server.api.responses import json_response, not_modified
from simscope_server.api.rows import job_row, job_shown, regression_now, regression_row
from simscope_server.ledger import signatures
from simscope_server.ledger.ledger import notified
from simscope_server.messages.protocol import LIMIT_MOST, LIVE, Row
from simscope_server.reading import answers, queries
from simscope_server.reading.feed import EVENTS, Subject


async def regressions(context: Context, request: web.Request) -> web.Response:
    """Regressions; tanked ones only where they are asked for."""
    wants_tanked = request.query.get("tanked") == "1" or "tanked" in request.query.get("status", "").split(",")
    shown = [] if wants_tanked else [queries.Condition("r.tanked_at IS NULL")]
    rows, more = await page_of(context, request, queries.REGRESSIONS, *shown)
    await context.slow.count(rows, context.ledger.clock)
    seen = context.viewpoint()
    return listed(context, request, [answers.regression_object(row, seen) for row in rows], more)


async def regression(context: Context, request: web.Request) -> web.Response:
    """One regression. With wait=SECONDS it blocks until it is over (until=done) or has another version."""
    row = await regression_row(context, request)
    own = request.query.get("until") == "done" and not request.query.get("version")
    look = functools.partial(regression_now, context, row["id"])
    row = await _awaited(context, request, row, Subject(row["id"], own=own), look, _regression_is_done)
    await context.slow.count([row], context.ledger.clock)
    headers = context.tagged(row["version"])
    return not_modified(request, headers) or json_response(
        answers.regression_object(row, context.viewpoint()), headers=headers
    )


async def regression_jobs(context: Context, request: web.Request) -> web.Response:
    """Its jobs."""
    row = await regression_row(context, request)
    return await _job_list(context, request, queries.Condition("j.regression_id = ?", (row["id"],)))


async def regression_signatures(context: Context, request: web.Request) -> web.Response:
    """Its fail buckets."""
    row = await regression_row(context, request)
    here = queries.Condition("g.regression_id = ?", (row["id"],))
    explain, overflow = signatures.explain, signatures.OVERFLOW_TITLE
    show = functools.partial(answers.signature_object, explain=explain, overflow=overflow)
    return await list_of(context, request, queries.SIGNATURES, show, here)


async def regression_history(context: Context, request: web.Request) -> web.Response:
    """What happened to it, but not to its jobs."""
    row = await regression_row(context, request)
    own = queries.Condition("e.regression_id = ? AND e.job_id IS NULL", (row["id"],))
    return await _history(context, request, own)


async def jobs(context: Context, request: web.Request) -> web.Response:
    """Jobs of all regressions, or of the one that is named."""
    fixed = []
    if request.query.get("regression"):
        row = await regression_row(context, request, request.query["regression"])
        fixed.append(queries.Condition("j.regression_id = ?", (row["id"],)))
    elif request.query.get("result") == "live":
        fixed.append(queries.WITH_LIVE_JOBS)
    return await _job_list(context, request, *fixed)


async def job(context: Context, request: web.Request) -> web.Response:
    """One job. With wait=SECONDS it blocks until it is done (until=done) or has another version (version=N)."""
    row = await _awaited_job(context, request)
    headers = context.tagged(row["version"])
    return not_modified(request, headers) or json_response(await job_shown(context, row), headers=headers)


async def job_status(context: Context, request: web.Request) -> web.Response:
    """Its result, small; it blocks as job() does."""
    row = await _awaited_job(context, request)
    headers = context.tagged(row["version"])
    return not_modified(request, headers) or json_response(answers.job_status(row), headers=headers)


async def job_history(context: Context, request: web.Request) -> web.Response:
    """What happened to it."""
    row = await job_row(context, request)
    return await _history(context, request, queries.Condition("e.job_id = ?", (row["id"],)))


async def receipts(context: Context, request: web.Request) -> web.Response:
    """What became of deliveries."""
    return await list_of(context, request, queries.RECEIPTS, answers.stored_receipt)


async def receipt(context: Context, request: web.Request) -> web.Response:
    """One receipt."""
    number = queries.whole_number("id", request.match_info["id"])
    rows = await context.readers.read("SELECT * FROM receipt WHERE id = ?", (number,))
    if not rows:
        days = f"{context.config.keep_receipts_days:g}"
        raise Problem(404, "no-such-receipt", f"there is no receipt {number}; receipts are kept for {days} days")
    return json_response(answers.stored_receipt(rows[0]))


async def _job_list(context: Context, request: web.Request, *fixed: queries.Condition) -> web.Response:
    rows, more = await page_of(context, request, queries.JOBS, *fixed, *job_filter(request))
    usual, seen = await context.usual.of_live(rows), context.viewpoint()
    items = [answers.job_object(row, seen, usual.get(row["test_id"])) for row in rows]
    return listed(context, request, items, more)


async def _history(context: Context, request: web.Request, whose: queries.Condition) -> web.Response:
    """What happened to a job or a regression, oldest first; the cursor is the `seq` of the last entry."""
    after, limit = numbered_page(request, LIMIT_MOST)
    sql = f"{EVENTS} WHERE {whose.sql} AND e.seq > ? ORDER BY e.seq LIMIT ?"
    rows = await context.readers.read(sql, (*whose.parameters, after, limit + 1))
    items = [answers.history_object(event) for event in rows[:limit]]
    return listed(context, request, items, items[-1]["seq"] if len(rows) > limit else None)


async def _awaited_job(context: Context, request: web.Request) -> Row:
    row = await job_row(context, request)
    subject = Subject(row["regression_id"], row["id"])
    look = functools.partial(job_row, context, request)
    return await _awaited(context, request, row, subject, look, _job_is_done)


def _job_is_done(row: Row) -> bool:
    return bool(row["result"] != LIVE)


def _regression_is_done(row: Row) -> bool:
    return bool(row["status"] != "live")


async def _awaited(
    context: Context,
    request: web.Request,
    row: Row,
    subject: Subject,
    look: Callable[[], Awaitable[Row]],
    is_done: Callable[[Row], bool],
) -> Row:
    """The row as it is once what the request waits for has come, or its time is over: until=done, version=N."""
    wait = wait_seconds(request)
    until, version = request.query.get("until"), request.query.get("version")
    if until not in (None, "", "done"):
        raise queries.BadQuery("until", until, "done")
    known = queries.whole_number("version", version) if version else None
    if not wait or (known is None and not until):
        return row
    end = time.monotonic() + wait
    async with context.feed.listening():
        while True:
            with context.ledger.topics.subscribe(subject) as news:
                row = await look()
                reached = is_done(row) or (not until and row["version"] != known)
                left = end - time.monotonic()
                if reached or left <= 0 or context.feed.closed or not await notified(news, left):
                    return row
