"""Short words for messages as they are published, and for what decoding makes of them."""

from __future__ import annotations

import json
from typing import Any

from simscope_server.messages.decoding import decode_items, items_of
from simscope_server.messages.protocol import Context, Message, Outcome, Refused
from simscope_server.settings import Config

NOT_REFUSALS = {
    "live-disabled",
    "skip-disabled",
    "already-finished",
    "tanked",
    "older-run",
    "same-content",
    "first-finish-wins",
}
NOT_AT_DECODING = {"unreadable", "internal-error"}  # of the spool, and of applying

NOWHERE = Context()
IN_RUN = Context(None, "r/1")
MIB_OF_A = "a" * 1024 * 1024
DAYS_24 = 24 * 86_400_000


def decode(raw: bytes | str, context: Context = NOWHERE, *, lines: bool = False, **options: Any) -> list[Any]:
    """A delivery, all the way. -> messages and refusals; one refusal for a text that cannot be cut into items, as in a
    receipt."""
    raw = raw if isinstance(raw, bytes) else raw.encode()
    try:
        items = items_of(raw, context, lines=lines)
    except Refused as refusal:
        return [Outcome(0, None, None, "rejected", refusal.reason, refusal.path, refusal.detail)]
    return list(decode_items(items, context, Config(**options)))


def one(raw: bytes | str, context: Context = NOWHERE, **options: Any) -> Message:
    [message] = decode(raw, context, **options)
    assert isinstance(message, Message), message
    return message


def refusal(raw: bytes | str, context: Context = NOWHERE, **options: Any) -> tuple[str | None, str | None]:
    [outcome] = decode(raw, context, **options)
    assert isinstance(outcome, Outcome), outcome
    assert outcome.outcome == "rejected"
    assert outcome.detail
    return outcome.reason, outcome.path


def envelope(kind: str = "job-live", body: Any = None, **keys: Any) -> str:
    return json.dumps({"type": kind, "regression": "r/1", "body": body} | keys)


def job(result: str = "live", **fields: Any) -> dict[str, Any]:
    return {"category": "sim", "uniqueid": "a", "result": result} | fields


def live(**fields: Any) -> str:
    return envelope("job-live", job(**fields))


def finish(result: str = "pass", **fields: Any) -> str:
    return envelope("job-finish", job(result, **fields))


def update(**fields: Any) -> str:
    return envelope("regr-update", fields)


def without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}


def nested(depth: int) -> list[Any]:
    """A list in a list in a list …, `depth` levels."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value
