"""The web application: addresses -> handlers, errors -> problems."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from simscope_server.api import events, files, logs, openapi, pictures
from simscope_server.api.context import Api
from simscope_server.api.parameters import check_text
from simscope_server.api.pictures import show_badge
from simscope_server.api.problems import Problem, problem_of
from simscope_server.api.routing import HANDLERS
from simscope_server.messages.protocol import API

API_KEY = web.AppKey("api", Api)


@web.middleware
async def problems(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """Check who asks, then answer; every error becomes problem+json, and our own mistakes a traceback in the log."""
    try:
        request.config_dict[API_KEY].admit(request)
        check_text(request)
        return await handler(request)
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:
        if isinstance(error, web.HTTPException) and error.status < 400:
            raise
        page = request.config_dict[API_KEY].nothing_here(request) if isinstance(error, web.HTTPNotFound) else None
        return page or problem_of(request, error).response()


def is_our_mistake(record: logging.LogRecord) -> bool:
    """A filter of what aiohttp logs: a request that is not HTTP is its sender's mistake, who gets 400 for it."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


def knowing(route: openapi.Route, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """A handler that refuses parameters which it does not know: a misspelt filter would let everything through."""
    known = [said["name"] for said in route.parameters if said["in"] == "query"]

    async def handle(request: web.Request) -> web.StreamResponse:
        for name in request.query:
            if name not in known:
                detail = f"there is no parameter {name!r} here; accepted: {', '.join(known) or 'none'}"
                raise Problem(400, "bad-query", detail, path=name)
        return await answer(request)

    return handle


ROOMS = (events, files, logs, pictures)  # whose handlers are entered when they are imported


def make_app(api: Api) -> web.Application:
    """The web application. Streams end when it shuts down."""
    app = web.Application(middlewares=[problems], client_max_size=api.config.body_mib << 20)
    app[API_KEY] = api
    for route in openapi.ROUTES:
        answer = HANDLERS.get(route.handler)
        bound = knowing(route, functools.partial(answer, api) if answer else getattr(api, route.handler))
        app.router.add_route(route.method, API + route.path, bound)
        if route.method == "GET" and route.answer != "EventStream":
            app.router.add_route("HEAD", API + route.path, bound)
    app.router.add_get("/healthz", api.health)
    app.router.add_get("/metrics", api.metrics)
    app.router.add_get("/badge/{series:.+}.svg", functools.partial(show_badge, api))
    app.router.add_get("/static/{name}", api.static)
    for path in ("/", "/r/{name:.+}", "/j/{id}"):
        app.router.add_get(path, api.page)

    async def end_streams(_: web.Application) -> None:
        api.feed.close()

    app.on_shutdown.append(end_streams)
    return app
