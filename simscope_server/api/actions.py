"""What people do by hand: give up, take back, finish, move a time limit. The ledger's actions.py does it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from simscope_server.api.context import Context
from simscope_server.api.parameters import idempotency_key, peer_of, said_extension, said_reason
from simscope_server.api.problems import Problem
from simscope_server.api.responses import JSON_TYPE, json_response
from simscope_server.api.rows import JOB, job_row, job_shown, regression_now, regression_row
from simscope_server.ledger import actions
from simscope_server.ledger.batch import Batch
from simscope_server.ledger.database import view_row
from simscope_server.ledger.effects import flush
from simscope_server.ledger.rules import NotExtended
from simscope_server.messages import protocol
from simscope_server.messages.protocol import REGR_FINISH, Delivery, to_json
from simscope_server.messages.times import milliseconds
from simscope_server.reading import answers


async def tank(context: Context, request: web.Request) -> web.Response:
    """Give a regression up."""
    row, reason = await regression_row(context, request), await said_reason(request)
    await context.ledger.change(actions.by_hand, peer_of(request), actions.tank_regression, row["id"], reason)
    return await _regression(context, row["id"])


async def untank(context: Context, request: web.Request) -> web.Response:
    """Take that back."""
    row = await regression_row(context, request)
    await context.ledger.change(actions.by_hand, peer_of(request), actions.untank_regression, row["id"])
    return await _regression(context, row["id"])


async def finish(context: Context, request: web.Request) -> web.Response:
    """Declare a regression finished, as a message of its publisher's would."""
    row = await regression_row(context, request)
    peer = peer_of(request)
    said = protocol.Context(REGR_FINISH, row["name"], bare=True)
    await context.intake.submit([Delivery(peer, f"http:{peer}", [b"null"], said)])
    return await _regression(context, row["id"])


async def tank_job(context: Context, request: web.Request) -> web.Response:
    """Give a live job up."""
    row, reason = await job_row(context, request), await said_reason(request)
    try:
        await context.ledger.change(actions.by_hand, peer_of(request), actions.tank_job, row["id"], reason)
    except ValueError as error:
        raise Problem(409, "not-live", str(error)) from None
    return json_response(await job_shown(context, await job_row(context, request)))


async def extend_job(context: Context, request: web.Request) -> web.Response:
    """Move a live job's time limit. Under one Idempotency-Key it is done once, and answered alike each time."""
    row = await job_row(context, request)
    said, key = await said_extension(request), idempotency_key(request)
    by_ms, until = said.get("by_ms"), said.get("until")
    until_ms = None if until is None else milliseconds(until)
    usual = await context.usual.of_job(row)

    asked = to_json(["extend", row["id"], by_ms, until_ms])
    doing = (row["id"], by_ms, until_ms, context.viewpoint(), usual)
    try:
        change = context.ledger.change
        told = await change(actions.by_hand, peer_of(request), actions.once, key, asked, extended, *doing)
    except NotExtended as error:
        status = 422 if error.reason == "bad-extension" else 409
        raise Problem(status, error.reason, str(error), **({"path": error.path} if error.path else {})) from None
    except actions.KeyReused as error:
        raise Problem(422, "idempotency-key-reused", str(error)) from None
    return web.Response(body=told.encode(), content_type=JSON_TYPE)


def extended(
    batch: Batch, job_id: int, by_ms: int | None, until: int | None, seen: answers.Viewpoint, usual: Any
) -> str:
    """Move a job's time limit, in the writer. -> the job as it is then, as JSON. Raises as the ledger does."""
    actions.extend_job(batch, job_id, by_ms, until)
    flush(batch)
    return to_json(answers.job_object(view_row(batch.conn, f"{JOB} WHERE j.id = ?", job_id), seen, usual))


async def _regression(context: Context, number: int) -> web.Response:
    return json_response(answers.regression_object(await regression_now(context, number), context.viewpoint()))
