"""Values as JSON responses, and what a reader has already: one way to send an object, one way to say 304."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from simscope_server.messages.protocol import encode_json

JSON_TYPE = "application/json"


def json_response(
    value: Any, status: int = 200, kind: str = JSON_TYPE, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.Response(body=encode_json(value), status=status, content_type=kind, headers=headers)


def not_modified(request: web.Request, headers: Mapping[str, str]) -> web.Response | None:
    """304 with these headers if the reader has what the ETag among them stands for, else None: If-None-Match names it
    among others, weak or not, or is "*"."""
    known = [part.strip().removeprefix("W/") for part in request.headers.get("If-None-Match", "").split(",")]
    has_it = headers["ETag"] in known or "*" in known
    return web.Response(status=304, headers=headers) if has_it else None
