"""Handlers by the names that the table of routes has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from simscope_server.api.context import Api

Handler = Callable[[Api, web.Request], Awaitable[web.StreamResponse]]


HANDLERS: dict[str, Handler] = {}  # by the names that openapi.ROUTES has; the others are methods of the Api


def handler(answer: Handler) -> Handler:
    """Enter a function as the handler of its name."""
    HANDLERS[answer.__name__] = answer
    return answer
