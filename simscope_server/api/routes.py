"""Every address of the API: a table that says everything about an address but what its handler does. Pure.

The application is made from it (app.py), and so is the description at /openapi.json (openapi.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from simscope_server.messages.protocol import LIMIT_DEFAULT, LIMIT_MOST, RESULTS, TYPES, WAIT_MOST_S
from simscope_server.reading import figures, queries

Schema = dict[str, Any]

LINES_DEFAULT, LINES_MOST = 500, 10_000  # of a log, in one answer

SERIES_MOST = 100  # named in one request


class Route(NamedTuple):
    """One address: method, path below the base, name of the handler, what it gives."""

    method: str
    path: str
    handler: str
    summary: str
    parameters: tuple[Schema, ...] = ()
    body: str | None = None
    answer: str = ""
    also: tuple[str, ...] = ()  # answers besides 200 and refusals; see ALSO


def path_parameter(name: str, text: str, *, integer: bool = False, words: Iterable[str] = ()) -> Schema:
    """A parameter in the path."""
    schema: Schema = {"type": "integer"} if integer else {"type": "string"}
    if words:
        schema["enum"] = list(words)
    return {"name": name, "in": "path", "required": True, "description": text, "schema": schema}


def query_parameter(name: str, text: str, default: int | None = None) -> Schema:
    """A parameter behind the question mark; with a default it is an integer."""
    schema: Schema = {"type": "string"} if default is None else {"type": "integer", "default": default}
    return {"name": name, "in": "query", "description": text, "schema": schema}


_REF = path_parameter("ref", "A regression: its id, its percent-encoded name, or SERIES%2F%24 for the latest")


_ID = path_parameter("id", "A job's id", integer=True)


_PAGE = (
    query_parameter("limit", f"How many, 1 to {LIMIT_MOST}", LIMIT_DEFAULT),
    query_parameter("after", "The `next` of the page before"),
)


_WAIT = query_parameter("wait", f"Seconds to wait for something new, at most {WAIT_MOST_S}")


_AWAIT = (
    _WAIT,
    query_parameter("until", "done: wait until it is done"),
    query_parameter("version", "wait until it has another version than this"),
)


_HISTORY = (
    query_parameter("limit", f"How many, 1 to {LIMIT_MOST}", LIMIT_MOST),
    query_parameter("after", "The `next` of the page before: a seq"),
)


_JOB_FILTERS = tuple(
    query_parameter(name, text)
    for name, text in (
        ("result", f"One or more of {', '.join(RESULTS)}"),
        ("signature", "A signature's id"),
        ("category", "The job's category"),
        ("host", "The job's host"),
        ("q", "Words, each of which is in name, config, host, seed, uniqueid or fail message"),
        ("filter", "Terms with commas between them, such as result=fail, host=~^n1, runtime>10m"),
        (
            "sort",
            "newest, longest, or one of id name config host phase seed test result runtime compute cycles cps started "
            "finished seen, with - in front for the largest first",
        ),
    )
)


_EVENT_FILTERS = (
    query_parameter("types", "Event types, such as job.failed,regression.*, or states of Agave, such as FINISHED"),
    query_parameter("regression", "Only of this regression (REF)"),
    query_parameter("job", "Only of this job"),
    query_parameter("epoch", "The database's epoch that the cursor belongs to"),
)


# Every address below API. A handler is found by its name in the rooms that app.py lists.
ROUTES = (
    Route("GET", "/", "about", "The daemon: version, epoch, what is switched on", answer="About"),
    Route(
        "POST",
        "/publish/{type}",
        "publish",
        "One message, or an array of bodies, of a type",
        (
            path_parameter("type", "The message type", words=TYPES),
            query_parameter("regression", "The regression's name"),
        ),
        body="Body",
        answer="Receipt",
    ),
    Route(
        "POST",
        "/messages",
        "messages",
        "Envelopes: one, an array, or NDJSON",
        (query_parameter("regression", "The regression of bodies that do not say theirs"),),
        body="Envelopes",
        answer="Receipt",
    ),
    Route(
        "GET",
        "/regressions",
        "regressions",
        "Regressions, live ones first, then the newest",
        (
            query_parameter("status", f"One or more of {', '.join(queries.STATUSES)}"),
            query_parameter("q", "Words, each of which is in name, component, branch or tag"),
            query_parameter("series", "The series"),
            query_parameter("branch", "The model's branch"),
            query_parameter("component", "The component"),
            query_parameter("tanked", "1 shows tanked ones too"),
            *_PAGE,
        ),
        answer="RegressionList",
    ),
    Route(
        "GET",
        "/series",
        "series_strips",
        "The newest runs of each series, for a strip of pass rates",
        (
            {
                "name": "series",
                "in": "query",
                "description": f"Only these, up to {SERIES_MOST}; the parameter is repeated",
                "schema": {"type": "array", "items": {"type": "string"}},
            },
            *_PAGE,
        ),
        answer="SeriesList",
    ),
    Route(
        "GET",
        "/regressions/{ref}",
        "regression",
        "One regression; blocks while you wait for it",
        (_REF, *_AWAIT),
        answer="Regression",
        also=("304",),
    ),
    Route(
        "GET", "/regressions/{ref}/jobs", "regression_jobs", "Its jobs", (_REF, *_JOB_FILTERS, *_PAGE), answer="JobList"
    ),
    Route(
        "GET",
        "/regressions/{ref}/signatures",
        "regression_signatures",
        "Its fail buckets, largest first",
        (
            _REF,
            query_parameter("q", "Words, each of which is in the title"),
            query_parameter("category", "The category"),
            *_PAGE,
        ),
        answer="SignatureList",
    ),
    Route(
        "GET",
        "/regressions/{ref}/diff",
        "regression_diff",
        "Its jobs against another regression's; which signatures are new, which are gone",
        (
            _REF,
            query_parameter("base", "The other regression (REF); else the one before in the series"),
            query_parameter(
                "by",
                "What jobs are matched by: config, the default; test, which leaves their seeds out; auto: test where "
                "less than half of the configs were run before, and more of the tests",
            ),
            query_parameter(
                "slower",
                "Percent of the runtime, and a second at least, from which a job is slower or faster",
                figures.SLOWER_DEFAULT,
            ),
            query_parameter(
                "limit", f"Entries of each kind, 0 to {figures.DIFF_MOST}; all are counted", figures.DIFF_MOST
            ),
        ),
        answer="Diff",
        also=("304",),
    ),
    Route(
        "GET",
        "/regressions/{ref}/hosts",
        "regression_hosts",
        "What became of its jobs on each host, most fails first",
        (_REF, *_PAGE),
        answer="HostList",
    ),
    Route(
        "GET",
        "/regressions/{ref}/timeline",
        "regression_timeline",
        "Which job ran on which host and when: live ones, fails, and the longest passes",
        (
            _REF,
            query_parameter("from", "Only jobs that ran at this time or later"),
            query_parameter("to", "Only jobs that ran at this time or earlier"),
            query_parameter("most", f"How many jobs, 1 to {figures.LANES_MOST}", figures.LANES_DEFAULT),
        ),
        answer="Timeline",
        also=("304",),
    ),
    Route(
        "GET",
        "/regressions/{ref}/charts",
        "regression_charts",
        "Finished jobs over time, runtimes, runtime against cycles",
        (_REF,),
        answer="Charts",
        also=("304",),
    ),
    Route(
        "GET",
        "/regressions/{ref}/history",
        "regression_history",
        "What happened to it, oldest first",
        (_REF, *_HISTORY),
        answer="History",
    ),
    Route("POST", "/regressions/{ref}/tank", "tank", "Give it up", (_REF,), body="Reason", answer="Regression"),
    Route("POST", "/regressions/{ref}/untank", "untank", "Take that back", (_REF,), answer="Regression"),
    Route("POST", "/regressions/{ref}/finish", "finish", "Declare it finished", (_REF,), answer="Regression"),
    Route(
        "GET",
        "/jobs",
        "jobs",
        "Jobs of all regressions, newest first",
        (query_parameter("regression", "Only of this regression (REF)"), *_JOB_FILTERS, *_PAGE),
        answer="JobList",
    ),
    Route(
        "GET",
        "/jobs/{id}",
        "job",
        "One job; blocks while you wait for it",
        (_ID, *_AWAIT),
        answer="Job",
        also=("304",),
    ),
    Route(
        "GET", "/jobs/{id}/status", "job_status", "Its result, small", (_ID, *_AWAIT), answer="JobStatus", also=("304",)
    ),
    Route(
        "GET",
        "/jobs/{id}/history",
        "job_history",
        "What happened to it, oldest first",
        (_ID, *_HISTORY),
        answer="History",
    ),
    Route(
        "GET",
        "/jobs/{id}/earlier",
        "job_earlier",
        "What became of its test in earlier regressions, newest first",
        (_ID, query_parameter("limit", f"How many, 1 to {LIMIT_MOST}", LIMIT_DEFAULT)),
        answer="Earlier",
    ),
    Route(
        "POST",
        "/jobs/{id}/extend",
        "extend_job",
        "Move the time limit of a live job, or of one that it ended",
        (
            _ID,
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "Sent again under one key it is done once, and answered alike each time",
                "schema": {"type": "string", "maxLength": 255},
            },
        ),
        body="Extension",
        answer="Job",
    ),
    Route(
        "GET",
        "/jobs/{id}/logs",
        "job_logs",
        "Lines of its output; as text/event-stream they are followed to the end, which `event: complete` tells, or an "
        "`event: problem` with an error as its data",
        (
            _ID,
            query_parameter("offset", "The first line wanted, counted from 0", 0),
            query_parameter("limit", f"How many lines, 1 to {LINES_MOST}", LINES_DEFAULT),
            _WAIT,
        ),
        answer="LogPage",
    ),
    Route("POST", "/jobs/{id}/logs", "append_logs", "Add lines to it", (_ID,), body="LogLines", answer="LogSpan"),
    Route(
        "GET",
        "/jobs/{id}/files",
        "job_files",
        "The files that it declares; size and, of a job that is done, SHA-256 of small ones also where it does not",
        (
            _ID,
            query_parameter("kind", "Only of this kind"),
            query_parameter("limit", f"How many, 1 to {LIMIT_MOST}", LIMIT_MOST),
            query_parameter("after", "The `next` of the page before"),
        ),
        answer="FileList",
    ),
    Route(
        "GET",
        "/jobs/{id}/files/{kind}/{name}",
        "job_file",
        "A file's content, from below [server] file_roots; ranges are answered",
        (_ID, path_parameter("kind", "The file's kind"), path_parameter("name", "The file's name")),
        answer="Content",
        also=("206", "304", "412", "416"),
    ),
    Route("POST", "/jobs/{id}/tank", "tank_job", "Give a live job up", (_ID,), body="Reason", answer="Job"),
    Route(
        "GET",
        "/events",
        "events",
        "Events after a cursor, oldest first",
        (query_parameter("after", "The cursor; 0 is the oldest kept", 0), _WAIT, *_EVENT_FILTERS, _PAGE[0]),
        answer="EventList",
    ),
    Route(
        "GET",
        "/events/stream",
        "stream",
        "Events as they come (server-sent events), resumed by Last-Event-ID",
        (
            query_parameter("after", "The cursor, where no Last-Event-ID is sent"),
            query_parameter("coalesce", "Milliseconds: only the newest event per job and regression of each tick"),
            *_EVENT_FILTERS,
        ),
        answer="EventStream",
    ),
    Route(
        "GET",
        "/receipts",
        "receipts",
        "What became of deliveries, newest first",
        (
            query_parameter("name", "The file's path below the spool, its bare name, or the peer"),
            query_parameter("outcome", "Those with a message applied, duplicate, ignored or rejected"),
            *_PAGE,
        ),
        answer="ReceiptList",
    ),
    Route(
        "GET",
        "/receipts/{id}",
        "receipt",
        "One receipt",
        (path_parameter("id", "Its id", integer=True),),
        answer="Receipt",
    ),
    Route("GET", "/openapi.json", "document", "This description", answer="Document"),
)
