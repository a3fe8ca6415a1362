"""Messages over HTTP: a request becomes a delivery, which the intake has applied; its receipt is the answer."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from simscope_server.api.context import Context
from simscope_server.api.parameters import peer_of
from simscope_server.api.problems import Problem
from simscope_server.api.responses import json_response
from simscope_server.ledger.deliveries import DECODED_FROM, decode_ahead
from simscope_server.messages import protocol
from simscope_server.messages.decoding import items_of, rejected
from simscope_server.messages.protocol import SINGLE, TYPES, Delivery, Receipt, Refused
from simscope_server.reading import answers
from simscope_server.settings import Config

NDJSON_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")


async def publish(context: Context, request: web.Request) -> web.Response:
    """Bodies of the type that the address says."""
    kind = request.match_info["type"]
    said = protocol.Context(SINGLE.get(kind, kind), request.query.get("regression"), bare=True)
    return await _take(context, request, said)


async def messages(context: Context, request: web.Request) -> web.Response:
    """Envelopes, which say their types."""
    return await _take(context, request, protocol.Context(None, request.query.get("regression")))


async def _take(context: Context, request: web.Request, said: protocol.Context) -> web.Response:
    peer = peer_of(request)
    delivery = Delivery(peer, f"http:{peer}", [], said)
    try:
        raw, lines = await _body(context, request), request.content_type in NDJSON_TYPES
        if said.type not in (None, *TYPES):
            raise Refused("unknown-type", f"type {said.type!r} is not one of {', '.join(TYPES)}")
        if len(raw) >= DECODED_FROM:
            await asyncio.to_thread(_read_ahead, delivery, raw, lines, context.config)
        else:
            delivery.items = items_of(raw, said, lines=lines)
    except Refused as refused:
        delivery.refusal = rejected(said.type, said.regression, refused)
    (receipt,), _ = await context.intake.submit([delivery])
    return _answer(delivery, receipt)


async def _body(context: Context, request: web.Request) -> bytes:
    """Raises Refused for a body that cannot be read."""
    try:
        return await request.read()
    except (web.RequestPayloadError, ValueError) as error:
        raise Refused("unreadable", f"the body is not what its headers say: {error}") from None
    except web.HTTPRequestEntityTooLarge:
        detail = f"the request is larger than [limits] body_mib = {context.config.body_mib}"
        raise Refused("too-large", detail) from None


def _read_ahead(delivery: Delivery, raw: bytes, lines: bool, config: Config) -> None:
    """Cut a large request into its items, and decode them, in a thread: others are answered meanwhile."""
    delivery.items = items_of(raw, delivery.context, lines=lines)
    decode_ahead(delivery, config)


def _answer(delivery: Delivery, receipt: Receipt) -> web.Response:
    """The receipt, with all messages if they are few. Raises Problem, with the receipt, if a message was refused."""
    told = answers.receipt_object(msgspec.structs.asdict(receipt), receipt.details)
    if not receipt.rejected:
        return json_response(told)
    first = next(outcome for outcome in receipt.details if outcome.outcome == "rejected")
    status = 422 if _was_read(delivery, receipt) else 413 if first.reason == "too-large" else 400
    place = {"path": first.path} if first.path else {}
    raise Problem(status, first.reason or "", first.detail or "", **place, **told)


def _was_read(delivery: Delivery, receipt: Receipt) -> bool:
    """False if a delivery is not JSON, as a whole or in each of its lines: where text is refused in JSON, its path is
    told. What is in one whose address says no type is no matter."""
    if delivery.refusal is not None:
        return delivery.refusal.reason == "unknown-type"
    return receipt.messages > receipt.rejected or any(
        told.path or told.reason not in ("bad-json", "bad-text") for told in receipt.details
    )
