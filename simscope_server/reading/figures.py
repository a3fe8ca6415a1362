"""Figures over many jobs: strips of runs, hosts, lanes in time, charts, comparisons. SQL, and the shape of its answer.

Each has a bound on its size that does not depend on how many jobs there are. Live jobs never enter statistics or
charts; hosts and lanes show them as what they are. Pure: SQL and rows in, plain data out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

from simscope_server.messages.protocol import RESULTS, Row, decode_json
from simscope_server.messages.times import LAST_MS, utc
from simscope_server.reading import shapes

RUNS_SHOWN = 20  # of a test


LANES_DEFAULT, LANES_MOST = 5000, 20_000  # jobs of a timeline


STEPS_MOST = 120  # of a chart over time


CLASSES_MOST = 48  # of a histogram


POINTS_MOST = 2000  # of a cloud of points


SLOWER_DEFAULT = 20  # percent


DIFFERENCE_LEAST_MS = 1000  # below this nothing is slower or faster


DIFF_MOST = 500  # entries of each kind


MATCHED_ENOUGH = 0.5  # of the configs: with less, tests may match better


def series_object(row: Row) -> shapes.Series:
    """The newest runs of a series, oldest first."""
    return {"series": row["series"], "runs": decode_json(row["runs"])[::-1]}


# The newest runs of some tests, a JSON array of ids: their passes' runtimes.
PASSES_SHOWN = 100


PASSES = f"""
    SELECT wanted.value AS test_id, (
        SELECT json_group_array(took) FROM (
            SELECT result, counted_runtime_ms AS took FROM jobs
            WHERE test_id = wanted.value AND result <> 0 ORDER BY regression_id DESC LIMIT {PASSES_SHOWN})
        WHERE result = 1 AND took IS NOT NULL) AS passes
    FROM json_each(?) AS wanted
"""


# The jobs of some live regressions, a JSON array of ids, that have been running longest: those that may be slow.
LONGEST_LOOKED_AT = 100


LONGEST_LIVE = f"""
    SELECT wanted.value AS regression_id, j.test_id, j.running_at
    FROM json_each(?) AS wanted JOIN job j ON j.id IN (
        SELECT id FROM job WHERE regression_id = wanted.value AND result = 0 AND running_at IS NOT NULL
        ORDER BY running_at LIMIT {LONGEST_LOOKED_AT})
    WHERE j.test_id IS NOT NULL
"""


# What became of a test in earlier regressions: those of the same series, or, where there is none, all. A regression has
# one row, with one job: that of the same seed, else a failed one, else one that passed; of several the newest. Over all
# jobs of the test there are counts, and the mean runtime of the passes and of the fails.
_EARLIER_ROW = """
    SELECT r.id AS regression_id, r.name AS regression, r.number, count(*) AS jobs, sum(j.result = 1) AS pass,
           sum(j.result = 2) AS fail, sum(j.result = 3) AS skip,
           coalesce(max(j.id) FILTER (WHERE j.seed = :seed AND j.result = 2), max(j.id) FILTER (WHERE j.seed = :seed),
                    max(j.id) FILTER (WHERE j.result = 2), max(j.id) FILTER (WHERE j.result = 1), max(j.id)) AS job,
           CAST(avg(j.counted_runtime_ms) FILTER (WHERE j.result = 1) AS INTEGER) AS pass_ms,
           CAST(avg(j.counted_runtime_ms) FILTER (WHERE j.result = 2) AS INTEGER) AS fail_ms
"""


EARLIER_IN_SERIES = f"""
    {_EARLIER_ROW}
    FROM (
        SELECT id, name, number FROM regression AS r
        WHERE r.series = :series AND r.number < :number AND r.tanked_at IS NULL
        ORDER BY r.number DESC LIMIT 100) AS r
    JOIN jobs AS j ON j.test_id = :test AND j.regression_id = r.id AND j.result <> 0
    GROUP BY r.id ORDER BY r.number DESC LIMIT :limit
"""


EARLIER = f"""
    {_EARLIER_ROW}
    FROM jobs AS j JOIN regression AS r ON r.id = j.regression_id
    WHERE j.test_id = :test AND j.regression_id < :regression AND j.result <> 0 AND r.tanked_at IS NULL
    GROUP BY j.regression_id ORDER BY j.regression_id DESC LIMIT :limit
"""


EARLIER_JOBS = """
    SELECT id, result_name AS result, counted_runtime_ms AS runtime_ms, host, seed,
           coalesce(finish_at, done_at) AS finished_at
    FROM jobs WHERE id IN (SELECT value FROM json_each(?))
"""


def earlier_object(row: Row, job: Row, seed: str | None) -> shapes.EarlierRun:
    """What became of a test in one regression; `job` stands for it, with what is its own, and `seed` is looked for."""
    return {
        "regression": row["regression"],
        "regression_id": row["regression_id"],
        "number": row["number"],
        "jobs": row["jobs"],
        "pass": row["pass"],
        "fail": row["fail"],
        "skip": row["skip"],
        "job": row["job"],
        "result": job["result"],
        "runtime_ms": job["runtime_ms"],
        "finished_at": utc(job["finished_at"]),
        "host": job["host"],
        "seed": job["seed"],
        "mean_runtime_ms": {"pass": row["pass_ms"], "fail": row["fail_ms"]}.get(job["result"]),
        "same_seed": seed is not None and job["seed"] == seed,
    }


_ENDED = f"coalesce(finish_at, min({LAST_MS}, start_at + coalesce(runtime_ms, compute_ms)), done_at)"


TIMELINE = f"""
    WITH timed AS (
        SELECT id, host, result, coalesce(start_at, running_at, {_ENDED} - counted_runtime_ms, submitted_at) AS begins,
               CASE WHEN result <> 0 THEN {_ENDED} END AS ends
        FROM jobs WHERE regression_id = :regression),
    bar AS (SELECT id, host, result, begins, max(begins, coalesce(ends, :now)) AS ends FROM timed)
    SELECT *, count(*) OVER () AS jobs FROM bar WHERE begins <= :until AND ends >= :since
    ORDER BY result = 0 DESC, result = 2 DESC, ends - begins DESC, id LIMIT :most
"""


def timeline_object(rows: Sequence[Row], now: int) -> shapes.Timeline:
    """Lanes in time as arrays of equal length, ordered by start; times in ms since `from`."""
    bars = sorted(rows, key=lambda row: (row["begins"], row["id"]))
    hosts = sorted({row["host"] or "" for row in bars})
    lane = {host: place for place, host in enumerate(hosts)}
    first = bars[0]["begins"] if bars else now
    return {
        "from": utc(first),
        "to": utc(max((row["ends"] for row in bars), default=now)),
        "now": utc(now),
        "hosts": hosts,
        "jobs": bars[0]["jobs"] if bars else 0,
        "shown": len(bars),
        "id": [row["id"] for row in bars],
        "host": [lane[row["host"] or ""] for row in bars],
        "start": [row["begins"] - first for row in bars],
        "length": [row["ends"] - row["begins"] if row["result"] else None for row in bars],
        "result": [row["result"] for row in bars],
    }


# What charts are drawn from: jobs that have their publisher's verdict, counted by classes in the database; `left_out`
# are those that were given up without. A job ended when its publisher says so, else when the daemon heard of it.
_DONE = f"""
    (SELECT id, result, cycles, counted_runtime_ms AS took, {_ENDED} AS ended
     FROM jobs WHERE regression_id = :regression AND result <> 0 AND state = 'done')
"""


SPAN = f"""
    SELECT count(*) AS jobs, min(ended) AS first, max(ended) AS last,
           min(took) FILTER (WHERE result <> 3) AS least, max(took) FILTER (WHERE result <> 3) AS most,
           count(*) FILTER (WHERE result = 1 AND cycles >= 0 AND took >= 0) AS pass_points,
           count(*) FILTER (WHERE result = 2 AND cycles >= 0 AND took >= 0) AS fail_points,
           (SELECT count(*) FROM job WHERE regression_id = :regression AND result <> 0 AND state <> 'done') AS left_out
    FROM {_DONE}
"""


FINISHED = f"""
    SELECT (ended - :first) / :step AS class, result, count(*) AS n
    FROM {_DONE} WHERE ended BETWEEN :first AND :last GROUP BY 1, 2
"""


RUNTIMES = f"""
    SELECT {{place}} AS class, result, count(*) AS n FROM {_DONE} WHERE result <> 3 AND took IS NOT NULL GROUP BY 1, 2
"""


POINTS = f"""
    SELECT id, result, cycles, took FROM (
        SELECT *, row_number() OVER (PARTITION BY result ORDER BY id) AS place FROM {_DONE}
        WHERE result <> 3 AND cycles >= 0 AND took >= 0)
    WHERE place % CASE result WHEN 2 THEN :every_fail ELSE :every_pass END = 0
"""


_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)


STEPS_MS = (1000, 2000, 5000, 10_000, 15_000, 30_000, *(60_000 * minutes for minutes in _MINUTES))


def step_of(span_ms: int) -> int:
    """The shortest step of time, a round one, of which STEPS_MOST cover a span."""
    known = (step for step in STEPS_MS if span_ms // step < STEPS_MOST)
    return next(known, (span_ms // STEPS_MOST // STEPS_MS[-1] + 1) * STEPS_MS[-1])


def finished_object(rows: Iterable[Row], first: int | None, last: int | None, step: int) -> shapes.Finished:
    """How many jobs finished in each step of time, by result."""
    steps = 0 if first is None or last is None else (last - first) // step + 1
    counts = {name: [0] * steps for name in ("pass", "fail", "skip")}
    for row in rows:
        counts[RESULTS[row["result"]]][row["class"]] = row["n"]
    return {
        "from": utc(first),
        "step_ms": step,
        "pass": counts["pass"],
        "fail": counts["fail"],
        "skip": counts["skip"],
    }


def edges_between(least: int | None, most: int | None) -> list[int]:
    """The edges of classes whose width grows with the value, eight to a tenfold if that is few enough; n + 1 of n."""
    if least is None or most is None:
        return []
    low, high = max(1, least), max(1, most) + 1
    tenfolds = math.log10(high / low)
    classes = max(1, min(CLASSES_MOST, math.ceil(8 * tenfolds)))
    inner = {round(low * 10 ** (tenfolds * place / classes)) for place in range(1, classes)}
    return [min(least, low), *sorted(inner - {low, high}), high]


def class_of(column: str, edges: Sequence[int]) -> str:
    """The number of the class that a column's value falls into, as SQL."""
    tests = "".join(f" WHEN {column} < {edge} THEN {place}" for place, edge in enumerate(edges[1:-1]))
    return f"CASE{tests} ELSE {len(edges) - 2} END" if tests else "0"


def histogram(rows: Iterable[Row], edges: Sequence[int]) -> shapes.Runtimes:
    """How many jobs there are in each class of runtime, by result."""
    counts = {name: [0] * (len(edges) - 1 if edges else 0) for name in ("pass", "fail")}
    for row in rows:
        counts["fail" if row["result"] == 2 else "pass"][row["class"]] = row["n"]
    return {"edges_ms": list(edges) or None, "pass": counts["pass"], "fail": counts["fail"]}


def every_nth(count: int, most: int) -> int:
    """Take every so manieth of `count`, and there are at most `most`."""
    return max(1, math.ceil(count / most)) if most else 1


def shares(passes: int, fails: int) -> dict[str, int]:
    """Which points are taken so that there are POINTS_MOST at most: fails are rarer and get half, if they want."""
    fail_share = min(fails, POINTS_MOST // 2)
    return {"every_fail": every_nth(fails, fail_share), "every_pass": every_nth(passes, POINTS_MOST - fail_share)}


def points_object(rows: Sequence[Row], known: int) -> shapes.Points:
    """Runtime against cycles as arrays of equal length."""
    return {
        "shown": len(rows),
        "of": known,
        "id": [row["id"] for row in rows],
        "runtime_ms": [row["took"] for row in rows],
        "cycles": [row["cycles"] for row in rows],
        "result": [row["result"] for row in rows],
    }


# Jobs of two regressions side by side, matched by their config or by their test. What stands for several jobs (seeds)
# has failed if one of them has. Live jobs take no part, but what is live in a run is not missing there. `job` and
# `base_job` are an example's id, a failing one where there is one; `took` is the mean over the passes. Both runs are
# grouped at once, and of each kind of difference no more entries are made than are shown.
_SIDE = """
    count(*) FILTER (WHERE {here} AND result <> 0) AS {of}jobs,
    count(*) FILTER (WHERE {here} AND result = 2) AS {of}fails,
    max({here} AND result IN (1, 2)) AS {of}ran, max({here} AND result = 0) AS {of}live,
    coalesce(min(id) FILTER (WHERE {here} AND result = 2), min(id) FILTER (WHERE {here} AND result <> 0)) AS {of}job,
    avg(counted_runtime_ms) FILTER (WHERE {here} AND result = 1) AS {of}took
"""


_PAIR = f"""
    SELECT {{column}} AS what, {_SIDE.format(here="regression_id = :here", of="")},
           {_SIDE.format(here="regression_id = :there", of="base_")}
    FROM jobs WHERE regression_id IN (:here, :there) AND {{column}} IS NOT NULL GROUP BY {{column}}
"""


CHANGED_KINDS = {
    "newly_failing": "fails AND base_jobs AND NOT base_fails",
    "fixed": "base_fails AND ran AND NOT fails",
    "still_failing": "fails AND base_fails",
    "missing": "base_jobs AND NOT jobs AND NOT live",
    "added": "jobs AND NOT base_jobs AND NOT base_live",
}


TIMED_KINDS = {
    "slower": f"percent >= :slower AND took - base_took >= {DIFFERENCE_LEAST_MS}",
    "faster": f"percent <= -:slower AND base_took - took >= {DIFFERENCE_LEAST_MS}",
}


# Texts that differ in the number at their end, as most configs do in their seed, in the order of that number.
_BY_NUMBER = "rtrim(title, '0123456789'), length(title), title"


def _entries_of(kind: str, condition: str, rank: str) -> str:
    """The first :limit entries of a kind, one at least, each with the number of all."""
    return f"""
        SELECT * FROM (
            SELECT '{kind}' AS kind, (SELECT count(*) FROM pair WHERE {condition}) AS number, {rank} AS rank, *
            FROM pair WHERE {condition} ORDER BY rank, {_BY_NUMBER} LIMIT max(1, :limit))
    """


def _diff(column: str, title: str) -> str:
    parts = [_entries_of(kind, condition, "0") for kind, condition in CHANGED_KINDS.items()]
    parts += [_entries_of(kind, condition, "-abs(percent)") for kind, condition in TIMED_KINDS.items()]
    return f"""
        WITH pair AS MATERIALIZED (
            SELECT *, {title} AS title, 100.0 * (took - base_took) / base_took AS percent
            FROM ({_PAIR.format(column=column)}))
        SELECT * FROM (
            SELECT 'matched' AS kind, count(*) AS number, 0 AS rank, * FROM pair WHERE jobs AND base_jobs
            UNION ALL {"UNION ALL".join(parts)})
        ORDER BY kind, rank, {_BY_NUMBER}
    """


DIFF = {"config": _diff("config", "what"), "test": _diff("test_id", "(SELECT title FROM test WHERE id = what)")}


DIFF_BY = (*DIFF, "auto")


# Of what publishers reported: jobs that were given up are in signatures of the daemon's own, as is what overflows.
DIFF_SIGNATURES = """
    SELECT s.id, s.category, s.title, count(*) FILTER (WHERE j.regression_id = :here) AS here,
           count(*) FILTER (WHERE j.regression_id = :there) AS there
    FROM job AS j JOIN signature AS s ON s.id = j.signature_id
    WHERE j.regression_id IN (:here, :there) AND j.result = 2 AND j.state = 'done' AND s.title <> :overflow
    GROUP BY s.id
    ORDER BY max(here, there) DESC, s.id
"""


def diff_object(by: str, rows: Iterable[Row], signatures: Sequence[Row], limit: int) -> shapes.Differences:
    """What differs, matched by "config" or "test": counts of everything, and of each kind the first `limit` entries."""
    found = {str(kind): list(group) for kind, group in itertools.groupby(rows, key=lambda row: row["kind"])}
    shown = {kind: found.get(kind, [])[:limit] for kind in (*CHANGED_KINDS, *TIMED_KINDS)}
    new = [row for row in signatures if not row["there"]]
    fixed = [row for row in signatures if not row["here"]]
    counts = {kind: found[kind][0]["number"] if kind in found else 0 for kind in shown}
    told = {
        "by": by,
        "matched": found["matched"][0]["number"],
        "counts": {**counts, "new_signatures": len(new), "fixed_signatures": len(fixed)},
        **{kind: [_changed(row, by) for row in shown[kind]] for kind in CHANGED_KINDS},
        **{kind: [_timed(row, by) for row in shown[kind]] for kind in TIMED_KINDS},
        "signatures": {
            "new": [_signature(row, "here") for row in new[:limit]],
            "fixed": [_signature(row, "there") for row in fixed[:limit]],
            "still": len(signatures) - len(new) - len(fixed),
        },
    }
    return cast(shapes.Differences, told)


def share_matched(differ: shapes.Differences) -> float:
    """How much of what was run has been run before."""
    matched, added = differ["matched"], differ["counts"]["added"]
    return matched / max(1, matched + added)


def _changed(row: Row, by: str) -> dict[str, Any]:
    names = ("jobs", "fails", "base_jobs", "base_fails", "job", "base_job")
    return {by: row["title"], **{name: row[name] for name in names}}


def _timed(row: Row, by: str) -> dict[str, Any]:
    times = {"runtime_ms": round(row["took"]), "base_runtime_ms": round(row["base_took"])}
    return {**_changed(row, by), **times, "percent": round(row["percent"], 1)}


def _signature(row: Row, where: str) -> shapes.SignatureCount:
    return {"id": row["id"], "category": row["category"], "title": row["title"], "count": row[where]}


# A badge: two boxes with text, as wide as the text needs.
GREY, GREEN, ORANGE, RED, BLUE = "#666", "#2b7a2b", "#9a5b00", "#b3261e", "#2458a6"


def verdict_of(row: Row | None) -> tuple[str, str]:
    """What a badge says of the latest run of a series, and in which colour. None: there is no such run."""
    if row is None:
        return "unknown", GREY
    judged = row["n_pass"] + row["n_fail"]
    share = round(100 * row["n_pass"] / judged, 1) if judged else None
    rate = "no results" if share is None else f"{min(share, 99.9) if row['n_fail'] else share:g} % pass"
    if row["status"] == "live":
        return f"live, {rate}", BLUE
    if row["status"] == "aborted":
        return f"aborted, {rate}", ORANGE
    return rate, GREY if not judged else GREEN if not row["n_fail"] else RED


def badge(label: str, text: str, colour: str) -> str:
    """The image, SVG. Long labels lose their beginning, where series differ least."""
    label = label if len(label) <= 40 else "…" + label[-39:]
    left, right = 10 + _width_of(label), 10 + _width_of(text)
    label, text = _escaped(label), _escaped(text)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{label}: {text}"><title>{label}: {text}</title>'
        f'<rect width="{left}" height="20" fill="#444"/><rect x="{left}" width="{right}" height="20" fill="{colour}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{left / 2:g}" y="14">{label}</text>'
        f'<text x="{left + right / 2:g}" y="14">{text}</text></g></svg>'
    )


def _width_of(text: str) -> int:
    """About how many pixels a text of a badge takes."""
    return sum(4 if letter in "fijlrtI1.,:;!|'/ -" else 11 if letter in "mwMW%@" else 7 for letter in text)


def _escaped(text: str) -> str:
    """Text as it may stand in XML: the four signs that mean something, and nothing that XML cannot hold."""
    for sign, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(sign, name)
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
