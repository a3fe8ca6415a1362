"""How errors look over HTTP: application/problem+json (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from aiohttp import web

from simscope_server.api.responses import json_response
from simscope_server.ledger.actions import Gone
from simscope_server.messages.protocol import StorageError, log
from simscope_server.reading import queries
from simscope_server.reading.readers import ReadTooLong

PROBLEM_TYPE = "application/problem+json"


class Problem(Exception):
    """A request that cannot be answered as wished: becomes application/problem+json (RFC 9457)."""

    def __init__(self, status: int, reason: str, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.headers: dict[str, str] = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        title = HTTPStatus(status).phrase
        detail = detail.encode("utf-8", "backslashreplace").decode()  # what a peer sent need not be text
        said = {"type": f"urn:simscoped:{reason}", "title": title, "status": status, "detail": detail, "reason": reason}
        self.body: dict[str, Any] = {**members, **said}

    def response(self) -> web.Response:
        return json_response(self.body, self.status, PROBLEM_TYPE, self.headers)


def problem_of(request: web.Request, error: Exception) -> Problem:
    """What an error is told as; our own mistakes leave a traceback in the log."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, queries.BadQuery):
        return Problem(400, "bad-query", str(error), path=error.name)
    if isinstance(error, Gone):
        return Problem(410, "pruned", str(error))
    if isinstance(error, ReadTooLong):
        detail = f"{error}; ask for less: one regression, a narrower filter, a shorter time"
        return Problem(422 if request.query else 503, "too-expensive", detail)
    if isinstance(error, web.RequestPayloadError):
        return Problem(400, "unreadable", f"the body is not what its headers say: {error}")
    if isinstance(error, StorageError):
        return Problem(507, "storage", f"the database cannot be used just now: {error}")
    if isinstance(error, web.HTTPException):
        reason = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}.get(error.status, "http")
        refusal = Problem(error.status, reason, f"{request.method} {request.path}: {error.reason}")
        refusal.headers |= {name: value for name, value in error.headers.items() if name == "Allow"}
        return refusal
    log.error("http: %s %s", request.method, request.path, exc_info=error)
    return Problem(500, "internal-error", "our own mistake; the traceback is in the daemon's log")
