"""What the parameters and bodies of requests mean. Raises Problem or BadQuery for what cannot be used."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Collection, Iterator
from typing import Annotated, Any, TypedDict

import msgspec
from aiohttp import web
from msgspec import Meta

from simscope_server.api.problems import Problem
from simscope_server.messages.decoding import fitting
from simscope_server.messages.protocol import LIMIT_MOST, LONGEST_MS, WAIT_MOST_S, Refused, Time
from simscope_server.messages.times import milliseconds, without_leap_second
from simscope_server.reading import filters, patterns, queries


def peer_of(request: web.Request) -> str:
    """Who asks, as receipts and histories tell it."""
    return request.remote or "unknown"


def job_number(text: str) -> int:
    """The id of a job from an address. Raises Problem 404 for anything that is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Problem(404, "no-such-job", f"there is no job {text!r}: the id of a job must be a whole number")
    return int(text)


def wait_seconds(request: web.Request) -> float:
    """How long a reader wants to wait: wait=SECONDS, at most 60, or Prefer: wait=SECONDS (RFC 7240); not for HEAD."""
    if request.method == "HEAD":
        return 0.0
    said = request.query.get("wait")
    if said is None:
        preferred = re.search(r"\bwait=(\d{1,9})\b", request.headers.get("Prefer", ""))
        said = preferred[1] if preferred else "0"
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", said):
        raise queries.BadQuery("wait", said, f"a number of seconds; more than {WAIT_MOST_S} count as {WAIT_MOST_S}")
    return min(float(said), WAIT_MOST_S)


def numbered_page(request: web.Request, usual: int) -> tuple[int, int]:
    """after=NUMBER and limit=N of a list whose cursor is a number. Raises BadQuery."""
    after = queries.whole_number("after", request.query.get("after") or "0")
    return after, queries.whole_number("limit", request.query.get("limit") or str(usual), 1, LIMIT_MOST)


async def said_reason(request: web.Request) -> str:
    """The reason in the body {"reason": TEXT} of a request; the body may be missing."""
    raw = await request.read()
    if not raw.strip():
        return ""
    try:
        reason = msgspec.json.decode(raw, type=dict[str, Any]).get("reason", "")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "bad-json", f'the body is not an object such as {{"reason": "…"}}: {error}') from None
    if not isinstance(reason, str):
        raise Problem(400, "wrong-type", "reason must be text", path="$.reason")
    if "\0" in reason:
        raise Problem(400, "bad-text", "reason must not contain U+0000", path="$.reason")
    return reason


def moment_said(request: web.Request, name: str, default: int) -> int:
    """A parameter that is a time, in ms since 1970. Raises BadQuery."""
    said = request.query.get(name)
    if not said:
        return default
    try:
        return milliseconds(msgspec.convert(without_leap_second(said), Time))
    except msgspec.ValidationError:
        raise queries.BadQuery(name, said, "a time with a zone, such as 2030-01-01T00:00:00Z") from None


def job_filter(request: web.Request) -> Iterator[queries.Condition]:
    """The condition in filter=…, if there is one. Raises Problem 422 that names the place of what is wrong."""
    said = request.query.get("filter")
    if said and said.strip():
        try:
            yield queries.Condition(*filters.condition(said, patterns.compiled))
        except filters.BadFilter as error:
            detail = f"{error} (at character {error.position + 1} of {said!r})"
            raise Problem(422, "bad-filter", detail, path="filter", position=error.position) from None


def is_search(request: web.Request, listing: queries.Listing, fixed: Collection[queries.Condition]) -> bool:
    """May it take long to find a page of a list? If texts are looked through, or all jobs, be it of one regression."""
    said = request.query.keys() - {"limit", "after"}
    return listing is queries.HOSTS or bool(said & {"filter", "q"} if fixed else said)


class Extension(TypedDict, total=False):
    """The body of a request that moves a time limit: by so many milliseconds, or until a moment."""

    by_ms: Annotated[int, Meta(gt=0, le=LONGEST_MS)] | None
    until: Time | None


async def said_extension(request: web.Request) -> Extension:
    """What is asked for. Raises Problem 400 for what is not JSON, 422 for what is not an extension."""
    form = 'the body is {"by_ms": 600000} or {"until": "2030-01-01T00:00:00Z"}'
    try:
        text = (await request.read()).decode()
        said = msgspec.json.decode(without_leap_second(text))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "bad-json", f"{form}: {error}") from None
    try:
        extension: Extension = fitting(said, Extension, "$")
    except Refused as refusal:
        raise Problem(422, "bad-extension", f"{refusal.detail}; {form}", path=refusal.path) from None
    given = [name for name, value in extension.items() if value is not None]
    if len(given) != 1 or len(said.keys() - {"by_ms", "until"}):
        raise Problem(422, "bad-extension", f"either by_ms or until is needed, and nothing else; {form}", path="$")
    return extension


def check_text(request: web.Request) -> None:
    """Raises Problem 400 for an address that is not UTF-8: what cannot be read in it must not be taken for U+FFFD."""
    try:
        urllib.parse.unquote_to_bytes(request.raw_path.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError as error:
        raise Problem(400, "bad-text", f"the address is not UTF-8: {error.reason}") from None


def idempotency_key(request: web.Request) -> str:
    """The Idempotency-Key of a request; empty if there is none. Raises Problem for one that cannot be kept."""
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > 255 or not key.isprintable():
        raise Problem(422, "bad-idempotency-key", "an Idempotency-Key must be 1 to 255 printable characters")
    return key
