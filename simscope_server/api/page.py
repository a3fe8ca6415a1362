"""The page: its files, and itself at every address that a browser may be led to."""

from __future__ import annotations

from aiohttp import web

from simscope_server.api.context import Context
from simscope_server.api.problems import Problem
from simscope_server.api.responses import not_modified

# The page may load its own files and talk to its own daemon, nothing else; and nobody may frame it.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def page(context: Context, request: web.Request) -> web.Response:
    """The page itself."""
    return _asset(context, request, "index.html")


async def static(context: Context, request: web.Request) -> web.Response:
    """A file of the page."""
    return _asset(context, request, request.match_info["name"])


def nothing_here(context: Context, request: web.Request) -> web.Response | None:
    """The page for a browser that was led astray; it says so. None for others, and where programs ask."""
    if request.path.startswith("/api/") or "text/html" not in request.headers.get("Accept", ""):
        return None
    asset = context.assets["index.html"]
    return web.Response(body=asset.body, status=404, headers=PAGE_HEADERS | {"Content-Type": asset.kind})


def _asset(context: Context, request: web.Request, name: str) -> web.Response:
    asset = context.assets.get(name)
    if asset is None:
        raise Problem(404, "not-found", f"there is no file {name!r}")
    headers = PAGE_HEADERS | {"ETag": asset.tag}
    return not_modified(request, headers) or web.Response(
        body=asset.body, headers=headers | {"Content-Type": asset.kind}
    )
