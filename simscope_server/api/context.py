"""The handlers of messages, lists, objects and actions, and what all handlers share."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import hmac
import time
import urllib.parse
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from typing import Any

import msgspec
import prometheus_client
from aiohttp import web

from simscope_server.api import openapi
from simscope_server.api.access import host_name, is_address
from simscope_server.api.parameters import (
    idempotency_key,
    is_search,
    job_filter,
    job_number,
    numbered_page,
    peer_of,
    said_extension,
    said_reason,
    wait_seconds,
)
from simscope_server.api.problems import JSON_TYPE, Problem, has_tag, json_response
from simscope_server.doors.intake import Intake
from simscope_server.doors.spool import Spool
from simscope_server.ledger import signatures
from simscope_server.ledger.actions import (
    Gone,
    KeyReused,
    by_hand,
    extend_job,
    once,
    tank_job,
    tank_regression,
    untank_regression,
)
from simscope_server.ledger.batch import Batch
from simscope_server.ledger.database import view_row
from simscope_server.ledger.deliveries import DECODED_FROM, decode_ahead
from simscope_server.ledger.effects import flush
from simscope_server.ledger.ledger import heard
from simscope_server.ledger.rules import NotExtended
from simscope_server.messages.decoding import items_of, rejected
from simscope_server.messages.protocol import (
    API,
    LIMIT_MOST,
    LIVE,
    REGR_FINISH,
    SINGLE,
    TYPES,
    Context,
    Delivery,
    JobBody,
    Receipt,
    Refused,
    RegressionBody,
    Row,
    StorageError,
    decode_json,
    to_json,
)
from simscope_server.messages.times import DAY_MS, HOUR_MS, milliseconds, utc
from simscope_server.program import __version__, beside
from simscope_server.reading import answers, figures, queries
from simscope_server.reading.feed import EVENTS, Feed, Subject
from simscope_server.reading.readers import ReadTooLong, Store
from simscope_server.settings import Config

USUAL_FOR_S = 60.0  # how long jobs of a test take is looked up again after this


USUAL_MOST = 20_000  # tests of which that is kept


SLOW_FOR_S = 5.0  # how many jobs of a regression are slow is counted again after this


SLOW_MOST = 5_000  # regressions of which that is kept


SLOW_PATIENCE_S = 0.1  # an answer waits no longer for it


FILE_THREADS = 8  # that look at declared files at a time


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


CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


REGRESSION = f"SELECT {queries.REGRESSIONS.columns} FROM {queries.REGRESSIONS.source}"


JOB = "SELECT j.* FROM jobs AS j"


def receipt_object(receipt: Receipt) -> dict[str, Any]:
    """A receipt in the answer to a POST: with all messages, if they are few."""
    return answers.receipt_object(msgspec.structs.asdict(receipt), receipt.details)


def was_read(delivery: Delivery, receipt: Receipt) -> bool:
    """False if a delivery is not JSON, as a whole or in each of its lines: where text is refused in JSON, its path is
    told. What is in one whose address says no type is no matter."""
    if delivery.refusal is not None:
        return delivery.refusal.reason == "unknown-type"
    return receipt.messages > receipt.rejected or any(
        told.path or told.reason not in ("bad-json", "bad-text") for told in receipt.details
    )


def _job_is_done(row: Row) -> bool:
    return bool(row["result"] != LIVE)


def _regression_is_done(row: Row) -> bool:
    return bool(row["status"] != "live")


def message_schemas() -> dict[str, Any]:
    """JSON Schema of the message bodies, from the types that check them."""
    _, schemas = msgspec.json.schema_components([JobBody, RegressionBody], ref_template="#/components/schemas/{name}")
    return schemas


def static_files(prefix: str) -> Iterator[tuple[str, tuple[bytes, str, str]]]:
    """The files of the page: name -> (content, type, ETag). The page learns its path prefix from {{ROOT}}."""
    for path in beside("static").iterdir():
        kind = CONTENT_TYPES.get(path.suffix)
        if kind is None:
            continue
        body = path.read_bytes()
        if path.suffix == ".html":
            body = body.replace(b"{{ROOT}}", f"{prefix}/".encode())
        tag = hashlib.sha256(body).hexdigest()[:16]
        yield path.name, (body, kind, f'"{tag}"')


def extended(
    batch: Batch, job_id: int, by_ms: int | None, until: int | None, seen: answers.Viewpoint, usual: Any
) -> str:
    """Move a job's time limit. -> the job as it is then, as JSON. Raises as extend_job() does."""
    extend_job(batch, job_id, by_ms, until)
    flush(batch)
    return to_json(answers.job_object(view_row(batch.conn, f"{JOB} WHERE j.id = ?", job_id), seen, usual))


NDJSON_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")


class Api:
    """The handlers. Each takes a request and gives a response or raises Problem."""

    def __init__(
        self, config: Config, hosts: Collection[str], store: Store, intake: Intake, feed: Feed, spool: Spool
    ) -> None:
        self.config = config
        self.hosts = hosts
        self.store = store
        self.intake = intake
        self.feed = feed
        self.spool = spool
        public = urllib.parse.urlsplit(config.public_url)
        self.origin = f"{public.scheme}://{public.netloc}".lower() if public.netloc else None
        self.prefix = public.path.rstrip("/")
        self.base = config.public_url.rstrip("/") if config.public_url else ""
        self.files = dict(static_files(self.prefix))
        self.started = time.monotonic()
        self.usual: dict[int, tuple[float, answers.Usual | None]] = {}  # test -> known until, what it takes
        self.slow: dict[int, tuple[float, int]] = {}  # live regression -> known until, how many of its jobs are slow
        self._counting: asyncio.Task[None] | None = None
        self.digests: dict[tuple[int, ...], bytes] = {}  # device, inode, size and mtime of a file -> SHA-256
        self.file_threads = asyncio.Semaphore(FILE_THREADS)

    # Who may ask: no foreign origin, no foreign host name, writes only with the token.

    def admit(self, request: web.Request) -> None:
        """Raises Problem for a request that must not be served."""
        host = request.headers.get("Host", "")
        if not self._is_own(host):
            raise Problem(403, "foreign-host", f"Host {host!r} is not this daemon's; see [server] allowed_hosts")
        origin = request.headers.get("Origin")
        if origin is not None and not self._is_own_origin(origin.lower(), host.lower()):
            raise Problem(403, "foreign-origin", f"requests from pages of {origin!r} are refused")
        if request.method not in ("GET", "HEAD") and self.config.token and not self._has_token(request):
            raise Problem(401, "token", "this needs the header Authorization: Bearer TOKEN with [server] token")

    def _is_own_origin(self, origin: str, host: str) -> bool:
        return origin in (self.origin, f"http://{host}", f"https://{host}")

    def _has_token(self, request: web.Request) -> bool:
        said = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        scheme, _, token = said.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.lstrip(b" "), self.config.token.encode())

    @functools.lru_cache(maxsize=64)  # noqa: B019 - one Api lives as long as the process
    def _is_own(self, host: str) -> bool:
        """Is this the name, or an address, of this daemon in a Host header?"""
        name = host_name(host)
        return name in self.hosts or is_address(name)

    # Messages in.

    async def publish(self, request: web.Request) -> web.Response:
        kind = request.match_info["type"]
        context = Context(SINGLE.get(kind, kind), request.query.get("regression"), bare=True)
        return await self._take(request, context)

    async def messages(self, request: web.Request) -> web.Response:
        return await self._take(request, Context(None, request.query.get("regression")))

    async def _take(self, request: web.Request, context: Context) -> web.Response:
        peer = peer_of(request)
        delivery = Delivery(peer, f"http:{peer}", [], context)
        try:
            raw, lines = await self._body(request), request.content_type in NDJSON_TYPES
            if context.type not in (None, *TYPES):
                raise Refused("unknown-type", f"type {context.type!r} is not one of {', '.join(TYPES)}")
            if len(raw) >= DECODED_FROM:
                await asyncio.to_thread(self._read_ahead, delivery, raw, lines)
            else:
                delivery.items = items_of(raw, context, lines=lines)
        except Refused as refused:
            delivery.refusal = rejected(context.type, context.regression, refused)
        (receipt,), _ = await self.intake.submit([delivery])
        told = receipt_object(receipt)
        if not receipt.rejected:
            return json_response(told)
        first = next(outcome for outcome in receipt.details if outcome.outcome == "rejected")
        status = 422 if was_read(delivery, receipt) else 413 if first.reason == "too-large" else 400
        raise Problem(
            status, first.reason or "", first.detail or "", **({"path": first.path} if first.path else {}), **told
        )

    async def _body(self, request: web.Request) -> bytes:
        """Raises Refused for a body that cannot be read."""
        try:
            return await request.read()
        except (web.RequestPayloadError, ValueError) as error:
            raise Refused("unreadable", f"the body is not what its headers say: {error}") from None
        except web.HTTPRequestEntityTooLarge:
            detail = f"the request is larger than [limits] body_mib = {self.config.body_mib}"
            raise Refused("too-large", detail) from None

    def _read_ahead(self, delivery: Delivery, raw: bytes, lines: bool) -> None:
        """Cut a large request into its items, and decode them, in a thread: others are answered meanwhile."""
        delivery.items = items_of(raw, delivery.context, lines=lines)
        decode_ahead(delivery, self.config)

    # Lists and objects out.

    async def page_of(
        self, request: web.Request, listing: queries.Listing, *fixed: queries.Condition, limit: int | None = None
    ) -> tuple[list[Row], str | None]:
        """The rows of a page of a list, and the cursor of the next one. A `limit` given here is the only parameter."""
        now, _ = self.store.clock.moment()
        found = queries.page(listing, request.query if limit is None else {"limit": str(limit)}, *fixed, now=now)
        rows = await self.store.read(found.sql, found.parameters, search=is_search(request, listing, fixed))
        more = queries.cursor_behind(found, rows[found.limit - 1]) if len(rows) > found.limit else None
        return rows[: found.limit], more

    def listed(self, request: web.Request, items: list[Any], more: str | int | None) -> web.Response:
        """A page of a list, with a link to the next one."""
        return json_response({"items": items, "next": more}, headers=self.link_to(request, more))

    def link_to(self, request: web.Request, more: str | int | None) -> dict[str, str]:
        """The header that leads to the next page, if there is one."""
        return {"Link": f'<{self.base}{request.rel_url.update_query(after=more)}>; rel="next"'} if more else {}

    async def list_of(
        self,
        request: web.Request,
        listing: queries.Listing,
        show: Callable[[Row], Any],
        *fixed: queries.Condition,
        limit: int | None = None,
    ) -> web.Response:
        """The handler behind every list."""
        rows, more = await self.page_of(request, listing, *fixed, limit=limit)
        return self.listed(request, [show(row) for row in rows], more)

    async def regressions(self, request: web.Request) -> web.Response:
        wants_tanked = request.query.get("tanked") == "1" or "tanked" in request.query.get("status", "").split(",")
        shown = [] if wants_tanked else [queries.Condition("r.tanked_at IS NULL")]
        rows, more = await self.page_of(request, queries.REGRESSIONS, *shown)
        await self.count_slow(rows)
        return self.listed(request, list(map(self.seen_now(answers.regression_object), rows)), more)

    async def regression(self, request: web.Request) -> web.Response:
        """One regression. With wait=SECONDS it blocks until it is over (until=done) or has another version."""
        row = await self.regression_row(request)
        own = request.query.get("until") == "done" and not request.query.get("version")
        look = functools.partial(self.regression_now, row["id"])
        row = await self._awaited(request, row, Subject(row["id"], own=own), look, _regression_is_done)
        await self.count_slow([row])
        return self._versioned(request, row["version"], self.regression_object(row))

    async def count_slow(self, rows: Iterable[Row]) -> None:
        """Have it known how many jobs of live regressions are slow for their test, for the next viewpoint. That is
        counted now and then; where it takes long, answers go on showing what was known before, or none."""
        now = time.monotonic()
        live = (row["id"] for row in rows if row["status"] == "live" and row["n_live"])
        stale = [regression for regression in live if self.slow.get(regression, (0.0, 0))[0] < now]
        if stale and (self._counting is None or self._counting.done()):
            self._counting = asyncio.create_task(self._count_slow(stale))
        if stale and self._counting is not None:
            await asyncio.wait([self._counting], timeout=SLOW_PATIENCE_S)

    async def _count_slow(self, regressions: list[int]) -> None:
        with contextlib.suppress(ReadTooLong, StorageError):
            jobs = await self.store.read(figures.LONGEST_LIVE, (to_json(regressions),), search=True)
            usual = await self.usual_of_tests({job["test_id"] for job in jobs})
            now = self.store.clock.moment().now
            slow = Counter(
                job["regression_id"]
                for job in jobs
                if answers.is_slow(job["running_at"], usual.get(job["test_id"]), now)
            )
            if len(self.slow) > SLOW_MOST:
                self.slow.clear()
            until = time.monotonic() + SLOW_FOR_S
            self.slow.update((regression, (until, slow[regression])) for regression in regressions)

    async def regression_row(self, request: web.Request, ref: str | None = None) -> dict[str, Any]:
        """The regression that REF means: an id, SERIES/$ for the latest of a series that has runs, or a name."""
        ref = request.match_info["ref"] if ref is None else ref
        if ref.isascii() and ref.isdigit() and len(ref) < 19:
            rows = await self.store.read(f"{REGRESSION} WHERE r.id = ?", (int(ref),))
            if rows:
                return rows[0]
        rows, series = [], ref.removesuffix(f"{self.config.seriesseparator}$")
        if series != ref:
            latest = f"{REGRESSION} WHERE r.series = ? ORDER BY r.number DESC LIMIT 1"
            rows = await self.store.read(latest, (series,))
        rows = rows or await self.store.read(f"{REGRESSION} WHERE r.name = ?", (ref,))
        if not rows:
            raise Problem(404, "no-such-regression", f"there is no regression {ref!r}")
        return rows[0]

    async def regression_jobs(self, request: web.Request) -> web.Response:
        row = await self.regression_row(request)
        return await self._job_list(request, queries.Condition("j.regression_id = ?", (row["id"],)))

    async def _job_list(self, request: web.Request, *fixed: queries.Condition) -> web.Response:
        rows, more = await self.page_of(request, queries.JOBS, *fixed, *job_filter(request))
        usual, seen = await self.usual_of(rows), self.viewpoint()
        items = [answers.job_object(row, seen, usual.get(row["test_id"])) for row in rows]
        return self.listed(request, items, more)

    async def usual_of(self, rows: Iterable[Row]) -> dict[int, answers.Usual | None]:
        """How long jobs of a kind take, for the tests of the live jobs among some rows."""
        live = {row["test_id"] for row in rows if row["result"] == LIVE and row["test_id"] is not None}
        return await self.usual_of_tests(live) if live else {}

    async def usual_of_job(self, row: Row) -> answers.Usual | None:
        return (await self.usual_of([row])).get(row["test_id"])

    async def usual_of_tests(self, tests: Collection[int]) -> dict[int, answers.Usual | None]:
        """How long jobs of some tests take. It is looked up now and then: it changes slowly, and is asked for often."""
        now = time.monotonic()
        if len(self.usual) > USUAL_MOST:
            self.usual.clear()
        stale = [test for test in tests if self.usual.get(test, (0.0, None))[0] < now]
        for row in await self.store.read(figures.PASSES, (to_json(stale),)) if stale else ():
            self.usual[row["test_id"]] = (now + USUAL_FOR_S, answers.usual_of(decode_json(row["passes"])))
        return {test: self.usual[test][1] for test in tests if test in self.usual}

    async def regression_signatures(self, request: web.Request) -> web.Response:
        row = await self.regression_row(request)
        here = queries.Condition("g.regression_id = ?", (row["id"],))
        explain, overflow = signatures.explain, signatures.OVERFLOW_TITLE
        show = functools.partial(answers.signature_object, explain=explain, overflow=overflow)
        return await self.list_of(request, queries.SIGNATURES, show, here)

    async def jobs(self, request: web.Request) -> web.Response:
        fixed = []
        if request.query.get("regression"):
            row = await self.regression_row(request, request.query["regression"])
            fixed.append(queries.Condition("j.regression_id = ?", (row["id"],)))
        elif request.query.get("result") == "live":
            fixed.append(queries.WITH_LIVE_JOBS)
        return await self._job_list(request, *fixed)

    async def job_row(self, request: web.Request) -> dict[str, Any]:
        number = job_number(request.match_info["id"])
        rows = await self.store.read(f"{JOB} WHERE j.id = ?", (number,))
        if rows:
            return rows[0]
        pruned = await self.store.read("SELECT pruned_at FROM pruned_job WHERE id = ?", (number,))
        if pruned:
            raise Gone(number, pruned[0]["pruned_at"])
        raise Problem(404, "no-such-job", f"there is no job {number}")

    async def job(self, request: web.Request) -> web.Response:
        """One job. With wait=SECONDS it blocks until it is done (until=done) or has another version (version=N)."""
        row = await self._awaited_job(request)
        return self._versioned(request, row["version"], await self.job_shown(row))

    async def _awaited_job(self, request: web.Request) -> Row:
        row = await self.job_row(request)
        subject = Subject(row["regression_id"], row["id"])
        return await self._awaited(request, row, subject, functools.partial(self.job_row, request), _job_is_done)

    async def _awaited(
        self,
        request: web.Request,
        row: Row,
        subject: Subject,
        look: Callable[[], Awaitable[Row]],
        is_done: Callable[[Row], bool],
    ) -> Row:
        """The row as it is once what the request waits for has come, or its time is over: until=done, version=N."""
        wait = wait_seconds(request)
        until, version = request.query.get("until"), request.query.get("version")
        if until not in (None, "", "done"):
            raise queries.BadQuery("until", until, "done")
        known = queries.whole_number("version", version) if version else None
        if not wait or (known is None and not until):
            return row
        end = time.monotonic() + wait
        async with self.feed.listening():
            while True:
                with self.store.bells.listen(subject) as news:
                    row = await look()
                    reached = is_done(row) or (not until and row["version"] != known)
                    left = end - time.monotonic()
                    if reached or left <= 0 or self.feed.closed or not await heard(news, left):
                        return row

    async def job_status(self, request: web.Request) -> web.Response:
        row = await self._awaited_job(request)
        told = {
            "id": row["id"],
            "result": row["result_name"],
            "reason": row["reason"],
            "done": row["result"] != LIVE,
            "version": row["version"],
        }
        return self._versioned(request, row["version"], told)

    async def job_history(self, request: web.Request) -> web.Response:
        row = await self.job_row(request)
        return await self._history(request, queries.Condition("e.job_id = ?", (row["id"],)))

    async def regression_history(self, request: web.Request) -> web.Response:
        row = await self.regression_row(request)
        own = queries.Condition("e.regression_id = ? AND e.job_id IS NULL", (row["id"],))
        return await self._history(request, own)

    async def _history(self, request: web.Request, whose: queries.Condition) -> web.Response:
        """What happened to a job or a regression, oldest first; the cursor is the `seq` of the last entry."""
        after, limit = numbered_page(request, LIMIT_MOST)
        sql = f"{EVENTS} WHERE {whose.sql} AND e.seq > ? ORDER BY e.seq LIMIT ?"
        rows = await self.store.read(sql, (*whose.parameters, after, limit + 1))
        items = [answers.history_object(event) for event in rows[:limit]]
        return self.listed(request, items, items[-1]["seq"] if len(rows) > limit else None)

    async def receipts(self, request: web.Request) -> web.Response:
        return await self.list_of(request, queries.RECEIPTS, answers.stored_receipt)

    async def receipt(self, request: web.Request) -> web.Response:
        number = queries.whole_number("id", request.match_info["id"])
        rows = await self.store.read("SELECT * FROM receipt WHERE id = ?", (number,))
        if not rows:
            days = f"{self.config.keep_receipts_days:g}"
            raise Problem(404, "no-such-receipt", f"there is no receipt {number}; receipts are kept for {days} days")
        return json_response(answers.stored_receipt(rows[0]))

    def _versioned(self, request: web.Request, version: int, value: Any) -> web.Response:
        """An object with its ETag, or 304 if the reader has this version."""
        return self._unchanged(request, version) or json_response(value, headers=self._tagged(version))

    async def versioned(self, request: web.Request, version: int, value: Callable[[], Awaitable[Any]]) -> web.Response:
        """The same for a value that is not made unless it is sent."""
        return self._unchanged(request, version) or json_response(await value(), headers=self._tagged(version))

    def _tagged(self, version: int) -> dict[str, str]:
        return {"ETag": f'"{self.store.epoch}-{version}"', "Cache-Control": "no-cache"}

    def _unchanged(self, request: web.Request, version: int) -> web.Response | None:
        """304 if the reader has this version, else None."""
        headers = self._tagged(version)
        return web.Response(status=304, headers=headers) if has_tag(request, headers["ETag"]) else None

    # What people do by hand.

    async def tank(self, request: web.Request) -> web.Response:
        row = await self.regression_row(request)
        await self.store.change(by_hand, peer_of(request), tank_regression, row["id"], await said_reason(request))
        return await self._shown(row["id"])

    async def untank(self, request: web.Request) -> web.Response:
        row = await self.regression_row(request)
        await self.store.change(by_hand, peer_of(request), untank_regression, row["id"])
        return await self._shown(row["id"])

    async def finish(self, request: web.Request) -> web.Response:
        row = await self.regression_row(request)
        peer = peer_of(request)
        context = Context(REGR_FINISH, row["name"], bare=True)
        await self.intake.submit([Delivery(peer, f"http:{peer}", [b"null"], context)])
        return await self._shown(row["id"])

    async def tank_job(self, request: web.Request) -> web.Response:
        row = await self.job_row(request)
        try:
            await self.store.change(by_hand, peer_of(request), tank_job, row["id"], await said_reason(request))
        except ValueError as error:
            raise Problem(409, "not-live", str(error)) from None
        return json_response(await self.job_shown(await self.job_row(request)))

    async def extend_job(self, request: web.Request) -> web.Response:
        """Move a live job's time limit. Under one Idempotency-Key it is done once, and answered alike each time."""
        row = await self.job_row(request)
        said, key = await said_extension(request), idempotency_key(request)
        by_ms, until = said.get("by_ms"), said.get("until")
        until_ms = None if until is None else milliseconds(until)
        usual = await self.usual_of_job(row)

        asked = to_json(["extend", row["id"], by_ms, until_ms])
        try:
            doing = (row["id"], by_ms, until_ms, self.viewpoint(), usual)
            answer = await self.store.change(by_hand, peer_of(request), once, key, asked, extended, *doing)
        except NotExtended as error:
            status = 422 if error.reason == "bad-extension" else 409
            raise Problem(status, error.reason, str(error), **({"path": error.path} if error.path else {})) from None
        except KeyReused as error:
            raise Problem(422, "idempotency-key-reused", str(error)) from None
        return web.Response(body=answer.encode(), content_type=JSON_TYPE)

    async def regression_now(self, number: int) -> Row:
        return (await self.store.read(f"{REGRESSION} WHERE r.id = ?", (number,)))[0]

    async def _shown(self, number: int) -> web.Response:
        return json_response(self.regression_object(await self.regression_now(number)))

    # The daemon itself.

    async def about(self, request: web.Request) -> web.Response:
        now, _ = self.store.clock.moment()
        return json_response(
            {
                "name": "simscoped",
                "version": __version__,
                "epoch": self.store.epoch,
                "seq": self.store.seq,
                "now": utc(now),
                "live_enabled": self.config.enablelivejobs,
                "token_required": bool(self.config.token),
                "series_separator": self.config.seriesseparator,
            }
        )

    async def document(self, request: web.Request) -> web.Response:
        return json_response(openapi.document(__version__, self.base + API, message_schemas()))

    async def health(self, request: web.Request) -> web.Response:
        """200, or 503 with the reasons. A backlog in the spool is healthy."""
        reasons = [f"database: {self.store.trouble}"] if self.store.trouble else []
        reasons += [f"spool: {self.spool.trouble}"] if self.spool.trouble else []
        skipped = {path.encode("utf-8", "replace").decode(): why for path, why in self.spool.folder.not_taken().items()}
        told = {
            "status": "failing" if reasons else "ok",
            "reasons": reasons,
            "version": __version__,
            "spool": {"files": self.spool.folder.backlog, "skipped": skipped},
        }
        return json_response(told, 503 if reasons else 200)

    async def metrics(self, request: web.Request) -> web.Response:
        """What Prometheus reads. Labels are words from short lists, never names or ids."""
        (row,) = await self.store.read(
            "SELECT coalesce(sum(ended IS NULL AND tanked_at IS NULL), 0) AS regressions, "
            "coalesce(sum(n_live), 0) AS jobs FROM regression"
        )
        registry = prometheus_client.CollectorRegistry()
        messages = prometheus_client.Counter("simscoped_messages", "Messages taken", ["outcome"], registry=registry)
        for outcome, count in self.intake.counts.items():
            messages.labels(outcome).inc(count)
        oldest = self.spool.folder.oldest_ns
        gauges = {
            "simscoped_up_seconds": ("Time since the start", time.monotonic() - self.started),
            "simscoped_regressions_live": ("Regressions that are live", row["regressions"]),
            "simscoped_jobs_live": ("Jobs that are live", row["jobs"]),
            "simscoped_spool_files": ("Files seen by the last scan of the spool", self.spool.folder.backlog),
            "simscoped_spool_oldest_seconds": (
                "Age of the oldest of them",
                0 if oldest is None else max(0.0, time.time() - oldest / 1e9),
            ),
            "simscoped_spool_skipped_files": ("Files that are not taken", len(self.spool.folder.not_taken())),
            "simscoped_streams": ("Open streams of events and logs", self.feed.streams),
            "simscoped_event_seq": ("Number of the last change", self.store.seq),
            "simscoped_failing": ("1 while the database or the spool cannot be used", self._failing()),
        }
        for name, (text, value) in gauges.items():
            prometheus_client.Gauge(name, text, registry=registry).set(value)
        body = prometheus_client.generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})

    def _failing(self) -> int:
        return int(bool(self.store.trouble or self.spool.trouble))

    async def page(self, request: web.Request) -> web.Response:
        return self._file(request, "index.html")

    def nothing_here(self, request: web.Request) -> web.Response | None:
        """The page for a browser that was led astray; it says so. None for others, and where programs ask."""
        if request.path.startswith("/api/") or "text/html" not in request.headers.get("Accept", ""):
            return None
        body, kind, _ = self.files["index.html"]
        return web.Response(body=body, status=404, headers=PAGE_HEADERS | {"Content-Type": kind})

    async def static(self, request: web.Request) -> web.Response:
        return self._file(request, request.match_info["name"])

    def _file(self, request: web.Request, name: str) -> web.Response:
        if name not in self.files:
            raise Problem(404, "not-found", f"there is no file {name!r}")
        body, kind, tag = self.files[name]
        headers = PAGE_HEADERS | {"ETag": tag}
        if has_tag(request, tag):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers | {"Content-Type": kind})

    # Rows as the API shows them, seen from now.

    def viewpoint(self) -> answers.Viewpoint:
        timeout, prune = round(self.config.autotimeouthours * HOUR_MS), round(self.config.prunelivedays * DAY_MS)
        return answers.Viewpoint(*self.store.clock.moment(), timeout, prune, self.base, self.slow)

    def seen_now(self, show: Callable[[Row, answers.Viewpoint], dict[str, Any]]) -> Callable[[Row], dict[str, Any]]:
        """A function that shows rows as they are seen at one moment: this one."""
        seen = self.viewpoint()
        return lambda row: show(row, seen)

    def regression_object(self, row: dict[str, Any]) -> dict[str, Any]:
        return self.seen_now(answers.regression_object)(row)

    async def job_shown(self, row: Row) -> dict[str, Any]:
        return answers.job_object(row, self.viewpoint(), await self.usual_of_job(row))
