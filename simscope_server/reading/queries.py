"""Lists over HTTP: what can be filtered, how it is sorted, and where the next page begins.

Each list is described once, as a Listing: columns and views of schema.sql, its filters and its orders. From that and
the parameters of a request, page() makes one SQL statement with keyset paging: a page begins behind the sort key of the
last row of the page before, so rows that arrive in between neither repeat nor hide any, and page 1,000 costs what the
first costs. Pure: text in, SQL out.
"""

from __future__ import annotations

import base64
import binascii
import glob
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from simscope_server.messages.protocol import LIMIT_DEFAULT, LIMIT_MOST, OUTCOMES, RESULTS

STATUSES = ("live", "complete", "aborted", "tanked")


class BadQuery(ValueError):
    """A parameter that cannot be used: `name`, `value`, and the sentence that says what is accepted."""

    def __init__(self, name: str, value: str, accepted: str) -> None:
        super().__init__(f"{name}={value} is not accepted; {name} must be {accepted}")
        self.name = name


class Condition(NamedTuple):
    """A piece of a WHERE clause and its parameters."""

    sql: str
    parameters: tuple[Any, ...] = ()


Filter = Callable[[str, str], Condition]  # (parameter name, value) -> Condition


NOW = "{now}"  # stands for the moment of the first page, in ms since 1970, where it is the first key of an order


class Key(NamedTuple):
    """One column of a sort key."""

    expression: str
    descending: bool


@dataclass(frozen=True)
class Listing:
    """A list that can be asked for. The last key of each order is unique, or pages could lose rows."""

    columns: str  # SELECT …
    source: str  # FROM …
    filters: Mapping[str, Filter]
    orders: Mapping[str, tuple[Key, ...]]  # the first one is the default
    more: str = ""  # columns that are found only for the rows of the page, which is called page there
    join: str = ""  # what they are found in, as a JOIN


class Page(NamedTuple):
    """A statement that yields one row more than `limit` if there is a next page; key_0, key_1 … are its sort key."""

    sql: str
    parameters: tuple[Any, ...]
    limit: int
    order: str
    keys: int


def equal(column: str) -> Filter:
    """The parameter is the column's value."""
    return lambda name, value: Condition(f"{column} = ?", (value,))


def path_or_name(column: str) -> Filter:
    """The parameter is the column's value, or without a "/" the bare file name of the path there."""

    def condition(name: str, value: str) -> Condition:
        if "/" in value or "\0" in value:
            return equal(column)(name, value)
        return Condition(f"({column} = ? OR {column} GLOB ?)", (value, f"*/{glob.escape(value)}"))

    return condition


def one_of(column: str, words: Sequence[str], *, numbered: bool = False) -> Filter:
    """The parameter is one or more of some words, separated by commas; `numbered` columns hold their positions."""

    def condition(name: str, value: str) -> Condition:
        chosen = value.split(",")
        if not set(chosen) <= set(words):
            raise BadQuery(name, value, "one or more of " + ", ".join(words))
        places = ", ".join("?" for _ in chosen)
        return Condition(f"{column} IN ({places})", tuple(words.index(word) if numbered else word for word in chosen))

    return condition


WORDS_MOST = 20  # of a text to search for; what follows them counts as one


def contains(*columns: str) -> Filter:
    """Each word of the parameter occurs, whatever the case of its letters, in one of the columns. No text holds U+0000,
    behind which SQLite would not look."""
    test = "(" + " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in columns) + ")"

    def condition(name: str, value: str) -> Condition:
        if "\0" in value:
            return Condition("0")
        words = value.strip().split(maxsplit=WORDS_MOST)
        patterns = [_like(word) for word in words for _ in columns]
        return Condition(" AND ".join([test] * len(words)) or "1", tuple(patterns))

    return condition


def _like(word: str) -> str:
    """A pattern of LIKE for what contains the word."""
    return "%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def integer(column: str) -> Filter:
    """The parameter is an integer, the column's value."""

    def condition(name: str, value: str) -> Condition:
        return Condition(f"{column} = ?", (whole_number(name, value),))

    return condition


def some(columns: Mapping[str, str]) -> Filter:
    """The parameter names counters of which at least one is above zero."""

    def condition(name: str, value: str) -> Condition:
        if value not in columns:
            raise BadQuery(name, value, "one of " + ", ".join(columns))
        return Condition(f"{columns[value]} > 0")

    return condition


def whole_number(name: str, value: str, least: int = 0, most: int = 2**63 - 1) -> int:
    """A parameter as an integer. Raises BadQuery."""
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and least <= int(value) <= most):
        raise BadQuery(name, value, f"a whole number from {least} to {most}")
    return int(value)


# How long earlier finished runs of the same series took, newest first: for the estimate of a live one's end.
EARLIER_RUNS = """
    CASE WHEN r.status = 'live' THEN (
        SELECT json_group_array(took) FROM (
            SELECT p.ended_at - p.created_at AS took FROM regression AS p
            WHERE p.series = r.series AND p.ended = 'finish' AND p.id <> r.id
            ORDER BY p.number DESC LIMIT 7))
    END AS earlier
"""


REGRESSIONS = Listing(
    columns=f"r.*, {EARLIER_RUNS}",
    source="regressions AS r",
    filters={
        "status": one_of("r.status", STATUSES),
        "q": contains("r.name", "r.component", "r.branch", "r.tag"),
        "series": equal("r.series"),
        "branch": equal("r.branch"),
        "component": equal("r.component"),
    },
    orders={"live": (Key("(r.ended IS NULL)", True), Key("r.id", True))},
)


# What jobs can be sorted by. What is not set comes first.
JOB_KEYS = {
    "id": None,
    "name": "coalesce(j.name, j.config, '')",
    **{word: f"coalesce(j.{word}, '')" for word in ("config", "host", "phase", "seed", "test")},
    "result": "j.result",
    "runtime": "coalesce(j.counted_runtime_ms, -1)",
    "compute": "coalesce(j.compute_ms, -1)",
    "cycles": "coalesce(j.cycles, -1)",
    "cps": "coalesce(1000.0 * j.cycles / nullif(j.compute_ms, 0), -1.0)",
    "started": "coalesce(j.running_at, j.start_at, j.submitted_at)",
    "finished": "coalesce(j.done_at, -1)",
    "seen": "j.seen_at",
}


def job_order(word: str, *, descending: bool) -> tuple[Key, ...]:
    expression = JOB_KEYS[word]
    last = Key("j.id", descending)
    return (last,) if expression is None else (Key(expression, descending), last)


# How long a job has run, or ran: the runtime that it is shown with. Live jobs get on while one turns the pages, so the
# moment from which the first page was looked at goes with the cursor.
ELAPSED = f"CASE WHEN j.result = 0 THEN {NOW} - coalesce(j.running_at, j.submitted_at) ELSE j.counted_runtime_ms END"


JOB_ORDERS = {
    "newest": job_order("id", descending=True),
    "longest": (Key(NOW, True), Key(f"coalesce({ELAPSED}, -1)", True), Key("j.id", True)),
    **{word: job_order(word, descending=False) for word in JOB_KEYS},
    **{f"-{word}": job_order(word, descending=True) for word in JOB_KEYS},
}


# Live jobs are found by their regressions: among all jobs, a million finished ones may lie before the newest live one.
WITH_LIVE_JOBS = Condition("j.regression_id IN (SELECT id FROM regression WHERE n_live > 0)")


# Rows are wide: the page is found and sorted by its keys, then the rows of the page are read.
JOBS = Listing(
    columns="j.id",
    more="wide.*",
    join="JOIN jobs AS wide ON wide.id = page.id",
    source="jobs AS j",
    filters={
        "result": one_of("j.result", RESULTS, numbered=True),
        "signature": integer("j.signature_id"),
        "category": equal("j.category"),
        "host": equal("j.host"),
        "q": contains("j.name", "j.config", "j.host", "j.seed", "j.key", "j.fail_message"),
    },
    orders=JOB_ORDERS,
)


# Of a signature in a regression: the job that shows it soonest, where else it was seen (series, or single runs), newest
# first, the hosts that it gathers on, and whether a publisher reported it: others are the daemon's own.
SIGNATURE_DETAILS = """
    (
        SELECT json_object('id', e.id, 'name', e.name, 'category', e.category, 'config', e.config, 'seed', e.seed,
                           'build', e.build, 'testgroup', e.testgroup, 'jobdir', e.jobdir, 'host', e.host,
                           'username', e.extra ->> '$.username', 'runtime_ms', e.counted_runtime_ms,
                           'bucket', e.bucket, 'fail_message', substr(e.fail_message, 1, 20000))
        FROM jobs AS e
        WHERE e.regression_id = page.regression_id AND e.signature_id = page.id AND e.result = 2
        ORDER BY e.counted_runtime_ms IS NULL, e.counted_runtime_ms, e.id LIMIT 1) AS example,
    (SELECT r.name FROM regression AS r WHERE r.id = page.first_regression_id) AS first_regression,
    (SELECT count(*) FROM sighting AS o WHERE o.signature_id = page.id AND o.series <> page.series) AS elsewhere_count,
    (
        SELECT json_group_array(series) FROM (
            SELECT o.series FROM sighting AS o WHERE o.signature_id = page.id AND o.series <> page.series
            ORDER BY o.last_seen_at DESC, o.series LIMIT 5)) AS elsewhere,
    (
        SELECT json_group_array(json_object('host', host, 'count', n)) FROM (
            SELECT h.host, count(*) AS n FROM job AS h
            WHERE h.regression_id = page.regression_id AND h.signature_id = page.id AND h.result = 2
            AND h.host IS NOT NULL GROUP BY h.host ORDER BY n DESC, h.host LIMIT 3)) AS hosts,
    (
        SELECT count(DISTINCT h.host) FROM job AS h
        WHERE h.regression_id = page.regression_id AND h.signature_id = page.id AND h.result = 2) AS hosts_count,
    EXISTS (
        SELECT 1 FROM job AS d WHERE d.regression_id = page.regression_id AND d.signature_id = page.id
        AND d.result = 2 AND d.state = 'done') AS reported
"""


SIGNATURES = Listing(
    columns="g.*, coalesce(own.series, own.name) AS series",
    source="regression_signatures AS g JOIN regression AS own ON own.id = g.regression_id",
    filters={"category": equal("g.category"), "q": contains("g.title")},
    orders={"largest": (Key("g.n", True), Key("g.id", True))},
    more=SIGNATURE_DETAILS,
)


# Series, and of each its newest runs that are not tanked.
STRIP_RUNS = 20


SERIES = Listing(
    columns="s.*",
    source="(SELECT series, max(id) AS newest FROM regression WHERE series IS NOT NULL GROUP BY series) AS s",
    filters={},
    orders={"newest": (Key("s.newest", True),)},
    more=f"""
    (
        SELECT json_group_array(json_object(
            'id', id, 'name', name, 'number', number, 'status', status, 'pass', n_pass, 'fail', n_fail, 'skip', n_skip,
            'live', n_live, 'pass_rate', round(1.0 * n_pass / nullif(n_pass + n_fail, 0), 4)))
        FROM (
            SELECT * FROM regressions AS r WHERE r.series = page.series AND r.tanked_at IS NULL
            ORDER BY r.number DESC LIMIT {STRIP_RUNS})) AS runs
    """,
)


HOSTS = Listing(
    columns="h.*",
    source="""(
        SELECT regression_id, host, sum(result = 1) AS n_pass, sum(result = 2) AS n_fail, sum(result = 3) AS n_skip,
               sum(result = 0) AS n_live, total(counted_runtime_ms) AS runtime_ms
        FROM jobs GROUP BY regression_id, host) AS h""",
    filters={},
    orders={"failing": (Key("h.n_fail", True), Key("coalesce(h.host, '')", False))},
)


RECEIPTS = Listing(
    columns="*",
    source="receipt",
    filters={"name": path_or_name("name"), "outcome": some({word: word for word in OUTCOMES})},
    orders={"newest": (Key("id", True),)},
)


def page(listing: Listing, wanted: Mapping[str, str], *fixed: Condition, now: int = 0) -> Page:
    """The statement for one page.

    `wanted` are a request's parameters: the filters, `sort`, `limit`, `after`; others are not looked at. `fixed` are
    conditions that hold whatever is wanted, `now` is in ms since 1970. Raises BadQuery."""
    order = wanted.get("sort") or next(iter(listing.orders))
    if order not in listing.orders:
        raise BadQuery("sort", order, "one of " + ", ".join(listing.orders))
    keys = listing.orders[order]
    behind = _read_cursor(wanted["after"], order, keys) if wanted.get("after") else None
    seen_from = behind[0] if behind and keys[0].expression == NOW else now
    keys = tuple(Key(key.expression.replace(NOW, f"{seen_from:d}"), key.descending) for key in keys)
    limit = whole_number("limit", wanted.get("limit") or str(LIMIT_DEFAULT), 1, LIMIT_MOST)
    conditions = list(fixed)
    conditions += [test(name, wanted[name]) for name, test in listing.filters.items() if wanted.get(name)]
    if behind:
        conditions.append(_behind(keys, behind))
    columns = ", ".join([listing.columns, *(f"{key.expression} AS key_{place}" for place, key in enumerate(keys))])
    where = " AND ".join(condition.sql for condition in conditions) or "1"
    by = ", ".join(f"{key.expression} {'DESC' if key.descending else 'ASC'}" for key in keys)
    sql = f"SELECT {columns} FROM {listing.source} WHERE {where} ORDER BY {by} LIMIT ?"
    if listing.more:
        by = ", ".join(f"key_{place} {'DESC' if key.descending else 'ASC'}" for place, key in enumerate(keys))
        sql = f"SELECT page.*, {listing.more} FROM ({sql}) AS page {listing.join} ORDER BY {by}"
    parameters = tuple(value for condition in conditions for value in condition.parameters)
    return Page(sql, (*parameters, limit + 1), limit, order, len(keys))


def _behind(keys: Sequence[Key], values: Sequence[Any]) -> Condition:
    """Rows behind a sort key: (a, b) < (?, ?) for a descending order, spelled out because orders may be mixed."""
    tests, parameters = [], []
    for place, key in enumerate(keys):
        equal_before = [f"{before.expression} = ?" for before in keys[:place]]
        tests.append(" AND ".join([*equal_before, f"{key.expression} {'<' if key.descending else '>'} ?"]))
        parameters += [*values[:place], values[place]]
    return Condition("(" + " OR ".join(f"({test})" for test in tests) + ")", tuple(parameters))


def cursor_behind(found: Page, row: Mapping[str, Any]) -> str:
    """The cursor of the page that begins behind a row."""
    key = [row[f"key_{place}"] for place in range(found.keys)]
    text = json.dumps([found.order, *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str, order: str, keys: Sequence[Key]) -> list[Any]:
    try:
        named, *values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        fits = named == order and len(values) == len(keys) and all(map(_can_be_stored, values))
        fits = fits and (keys[0].expression != NOW or type(values[0]) is int)
    except (ValueError, TypeError, binascii.Error):
        fits = False
    if not fits:
        raise BadQuery("after", cursor[:80], f"the `next` of an earlier page of the same list, sorted by {order}")
    return list(values)


def _can_be_stored(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return value.isprintable() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    return isinstance(value, int) and -(2**63) <= value < 2**63
