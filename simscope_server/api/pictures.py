"""What the page's pictures are drawn from: strips, lanes, charts, comparisons, badges; each in one request and of
bounded size. reading/figures.py has the SQL and the shapes.
"""

from __future__ import annotations

import functools

from aiohttp import web

from simscope_server.api.assets import tag_of
from simscope_server.api.context import Context
from simscope_server.api.lists import list_of
from simscope_server.api.parameters import moment_said
from simscope_server.api.problems import Problem
from simscope_server.api.responses import json_response, not_modified
from simscope_server.api.routes import SERIES_MOST
from simscope_server.api.rows import REGRESSION, job_row, regression_now, regression_row
from simscope_server.ledger import signatures
from simscope_server.messages.protocol import LIMIT_MOST, Row, to_json
from simscope_server.reading import answers, figures, queries, shapes


async def series_strips(context: Context, request: web.Request) -> web.Response:
    """The newest runs of the series that are named (series=A&series=B), or of all."""
    names = request.query.getall("series", [])
    if len(names) > SERIES_MOST:
        raise queries.BadQuery("series", f"({len(names)} of them)", f"{SERIES_MOST} names at most in one request")
    if not names:
        return await list_of(context, request, queries.SERIES, figures.series_object)
    named = queries.Condition(f"s.series IN ({', '.join('?' for _ in names)})", tuple(names))
    return await list_of(context, request, queries.SERIES, figures.series_object, named, limit=SERIES_MOST)


async def regression_hosts(context: Context, request: web.Request) -> web.Response:
    row = await regression_row(context, request)
    here = queries.Condition("h.regression_id = ?", (row["id"],))
    return await list_of(context, request, queries.HOSTS, answers.host_object, here)


async def regression_timeline(context: Context, request: web.Request) -> web.Response:
    """Which job ran where and when; of too many, the shortest passes are left out."""
    row = await regression_row(context, request)
    most = queries.whole_number("most", request.query.get("most") or str(figures.LANES_DEFAULT), 1, figures.LANES_MOST)
    now, _ = context.ledger.clock.moment()
    wanted = {"regression": row["id"], "now": now, "most": most}
    wanted |= {"since": moment_said(request, "from", 0), "until": moment_said(request, "to", 2**62)}

    async def told() -> shapes.Timeline:
        return figures.timeline_object(await context.readers.read(figures.TIMELINE, wanted, search=True), now)

    headers = context.tagged(row["version"])
    return not_modified(request, headers) or json_response(await told(), headers=headers)


async def regression_charts(context: Context, request: web.Request) -> web.Response:
    """Finished jobs over time, runtimes, and runtime against cycles."""
    row = await regression_row(context, request)
    headers = context.tagged(row["version"])
    return not_modified(request, headers) or json_response(await _charts(context, row["id"]), headers=headers)


async def _charts(context: Context, regression: int) -> shapes.Charts:
    here = {"regression": regression}
    find = functools.partial(context.readers.read, search=True)
    (span,) = await find(figures.SPAN, here)
    first, last = span["first"], span["last"]
    step = figures.step_of(last - first) if span["jobs"] else figures.STEPS_MS[0]
    edges = figures.edges_between(span["least"], span["most"])
    finished = await find(figures.FINISHED, here | {"first": first, "last": last, "step": step})
    runtimes = await find(figures.RUNTIMES.format(place=figures.class_of("took", edges)), here)
    points = await find(figures.POINTS, here | figures.shares(span["pass_points"], span["fail_points"]))
    return {
        "jobs": span["jobs"],
        "left_out": span["left_out"],
        "finished": figures.finished_object(finished, first, last, step),
        "runtime": figures.histogram(runtimes, edges),
        "cycles": figures.points_object(points, span["pass_points"] + span["fail_points"]),
    }


async def regression_diff(context: Context, request: web.Request) -> web.Response:
    """Jobs of two regressions, matched by config or by test; without `base`, against the one before in the series."""
    here = await regression_row(context, request)
    there = await _base_of(context, request, here)
    slower = queries.whole_number("slower", request.query.get("slower") or str(figures.SLOWER_DEFAULT), 1, 10_000)
    limit = queries.whole_number("limit", request.query.get("limit") or str(figures.DIFF_MOST), 0, figures.DIFF_MOST)
    by = request.query.get("by") or "config"
    if by not in figures.DIFF_BY:
        raise queries.BadQuery("by", by, "one of " + ", ".join(figures.DIFF_BY))
    wanted = {"here": here["id"], "there": there["id"], "slower": slower, "limit": limit}

    async def told() -> shapes.Diff:
        return {
            "regression": here["name"],
            "base": there["name"],
            "regression_id": here["id"],
            "base_id": there["id"],
            **await _differ(context, by, wanted),
        }

    headers = context.tagged(max(here["version"], there["version"]))
    return not_modified(request, headers) or json_response(await told(), headers=headers)


async def _differ(context: Context, by: str, wanted: dict[str, int]) -> shapes.Differences:
    """What differs. `by` "auto" is by config, or by test where few configs were run before and more of the tests."""
    overflow = {"overflow": signatures.OVERFLOW_TITLE}
    found = await context.readers.read(figures.DIFF_SIGNATURES, wanted | overflow, search=True)

    async def matched_by(what: str) -> shapes.Differences:
        rows = await context.readers.read(figures.DIFF[what], wanted, search=True)
        return figures.diff_object(what, rows, found, wanted["limit"])

    differ = await matched_by("test" if by == "test" else "config")
    if by != "auto" or figures.share_matched(differ) >= figures.MATCHED_ENOUGH:
        return differ
    return max(differ, await matched_by("test"), key=figures.share_matched)


async def _base_of(context: Context, request: web.Request, here: Row) -> Row:
    if request.query.get("base"):
        return await regression_row(context, request, request.query["base"])
    before = f"{REGRESSION} WHERE r.series = ? AND r.number < ? ORDER BY r.number DESC LIMIT 1"
    rows = await context.readers.read(before, (here["series"], here["number"]))
    if not rows:
        raise Problem(404, "no-base", f"{here['name']!r} has no earlier run in its series; name one with base=REF")
    return rows[0]


async def job_earlier(context: Context, request: web.Request) -> web.Response:
    """What became of a job's test in earlier regressions: of its series, or of all if it belongs to none."""
    job = await job_row(context, request)
    limit = queries.whole_number("limit", request.query.get("limit") or str(figures.RUNS_SHOWN), 1, LIMIT_MOST)
    own = await regression_now(context, job["regression_id"])
    wanted = {"test": job["test_id"], "seed": job["seed"], "limit": limit}
    if own["series"] is None:
        rows = await context.readers.read(figures.EARLIER, wanted | {"regression": own["id"]})
    else:
        place = {"series": own["series"], "number": own["number"]}
        rows = await context.readers.read(figures.EARLIER_IN_SERIES, wanted | place)
    shown = await context.readers.read(figures.EARLIER_JOBS, (to_json([row["job"] for row in rows]),))
    jobs = {row["id"]: row for row in shown}
    items = [figures.earlier_object(row, jobs[row["job"]], job["seed"]) for row in rows]
    usual = None if job["test_id"] is None else (await context.usual.of_tests([job["test_id"]])).get(job["test_id"])
    told: shapes.Earlier = {
        "test": job["test"],
        "usual_ms": usual.median_ms if usual else None,
        "slow_after_ms": usual.slow_after_ms if usual else None,
        "items": items,
        "next": None,
    }
    return json_response(told)


async def badge(context: Context, request: web.Request) -> web.Response:
    """The pass rate of a series' latest run as an image, for pages elsewhere."""
    name = request.match_info["series"]
    latest = f"{REGRESSION} WHERE r.series = ? AND r.tanked_at IS NULL ORDER BY r.number DESC LIMIT 1"
    rows = await context.readers.read(latest, (name,))
    image = figures.badge(name, *figures.verdict_of(rows[0] if rows else None)).encode()
    headers = {"ETag": tag_of(image), "Cache-Control": "max-age=30", "X-Content-Type-Options": "nosniff"}
    headers |= {"Content-Security-Policy": "default-src 'none'"}
    if not rows:
        return web.Response(body=image, status=404, headers=headers, content_type="image/svg+xml")
    return not_modified(request, headers) or web.Response(body=image, headers=headers, content_type="image/svg+xml")
