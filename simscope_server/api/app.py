"""The web application: addresses -> handlers, errors -> problems.

A handler is a public coroutine function (context, request) of one of the rooms below; the table of routes names it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from simscope_server.api import actions, events, files, logs, objects, page, pictures, publish, service
from simscope_server.api.access import admit
from simscope_server.api.context import Context
from simscope_server.api.parameters import check_text
from simscope_server.api.problems import Problem, problem_of
from simscope_server.api.routes import ROUTES, Route
from simscope_server.messages.protocol import API

CONTEXT = web.AppKey("context", Context)

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Handler = Callable[[Context, web.Request], Awaitable[web.StreamResponse]]

ROOMS = (publish, objects, actions, logs, events, files, pictures, service, page)

HANDLERS: dict[str, Handler] = {
    name: function
    for room in ROOMS
    for name, function in vars(room).items()
    if inspect.iscoroutinefunction(function) and function.__module__ == room.__name__ and not name.startswith("_")
}

# The addresses beside the API: for people, their browsers and their monitoring.
PLACES = {
    "/healthz": "health",
    "/metrics": "metrics",
    "/badge/{series:.+}.svg": "badge",
    "/static/{name}": "static",
    "/": "page",
    "/r/{name:.+}": "page",
    "/j/{id}": "page",
}


def make_app(context: Context) -> web.Application:
    """The web application. Streams end when it shuts down."""
    app = web.Application(middlewares=[problems], client_max_size=context.config.body_mib << 20)
    app[CONTEXT] = context
    for route in ROUTES:
        answer = knowing(route, functools.partial(HANDLERS[route.handler], context))
        app.router.add_route(route.method, API + route.path, answer)
        if route.method == "GET" and route.answer != "EventStream":
            app.router.add_route("HEAD", API + route.path, answer)
    for path, name in PLACES.items():
        app.router.add_get(path, functools.partial(HANDLERS[name], context))

    async def end_streams(_: web.Application) -> None:
        context.feed.close()

    app.on_shutdown.append(end_streams)
    return app


@web.middleware
async def problems(request: web.Request, handler: Answer) -> web.StreamResponse:
    """Check who asks, then answer; every error becomes problem+json, and our own mistakes a traceback in the log."""
    context = request.config_dict[CONTEXT]
    try:
        admit(context, request)
        check_text(request)
        return await handler(request)
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:
        if isinstance(error, web.HTTPException) and error.status < 400:
            raise
        instead = page.nothing_here(context, request) if isinstance(error, web.HTTPNotFound) else None
        return instead or problem_of(request, error).response()


def knowing(route: Route, answer: Answer) -> Answer:
    """A handler that refuses parameters which it does not know: a misspelt filter would let everything through."""
    known = [said["name"] for said in route.parameters if said["in"] == "query"]

    async def handle(request: web.Request) -> web.StreamResponse:
        for name in request.query:
            if name not in known:
                detail = f"there is no parameter {name!r} here; accepted: {', '.join(known) or 'none'}"
                raise Problem(400, "bad-query", detail, path=name)
        return await answer(request)

    return handle


def is_our_mistake(record: logging.LogRecord) -> bool:
    """A filter of what aiohttp logs: a request that is not HTTP is its sender's mistake, who gets 400 for it."""
    error: Any = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)
