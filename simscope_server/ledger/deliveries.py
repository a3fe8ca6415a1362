"""Whole deliveries come in; their messages are applied, and receipts go out, all in one transaction."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from simscope_server.ledger.batch import Batch
from simscope_server.ledger.database import is_storage_trouble
from simscope_server.ledger.effects import apply_message, flush
from simscope_server.ledger.rows import INSERT_RECEIPT
from simscope_server.messages.decoding import decode_items
from simscope_server.messages.protocol import (
    DETAILS_KEPT,
    OUTCOMES,
    Delivery,
    Message,
    Outcome,
    Receipt,
    Submission,
    log,
    to_json,
)
from simscope_server.settings import Config

BATCH_MESSAGES = 1000  # per transaction; 4,000 measured no faster, 200 a fifth slower

# Deliveries.
DECODED_FROM, DECODED_TO = 1 << 14, 1 << 20  # bytes; messages take eight times the memory of their text


def decode_ahead(delivery: Delivery, config: Config) -> None:
    """Decode a request of many messages beside the writer, which then need not do it; but not one that is so long that
    its messages would fill the memory. Small requests and spool files are left to the writer: to answer the ones and to
    read the others is work enough here."""
    if delivery.weight() <= BATCH_MESSAGES and delivery.size() <= DECODED_TO:
        delivery.messages = list(decode_items(delivery.items, delivery.context, config))
        delivery.items = []


def apply_submissions(
    batch: Batch, submissions: Sequence[Submission], *, careful: bool = False
) -> list[tuple[list[Receipt], int]]:
    """Apply deliveries, write their receipts, and note the spool files that may be cleared away once this is committed.

    -> for each submission its receipts in order, and the id of the note (0 if there were no files)."""
    deliveries = [delivery for submission in submissions for delivery in submission.deliveries]
    receipts = iter(apply_deliveries(batch, deliveries, careful=careful))
    told = []
    for submission in submissions:
        own = list(itertools.islice(receipts, len(submission.deliveries)))
        told.append((own, _note_claims(batch, submission.deliveries, own)))
        batch.conn.executemany("DELETE FROM settling WHERE id = ?", ((number,) for number in submission.deletable))
    return told


def apply_deliveries(batch: Batch, deliveries: Sequence[Delivery], *, careful: bool = False) -> list[Receipt]:
    """Apply deliveries and write their receipts. -> receipts in order.

    `careful` takes one message at a time and refuses the one that raises, which is how a batch is done that failed."""
    told: list[list[Outcome]] = [[] for _ in deliveries]
    messages = (
        (outcomes, delivery, message)
        for outcomes, delivery in zip(told, deliveries, strict=True)
        for message in _messages_of(delivery, batch.config)
    )
    while chunk := list(itertools.islice(messages, 1 if careful else BATCH_MESSAGES)):
        if careful:
            _apply_carefully(batch, *chunk[0])
            continue
        batch.preload(message for _, _, message in chunk if isinstance(message, Message))
        for outcomes, delivery, message in chunk:
            batch.origin = delivery.origin
            outcomes.append(message if isinstance(message, Outcome) else apply_message(batch, message))
        flush(batch)
    receipts = [_receipt(batch, delivery, outcomes) for delivery, outcomes in zip(deliveries, told, strict=True)]
    batch.conn.executemany(INSERT_RECEIPT, map(_receipt_row, receipts))
    return receipts


def _messages_of(delivery: Delivery, config: Config) -> Iterator[Message | Outcome]:
    if delivery.refusal is not None:
        return iter([delivery.refusal])
    if delivery.messages is not None:
        return iter(delivery.messages)
    return decode_items(delivery.items, delivery.context, config)


def _apply_carefully(batch: Batch, outcomes: list[Outcome], delivery: Delivery, message: Message | Outcome) -> None:
    if isinstance(message, Outcome):
        outcomes.append(message)
        return
    batch.origin = delivery.origin
    batch.conn.execute("SAVEPOINT message")
    try:
        outcome = apply_message(batch, message)
        flush(batch)
    except Exception as error:
        if is_storage_trouble(error):
            raise
        batch.conn.execute("ROLLBACK TO message")
        batch.unlearn()
        log.exception("apply: message %d of %s", message.index, delivery.name)
        detail = f"{type(error).__name__}: {error}"
        outcome = Outcome(message.index, message.type, message.regression, "rejected", "internal-error", None, detail)
    batch.conn.execute("RELEASE message")
    outcomes.append(outcome)


def _receipt(batch: Batch, delivery: Delivery, outcomes: list[Outcome]) -> Receipt:
    batch.counters.last_receipt_id += 1
    counts = dict.fromkeys(OUTCOMES, 0)
    for outcome in outcomes:
        counts[outcome.outcome] += 1
    receipt = Receipt(batch.counters.last_receipt_id, delivery.name, batch.moment.now, **counts, details=outcomes)
    if len(outcomes) > DETAILS_KEPT:
        receipt.details = receipt.notable()
    return receipt


def _receipt_row(receipt: Receipt) -> tuple[Any, ...]:
    notable = receipt.notable()
    *numbers, _ = msgspec.structs.astuple(receipt)
    return (*numbers, to_json(notable) if notable else None)


def _note_claims(batch: Batch, deliveries: Sequence[Delivery], receipts: Sequence[Receipt]) -> int:
    files = [
        (*delivery.claim, receipt.id if receipt.rejected else 0)
        for delivery, receipt in zip(deliveries, receipts, strict=True)
        if delivery.claim is not None
    ]
    if not files:
        return 0
    row = batch.conn.execute("INSERT INTO settling (files) VALUES (?) RETURNING id", (to_json(files),)).fetchone()
    return int(row[0])
