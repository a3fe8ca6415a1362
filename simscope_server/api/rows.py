"""The rows that an address means, and how a row is shown at this moment. Raises Problem for what is not there."""

from __future__ import annotations

from aiohttp import web

from simscope_server.api.context import Context
from simscope_server.api.parameters import job_number
from simscope_server.api.problems import Problem
from simscope_server.ledger.actions import Gone
from simscope_server.messages.protocol import Row
from simscope_server.reading import answers, queries, shapes

REGRESSION = f"SELECT {queries.REGRESSIONS.columns} FROM {queries.REGRESSIONS.source}"


JOB = "SELECT j.* FROM jobs AS j"


async def regression_row(context: Context, request: web.Request, ref: str | None = None) -> Row:
    """The regression that REF means: an id, SERIES/$ for the latest of a series that has runs, or a name."""
    ref = request.match_info["ref"] if ref is None else ref
    if ref.isascii() and ref.isdigit() and len(ref) < 19:
        rows = await context.readers.read(f"{REGRESSION} WHERE r.id = ?", (int(ref),))
        if rows:
            return rows[0]
    rows, series = [], ref.removesuffix(f"{context.config.seriesseparator}$")
    if series != ref:
        latest = f"{REGRESSION} WHERE r.series = ? ORDER BY r.number DESC LIMIT 1"
        rows = await context.readers.read(latest, (series,))
    rows = rows or await context.readers.read(f"{REGRESSION} WHERE r.name = ?", (ref,))
    if not rows:
        raise Problem(404, "no-such-regression", f"there is no regression {ref!r}")
    return rows[0]


async def regression_now(context: Context, number: int) -> Row:
    """A regression that is there, by its id."""
    return (await context.readers.read(f"{REGRESSION} WHERE r.id = ?", (number,)))[0]


async def job_row(context: Context, request: web.Request) -> Row:
    """The job of the address. Raises Gone if it was pruned."""
    number = job_number(request.match_info["id"])
    rows = await context.readers.read(f"{JOB} WHERE j.id = ?", (number,))
    if rows:
        return rows[0]
    pruned = await context.readers.read("SELECT pruned_at FROM pruned_job WHERE id = ?", (number,))
    if pruned:
        raise Gone(number, pruned[0]["pruned_at"])
    raise Problem(404, "no-such-job", f"there is no job {number}")


async def job_shown(context: Context, row: Row) -> shapes.Job:
    usual = await context.usual.of_job(row)
    return answers.job_object(row, context.viewpoint(), usual)
