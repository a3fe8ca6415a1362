"""Streams (SSE) of events and of logs: how one begins, is counted, and ends."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from simscope_server.api.context import Context
from simscope_server.api.problems import Problem, problem_of
from simscope_server.messages.protocol import encode_json

STREAMS_MOST = 2000


STREAM_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@contextlib.asynccontextmanager
async def event_stream(context: Context, request: web.Request) -> AsyncIterator[web.StreamResponse]:
    """A stream (SSE) that is yet to begin. While this is entered it counts among the open ones, and the feed is
    followed. What goes wrong once it has begun is told as its last event; that its reader leaves is nothing wrong."""
    feed = context.feed
    if feed.streams >= STREAMS_MOST:
        raise Problem(503, "too-many-streams", f"{STREAMS_MOST} streams are open; try again later")
    response = web.StreamResponse(headers=STREAM_HEADERS)
    feed.streams += 1
    try:
        async with feed.listening():
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
        feed.streams -= 1
