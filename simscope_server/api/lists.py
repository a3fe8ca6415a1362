"""Pages of lists: a Listing and a request come in, a page with the way to the next one goes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from simscope_server.api.context import Context
from simscope_server.api.parameters import is_search
from simscope_server.api.responses import json_response
from simscope_server.messages.protocol import Row
from simscope_server.reading import queries


async def list_of(
    context: Context,
    request: web.Request,
    listing: queries.Listing,
    show: Callable[[Row], Any],
    *fixed: queries.Condition,
    limit: int | None = None,
) -> web.Response:
    """A page of a list whose rows are shown one by one."""
    rows, more = await page_of(context, request, listing, *fixed, limit=limit)
    return listed(context, request, [show(row) for row in rows], more)


async def page_of(
    context: Context,
    request: web.Request,
    listing: queries.Listing,
    *fixed: queries.Condition,
    limit: int | None = None,
) -> tuple[list[Row], str | None]:
    """The rows of a page of a list, and the cursor of the next one. A `limit` given here is the only parameter."""
    now, _ = context.ledger.clock.moment()
    found = queries.page(listing, request.query if limit is None else {"limit": str(limit)}, *fixed, now=now)
    rows = await context.readers.read(found.sql, found.parameters, search=is_search(request, listing, fixed))
    more = queries.cursor_behind(found, rows[found.limit - 1]) if len(rows) > found.limit else None
    return rows[: found.limit], more


def listed(context: Context, request: web.Request, items: Sequence[Any], more: str | int | None) -> web.Response:
    """A page of a list, with a link to the next one."""
    return json_response({"items": items, "next": more}, headers=link_to(context, request, more))


def link_to(context: Context, request: web.Request, more: str | int | None) -> dict[str, str]:
    """The header that leads to the next page, if there is one."""
    return {"Link": f'<{context.base}{request.rel_url.update_query(after=more)}>; rel="next"'} if more else {}
