"""Rows of the database as the HTTP interface shows them.

Pure: a row (of a view in schema.sql) and a Viewpoint in, plain data for JSON out. Times leave as RFC 3339 in UTC,
durations in milliseconds.
"""

from __future__ import annotations

import math
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

from msgspec import convert

from simscope_server.ledger.rules import limit_that_holds
from simscope_server.messages.protocol import API, LIVE, RESULTS, TEXT_COLUMNS, Row, decode_json, json_object
from simscope_server.messages.times import LAST_MS, utc
from simscope_server.reading import shapes
from simscope_server.settings import Config


class Viewpoint(NamedTuple):
    """From when and where rows are looked at: both clocks, the time limits, what links begin with, and what is known of
    live regressions beside their rows: until when (monotonic), and how many of their jobs are slow."""

    now: int  # ms since 1970
    tick: int  # uptime clock
    timeout_ms: int  # autotimeouthours; 0 never
    prune_ms: int  # prunelivedays; 0 never
    base: str = ""
    slow: Mapping[int, tuple[float, int]] = MappingProxyType({})

    def at_tick(self, *ticks: int | None) -> str | None:
        """When the first of some ticks will come, if the daemon stays up; None if there is none."""
        known = [tick for tick in ticks if tick is not None]
        return utc(self.now + min(known) - self.tick) if known else None


class Estimate(NamedTuple):
    """When something will be over, in ms since 1970: most likely at `at`, hardly before `low` or after `high` (None: no
    bound can be told), and what that is judged by."""

    at: int
    low: int | None
    high: int | None
    basis: str


def estimate_end(now: int, started: int, total: int | None, done: int, earlier_ms: Sequence[int]) -> Estimate | None:
    """When a live regression will be over; None where nothing can be said, or it would not be before the year 10,000.

    The present rate speaks with the weight of what is done, the median duration of earlier runs of the series with the
    rest. Never in the past: a run that is late by its own history is judged by its rate alone. The bounds are those of
    the two together: what is done has come by chance, so its rate is sure to about 2/sqrt(done) of it; earlier runs
    say from when to when they ended."""
    if not total or done >= total:
        return None
    by_rate = _by_rate(now, started, total, done) if done else None
    by_history = _by_history(now, started, earlier_ms)
    found = _weighed(done / total, by_rate, by_history) if by_rate and by_history else by_rate or by_history
    return None if found is None or max(found.at, found.high or found.at) > LAST_MS else found


def _weighed(share: float, by_rate: Estimate, by_history: Estimate) -> Estimate:
    """The two together; `share` is the weight of the rate."""
    at = round(share * by_rate.at + (1 - share) * by_history.at)
    low = min(known for known in (by_rate.low, by_history.low, at) if known is not None)
    highs = [known for known in (by_rate.high, by_history.high) if known is not None]
    return Estimate(at, low, max(*highs, at) if highs else None, "rate+history")


def _by_rate(now: int, started: int, total: int, done: int) -> Estimate:
    left = max(0, now - started) * (total - done) / done
    doubt = 2 / math.sqrt(done)
    high = round(now + left / (1 - doubt)) if doubt < 1 else None
    return Estimate(round(now + left), round(now + left / (1 + doubt)), high, "rate")


def _by_history(now: int, started: int, earlier_ms: Sequence[int]) -> Estimate | None:
    """By the durations of earlier runs; a single one bounds nothing."""
    usual = sorted(earlier_ms)[len(earlier_ms) // 2] if earlier_ms else None
    if usual is None or started + usual <= now:
        return None
    if len(earlier_ms) < 2:
        return Estimate(started + usual, None, None, "history")
    return Estimate(started + usual, max(now, started + min(earlier_ms)), started + max(earlier_ms), "history")


def estimate_object(estimate: Estimate | None) -> shapes.Estimate | None:
    if estimate is None:
        return None
    return {
        "at": utc(estimate.at),
        "low": utc(estimate.low),
        "high": utc(estimate.high),
        "basis": estimate.basis,
    }


STALLED_MS = 60_000  # a shorter silence says nothing


def is_stalled(row: Row, tick: int) -> bool:
    """Has a live regression been silent for so long that its rate until then says nothing any more? That is ten times
    what lay between two verdicts, and three times what a job takes: jobs that start together end together."""
    if not row["n_done"]:
        return False
    gap = (row["active_tick"] - row["first_tick"]) / row["n_done"]
    usual = row["sum_runtime_ms"] / row["n_done"]
    return bool(tick - row["active_tick"] > max(STALLED_MS, 10 * gap, 3 * usual))


def regression_object(row: Row, seen: Viewpoint) -> shapes.Regression:
    """A regression."""
    fields = decode_json(row["fields"])
    known = row["submitted"] if row["submitted"] and row["submitted"] > 0 else None
    done = row["n_done"]
    live = row["status"] == "live"
    earlier = decode_json(row["earlier"] or "[]")
    stalled = live and is_stalled(row, seen.tick)
    estimate = estimate_end(seen.now, row["created_at"], known, done, earlier) if live and not stalled else None
    return {
        "id": row["id"],
        "name": row["name"],
        "series": row["series"],
        "number": row["number"],
        "status": row["status"],
        "reason": row["status_reason"],
        "component": row["component"],
        "project": row["project"],
        "branch": row["branch"],
        "tag": row["tag"],
        "submitted": row["submitted"],
        "running": row["running"],
        "counts": {
            "pass": row["n_pass"],
            "fail": row["n_fail"],
            "skip": row["n_skip"],
            "live": row["n_live"],
            "migrated": row["n_migrated"],
        },
        "new_signatures": row["new_signatures"],
        "slow": seen.slow.get(row["id"], (0.0, 0))[1] if live and row["n_live"] else 0,
        "progress": {
            "done": done,
            "total": known,
            "percent": min(100.0, round(100 * done / known, 1)) if known else None,
        },
        "eta_at": utc(estimate.at) if estimate else None,
        "eta": estimate_object(estimate),
        "stalled_since": utc(row["last_activity_at"]) if stalled else None,
        "started_at": _started(row, fields.get("starttime")),
        "finished_at": utc(row["ended_at"]),
        "last_activity_at": utc(row["last_activity_at"]),
        "due_at": _regression_due(row, seen) if live else None,
        "elapsed_ms": (row["ended_at"] or seen.now) - row["created_at"],
        "stats": _stats(row),
        "custom_metadata": fields.pop("custom_metadata", []),
        "fields": fields,
        "version": row["version"],
        "_links": _regression_links(row, seen.base),
    }


def _stats(row: Row) -> shapes.Stats:
    judged = row["n_pass"] + row["n_fail"]
    return {
        "compute_ms": row["sum_compute_ms"],
        "runtime_ms": row["sum_runtime_ms"],
        "cycles": row["sum_cycles"],
        "cycles_per_s": _per_second(row["sum_cycles"], row["sum_cycle_compute_ms"]),
        "pass_rate": round(row["n_pass"] / judged, 4) if judged else None,
    }


def _regression_links(row: Row, base: str) -> shapes.Links:
    """Where a regression and what belongs to it is; on the page, one named like an id is found by its id only."""
    is_like_id = row["name"].isascii() and row["name"].isdigit()
    web_path = row["id"] if is_like_id else urllib.parse.quote(row["name"], safe="")
    own = f"{base}{API}/regressions/{row['id']}"
    return {
        "self": {"href": own},
        "jobs": {"href": f"{own}/jobs"},
        "signatures": {"href": f"{own}/signatures"},
        "diff": {"href": f"{own}/diff"},
        "history": {"href": f"{own}/history"},
        "events": {"href": f"{base}{API}/events?regression={row['id']}"},
        "web": {"href": f"{base}/r/{web_path}"},
    }


def _started(row: Row, said: str | None) -> str | None:
    """When a regression started: as was said last, else when its first message came."""
    if said is None:
        return utc(row["created_at"])
    return utc((convert(said, datetime) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))


def _regression_due(row: Row, seen: Viewpoint) -> str | None:
    silent = row["active_tick"] + seen.timeout_ms if seen.timeout_ms else None
    return seen.at_tick(silent, row["limit_tick"])


class Usual(NamedTuple):
    """How long the passes of a test take, in ms: the median, and what only one in a hundred exceeds."""

    median_ms: int
    slow_after_ms: int


PASSES_LEAST = 5  # with fewer, nothing is usual


def usual_of(passes_ms: Sequence[int]) -> Usual | None:
    """Of the runtimes of passes; None if they are too few to tell."""
    if len(passes_ms) < PASSES_LEAST:
        return None
    ordered = sorted(passes_ms)
    return Usual(ordered[len(ordered) // 2], ordered[math.ceil(0.99 * len(ordered)) - 1])


def is_slow(running_at: int | None, usual: Usual | None, now: int) -> bool:
    """Does a live job take longer than jobs of its test do?"""
    return usual is not None and running_at is not None and now - running_at > usual.slow_after_ms


def job_object(row: Row, seen: Viewpoint, usual: Usual | None = None) -> shapes.Job:
    """A job. `usual` is what jobs of its test take; it is shown as long as the job is live."""
    extra = json_object(row["extra"])
    live = row["result"] == LIVE
    since = row["running_at"] or row["submitted_at"]
    elapsed = seen.now - since if live else row["counted_runtime_ms"]
    usual = usual if live else None
    shown: shapes.JobBesideTexts = {
        "id": row["id"],
        "regression": row["regression"],
        "regression_id": row["regression_id"],
        "uniqueid": row["key"] if isinstance(row["key"], str) else None,
        "test": row["test"],
        "result": row["result_name"],
        "done": not live,
        "migrated": bool(row["migrated"]),
        "progress": extra.pop("progress", None),
        "start_time": utc(row["start_at"]),
        "finish_time": utc(row["finish_at"]),
        "submitted_at": utc(row["submitted_at"]),
        "started_at": utc(row["running_at"] if live or row["running_at"] is not None else row["start_at"]),
        "finished_at": utc(row["done_at"]),
        "last_seen_at": utc(row["seen_at"]),
        "due_at": _job_due(row, seen) if live else None,
        "elapsed_ms": elapsed,
        "usual_ms": usual.median_ms if usual else None,
        "slow_after_ms": usual.slow_after_ms if usual else None,
        "slow": is_slow(row["running_at"], usual, seen.now),
        "time_limit_ms": limit_that_holds(row["time_limit_ms"], row["extended_ms"]),
        "compute_ms": row["compute_ms"],
        "runtime_ms": row["counted_runtime_ms"],
        "cycles": row["cycles"],
        "cycles_per_s": _per_second(row["cycles"], row["compute_ms"]),
        "exit_code": row["exit_code"],
        "fail_message": row["fail_message"],
        "signature": {"id": row["signature_id"], "title": row["signature"]} if row["signature_id"] else None,
        "metadata": [list(pair) for pair in json_object(row["metadata"]).items()],
        "env": extra.pop("env", {}),
        "results": extra.pop("results", ""),
        "files": extra.pop("files", []),
        "extra": extra,
        "version": row["version"],
        "_links": _job_links(row, seen.base),
    }
    return {"id": row["id"], **{name: row[name] for name in TEXT_COLUMNS}, **shown}


def _job_links(row: Row, base: str) -> shapes.Links:
    own = f"{base}{API}/jobs/{row['id']}"
    return {
        "self": {"href": own},
        "status": {"href": f"{own}/status"},
        "history": {"href": f"{own}/history"},
        "earlier": {"href": f"{own}/earlier"},
        "logs": {"href": f"{own}/logs"},
        "files": {"href": f"{own}/files"},
        "regression": {"href": f"{base}{API}/regressions/{row['regression_id']}"},
        "events": {"href": f"{base}{API}/events?job={row['id']}"},
        "web": {"href": f"{base}/j/{row['id']}"},
    }


def job_status(row: Row) -> shapes.JobStatus:
    """What a job's publisher waits for."""
    return {
        "id": row["id"],
        "result": row["result_name"],
        "reason": row["reason"],
        "done": row["result"] != LIVE,
        "version": row["version"],
    }


def _job_due(row: Row, seen: Viewpoint) -> str | None:
    asleep = row["seen_tick"] + seen.prune_ms if seen.prune_ms else None
    return seen.at_tick(asleep, row["limit_tick"])


def _per_second(count: int | None, ms: int | None) -> float | None:
    return round(1000 * count / ms, 1) if count is not None and ms else None


Explain = Callable[[str], list[tuple[str, bool]]]


def signature_object(row: Row, explain: Explain, overflow: str) -> shapes.Signature:
    """A fail bucket of a regression; `new` if it was seen there first, which those of the daemon's own never are.

    `overflow` is the title of the one for what overflows. `explain` tells which pieces of a message its title leaves
    out; a title that the publisher gave leaves out none."""
    example = decode_json(row["example"])
    bucket, message = example.pop("bucket"), example["fail_message"]
    is_reported = bool(row["reported"]) and row["title"] != overflow
    example["pieces"] = None if bucket or not message else explain(message)
    return {
        "id": row["id"],
        "category": row["category"],
        "title": row["title"],
        "count": row["n"],
        "new": is_reported and row["first_regression_id"] == row["regression_id"],
        "first_seen_at": utc(row["first_seen_at"]),
        "last_seen_at": utc(row["last_seen_at"]),
        "first_regression": {"id": row["first_regression_id"], "name": row["first_regression"]},
        "elsewhere": {"count": row["elsewhere_count"], "series": decode_json(row["elsewhere"])},
        "hosts": decode_json(row["hosts"]),
        "hosts_count": row["hosts_count"],
        "example": example,
    }


def host_object(row: Row) -> shapes.Host:
    """What became of the jobs of a regression on one host."""
    judged = row["n_pass"] + row["n_fail"]
    return {
        "host": row["host"],
        "pass": row["n_pass"],
        "fail": row["n_fail"],
        "skip": row["n_skip"],
        "live": row["n_live"],
        "runtime_ms": round(row["runtime_ms"]),
        "fail_rate": round(row["n_fail"] / judged, 4) if judged else None,
    }


def history_object(row: Row) -> shapes.HistoryEntry:
    """An event as an entry of the history of a job or a regression."""
    event = event_object(row)
    data = event["data"]
    entry: shapes.HistoryEntry = {
        "seq": event["seq"],
        "created": event["at"],
        "type": event["type"],
        "result": data.get("result"),
        "reason": data.get("reason"),
        "phase": data.get("phase"),
        "description": data.get("description"),
        "created_by": data["created_by"],
    }
    if "progress" in data:
        entry["progress"] = data["progress"]
    if "changed" in data:
        entry["changed"] = data["changed"]
    return entry


def stored_receipt(row: Row) -> shapes.Receipt:
    """A receipt as the database keeps it."""
    return receipt_object(row, decode_json(row["details"] or "[]"))


def receipt_object(row: Row, details: list[Any]) -> shapes.Receipt:
    """A receipt: what became of a delivery, with the messages that are to be told one by one."""
    return {
        "id": row["id"],
        "name": row["name"],
        "received_at": utc(row["received_at"]),
        "messages": row["applied"] + row["duplicate"] + row["ignored"] + row["rejected"],
        "applied": row["applied"],
        "duplicate": row["duplicate"],
        "ignored": row["ignored"],
        "rejected": row["rejected"],
        "details": details,
    }


def event_object(row: Row) -> shapes.Event:
    """An event as the API shows it."""
    data = json_object(row["data"])
    if row["result"] is not None:
        data = {"result": RESULTS[row["result"]], **data}
    return {
        "seq": row["seq"],
        "at": utc(row["at"]),
        "type": row["type"],
        "regression": row["regression"],
        "regression_id": row["regression_id"],
        "job": row["job_id"],
        "data": {**data, "created_by": row["origin"]},
    }


def about_object(config: Config, version: str, epoch: str, seq: int, now: int) -> shapes.About:
    """What the daemon tells of itself."""
    return {
        "name": "simscoped",
        "version": version,
        "epoch": epoch,
        "seq": seq,
        "now": utc(now) or "",
        "live_enabled": config.enablelivejobs,
        "token_required": bool(config.token),
        "series_separator": config.seriesseparator,
    }
