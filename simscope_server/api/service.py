"""The daemon itself: what it is, how it is, what it counts, and the description of its interface."""

from __future__ import annotations

import time

import prometheus_client
from aiohttp import web

from simscope_server.api import openapi
from simscope_server.api.context import Context
from simscope_server.api.responses import json_response
from simscope_server.messages.protocol import API
from simscope_server.program import __version__
from simscope_server.reading import answers


async def about(context: Context, request: web.Request) -> web.Response:
    """Version, epoch, what is switched on."""
    ledger = context.ledger
    told = answers.about_object(context.config, __version__, ledger.epoch, ledger.seq, ledger.clock.moment().now)
    return json_response(told)


async def document(context: Context, request: web.Request) -> web.Response:
    """The description of the interface (OpenAPI)."""
    return json_response(openapi.document(__version__, context.base + API))


async def health(context: Context, request: web.Request) -> web.Response:
    """200, or 503 with the reasons. A backlog in the spool is healthy."""
    reasons = [f"database: {context.ledger.trouble}"] if context.ledger.trouble else []
    reasons += [f"spool: {context.spool.trouble}"] if context.spool.trouble else []
    folder = context.spool.folder
    skipped = {path.encode("utf-8", "replace").decode(): why for path, why in folder.not_taken().items()}
    told = {
        "status": "failing" if reasons else "ok",
        "reasons": reasons,
        "version": __version__,
        "spool": {"files": folder.backlog, "skipped": skipped},
    }
    return json_response(told, 503 if reasons else 200)


async def metrics(context: Context, request: web.Request) -> web.Response:
    """What Prometheus reads. Labels are words from short lists, never names or ids."""
    (row,) = await context.readers.read(
        "SELECT coalesce(sum(ended IS NULL AND tanked_at IS NULL), 0) AS regressions, "
        "coalesce(sum(n_live), 0) AS jobs FROM regression"
    )
    registry = prometheus_client.CollectorRegistry()
    messages = prometheus_client.Counter("simscoped_messages", "Messages taken", ["outcome"], registry=registry)
    for outcome, count in context.intake.counts.items():
        messages.labels(outcome).inc(count)
    for name, (text, value) in _gauges(context, row["regressions"], row["jobs"]).items():
        prometheus_client.Gauge(name, text, registry=registry).set(value)
    body = prometheus_client.generate_latest(registry)
    return web.Response(body=body, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})


def _gauges(context: Context, regressions: int, jobs: int) -> dict[str, tuple[str, float]]:
    folder = context.spool.folder
    oldest = 0 if folder.oldest_ns is None else max(0.0, time.time() - folder.oldest_ns / 1e9)
    failing = bool(context.ledger.trouble or context.spool.trouble)
    return {
        "simscoped_up_seconds": ("Time since the start", time.monotonic() - context.started),
        "simscoped_regressions_live": ("Regressions that are live", regressions),
        "simscoped_jobs_live": ("Jobs that are live", jobs),
        "simscoped_spool_files": ("Files seen by the last scan of the spool", folder.backlog),
        "simscoped_spool_oldest_seconds": ("Age of the oldest of them", oldest),
        "simscoped_spool_skipped_files": ("Files that are not taken", len(folder.not_taken())),
        "simscoped_streams": ("Open streams of events and logs", context.feed.streams),
        "simscoped_event_seq": ("Number of the last change", context.ledger.seq),
        "simscoped_failing": ("1 while the database or the spool cannot be used", int(failing)),
    }
