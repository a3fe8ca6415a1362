"""The HTTP interface: the table of its addresses, and its description (OpenAPI 3.1) made from that table.

The table says everything about an address but what its handler does. Pure: schemas in, document out. The message
schemas come from the types that check the messages; those of the answers stand here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from simscope_server.messages.protocol import LIMIT_DEFAULT, LIMIT_MOST, TYPES, WAIT_MOST_S

Schema = dict[str, Any]


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
        ("result", "One or more of live, pass, fail, skip"),
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


# Every address below API; the description at /openapi.json is made from this table, and the tests hold it against it.
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
            query_parameter("status", "One or more of live, complete, aborted, tanked"),
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
                "description": "Only these, up to 100; the parameter is repeated",
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
                "slower", "Percent of the runtime, and a second at least, from which a job is slower or faster", 20
            ),
            query_parameter("limit", "Entries of each kind, 0 to 500; all are counted", 500),
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
            query_parameter("most", "How many jobs, 1 to 20000", 5000),
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
            query_parameter("limit", "How many lines, 1 to 10000", 500),
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


def _object(**properties: Any) -> Schema:
    """An object that always has these properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _and(schema: Schema, **properties: Any) -> Schema:
    """The same with properties that may be missing."""
    return schema | {"properties": schema["properties"] | properties}


def _or_null(schema: Schema) -> Schema:
    return schema | {"type": [schema["type"], "null"]}


def _list_of(name: str) -> Schema:
    return _object(items={"type": "array", "items": _ref(name)}, next={"type": ["string", "null"]})


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


TEXT = {"type": "string"}


TEXT_OR_NULL = {"type": ["string", "null"]}


INTEGER = {"type": "integer"}


INTEGER_OR_NULL = {"type": ["integer", "null"]}


NUMBER_OR_NULL = {"type": ["number", "null"]}


FLAG = {"type": "boolean"}


TIME_OR_NULL = {"type": ["string", "null"], "format": "date-time"}


FREE = {"type": "object", "additionalProperties": True}


LIST = {"type": "array", "items": FREE}


INTEGERS = {"type": "array", "items": INTEGER}


TEXTS = {"type": "array", "items": TEXT}


PAIRS = {"type": "array", "items": {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}}


RESULT = {"type": "string", "enum": ["live", "pass", "fail", "skip"]}


def _fields(schema: Schema, names: str) -> dict[str, Schema]:
    return dict.fromkeys(names.split(), schema)


_PROBLEM = _and(
    _object(type=TEXT, title=TEXT, status=INTEGER, detail=TEXT, reason=TEXT),
    **_fields(TEXT, "path epoch"),
    **_fields(INTEGER, "oldest newest next_offset"),
)


_RECEIPT = _object(
    **_fields(INTEGER, "id messages applied duplicate ignored rejected"),
    name=TEXT,
    received_at=TIME_OR_NULL,
    details={"type": "array", "items": _ref("Outcome")},
)


ANSWERS: dict[str, Schema] = {
    "About": _object(
        **_fields(TEXT, "name version epoch now series_separator"),
        seq=INTEGER,
        live_enabled=FLAG,
        token_required=FLAG,
    ),
    "Problem": _PROBLEM,
    "Receipt": _RECEIPT,
    "Refusal": _and(
        _object(**_RECEIPT["properties"], **{name: _PROBLEM["properties"][name] for name in _PROBLEM["required"]}),
        path=TEXT,
    ),
    "Outcome": _object(
        index=INTEGER,
        **_fields(TEXT_OR_NULL, "type regression reason path detail"),
        outcome={"type": "string", "enum": ["applied", "duplicate", "ignored", "rejected"]},
        warnings=TEXTS,
        job=INTEGER_OR_NULL,
    ),
    "Regression": _object(
        **_fields(INTEGER, "id version elapsed_ms new_signatures slow"),
        **_fields(INTEGER_OR_NULL, "number submitted running"),
        **_fields(TEXT_OR_NULL, "series reason component project branch tag"),
        **_fields(TIME_OR_NULL, "eta_at stalled_since started_at finished_at last_activity_at due_at"),
        name=TEXT,
        status={"type": "string", "enum": ["live", "complete", "aborted", "tanked"]},
        counts=_object(**_fields(INTEGER, "pass fail skip live migrated")),
        progress=_object(done=INTEGER, total=INTEGER_OR_NULL, percent=NUMBER_OR_NULL),
        stats=_object(
            **_fields(INTEGER, "compute_ms runtime_ms cycles"), **_fields(NUMBER_OR_NULL, "cycles_per_s pass_rate")
        ),
        eta=_or_null(_object(**_fields(TIME_OR_NULL, "at low high"), basis=TEXT)),
        custom_metadata=PAIRS,
        fields=FREE,
        _links=FREE,
    ),
    "Job": _object(
        **_fields(INTEGER, "id regression_id version"),
        **_fields(
            TEXT_OR_NULL,
            "uniqueid name test reason phase host config seed build testgroup jobdir fail_message results",
        ),
        **_fields(TIME_OR_NULL, "start_time finish_time submitted_at started_at finished_at last_seen_at due_at"),
        **_fields(
            INTEGER_OR_NULL, "elapsed_ms usual_ms slow_after_ms time_limit_ms compute_ms runtime_ms cycles exit_code"
        ),
        slow=FLAG,
        cycles_per_s=NUMBER_OR_NULL,
        regression=TEXT,
        category=TEXT,
        result=RESULT,
        done=FLAG,
        migrated=FLAG,
        progress=_or_null(FREE),
        signature=_or_null(_object(id=INTEGER, title=TEXT)),
        metadata=PAIRS,
        env=FREE,
        files={"type": "array", "items": FREE},
        extra=FREE,
        _links=FREE,
    ),
    "JobStatus": _object(id=INTEGER, result=RESULT, reason=TEXT_OR_NULL, done=FLAG, version=INTEGER),
    "LogSpan": _object(first_offset=INTEGER, next_offset=INTEGER, complete=FLAG),
    "LogPage": _object(
        first_offset=INTEGER,
        next_offset=INTEGER,
        complete=FLAG,
        lines={"type": "array", "items": _object(offset=INTEGER, at=TIME_OR_NULL, message=TEXT)},
    ),
    "FileList": _object(items={"type": "array", "items": FREE}, next=INTEGER_OR_NULL),
    "Content": {"type": "string", "format": "binary"},
    "HistoryEntry": _and(
        _object(
            seq=INTEGER,
            created=TIME_OR_NULL,
            **_fields(TEXT_OR_NULL, "type result reason phase description created_by"),
        ),
        progress=FREE,
        changed=FREE,
    ),
    "Signature": _object(
        **_fields(INTEGER, "id count"),
        category=TEXT,
        title=TEXT,
        new=FLAG,
        first_seen_at=TIME_OR_NULL,
        last_seen_at=TIME_OR_NULL,
        first_regression=_object(id=INTEGER, name=TEXT_OR_NULL),
        elsewhere=_object(count=INTEGER, series=TEXTS),
        hosts={"type": "array", "items": _object(host=TEXT, count=INTEGER)},
        hosts_count=INTEGER,
        example=FREE,
    ),
    "DiffEntry": _and(
        _object(**_fields(INTEGER, "jobs fails base_jobs base_fails"), **_fields(INTEGER_OR_NULL, "job base_job")),
        **_fields(TEXT, "config test"),
        **_fields(INTEGER, "runtime_ms base_runtime_ms"),
        percent={"type": "number"},
    ),
    "Diff": _object(
        regression=TEXT,
        base=TEXT,
        **_fields(INTEGER, "regression_id base_id matched"),
        by={"type": "string", "enum": ["config", "test"]},
        counts=_object(
            **_fields(INTEGER, "newly_failing fixed still_failing missing added slower faster"),
            **_fields(INTEGER, "new_signatures fixed_signatures"),
        ),
        **_fields(
            {"type": "array", "items": _ref("DiffEntry")},
            "newly_failing fixed still_failing missing added slower faster",
        ),
        signatures=_object(new=LIST, fixed=LIST, still=INTEGER),
    ),
    "Host": _object(host=TEXT_OR_NULL, **_fields(INTEGER, "pass fail skip live runtime_ms"), fail_rate=NUMBER_OR_NULL),
    "Timeline": _object(
        **dict.fromkeys(("from", "to", "now"), TIME_OR_NULL),
        hosts=TEXTS,
        **_fields(INTEGER, "jobs shown"),
        **_fields({"type": "array", "items": INTEGER_OR_NULL}, "id host start length result"),
    ),
    "Charts": _object(
        **_fields(INTEGER, "jobs left_out"),
        finished=_object(**{"from": TIME_OR_NULL}, step_ms=INTEGER, **_fields(INTEGERS, "pass fail skip")),
        runtime=_object(edges_ms=_or_null(INTEGERS), **_fields(INTEGERS, "pass fail")),
        cycles=_object(**_fields(INTEGER, "shown of"), **_fields(INTEGERS, "id runtime_ms cycles result")),
    ),
    "Series": _object(series=TEXT, runs={"type": "array", "items": FREE}),
    "EarlierRun": _object(
        **_fields(INTEGER, "regression_id jobs pass fail skip job"),
        **_fields(INTEGER_OR_NULL, "number runtime_ms mean_runtime_ms"),
        regression=TEXT,
        result=RESULT,
        **_fields(TEXT_OR_NULL, "host seed"),
        finished_at=TIME_OR_NULL,
        same_seed=FLAG,
    ),
    "Earlier": _object(
        test=TEXT_OR_NULL,
        **_fields(INTEGER_OR_NULL, "usual_ms slow_after_ms"),
        items={"type": "array", "items": _ref("EarlierRun")},
        next={"type": "null"},
    ),
    "Event": _object(
        seq=INTEGER, at=TIME_OR_NULL, type=TEXT, regression=TEXT, regression_id=INTEGER, job=INTEGER_OR_NULL, data=FREE
    ),
    "EventList": _object(
        items={"type": "array", "items": _ref("Event")}, next=INTEGER, oldest=INTEGER, newest=INTEGER, epoch=TEXT
    ),
    "EventStream": {
        "type": "string",
        "description": "Blocks of `id`, `data`; `event: reset` when the cursor is too old; `event: problem`, with an "
        "error as its data, where one ends the stream",
    },
    "LogStream": {
        "type": "string",
        "description": "Blocks of `id`, `data`: a line each; `event: complete` at the end",
    },
    "RegressionList": _list_of("Regression"),
    "JobList": _list_of("Job"),
    "SignatureList": _list_of("Signature"),
    "HostList": _list_of("Host"),
    "SeriesList": _list_of("Series"),
    "ReceiptList": _list_of("Receipt"),
    "History": _object(items={"type": "array", "items": _ref("HistoryEntry")}, next=INTEGER_OR_NULL),
    "Extension": {
        "oneOf": [
            _object(by_ms={"type": "integer", "minimum": 1}),
            _object(until={"type": "string", "format": "date-time"}),
        ]
    },
    "Document": FREE,
    "Reason": _and(_object(), reason=TEXT),
}


MESSAGE = {"anyOf": [_ref("JobBody"), _ref("RegressionBody")]}


BODIES: dict[str, Schema] = {
    "LogLines": {"content": {"application/json": {"schema": {**_ref("LogLines"), "required": ["lines"]}}}},
    "Extension": {"content": {"application/json": {"schema": _ref("Extension")}}},
    "Reason": {"content": {"application/json": {"schema": _ref("Reason")}}},
    "Body": {
        "content": {
            "application/json": {"schema": {"anyOf": [MESSAGE, {"type": "array", "items": MESSAGE}]}},
            "application/x-ndjson": {"schema": TEXT},
        }
    },
    "Envelopes": {
        "content": {
            "application/json": {"schema": {"anyOf": [_ref("Envelope"), {"type": "array", "items": _ref("Envelope")}]}},
            "application/x-ndjson": {"schema": TEXT},
        }
    },
}


ENVELOPE = _and(_object(), type=TEXT, regression=TEXT, body={})


# What a message of a job must say, beside the types of what it says.
JOB_NEEDS = {
    "required": ["category", "result"],
    "anyOf": [{"required": ["uniqueid"]}, {"required": ["start_time"]}],
}


# What an address answers besides 200 and refusals.
ALSO: dict[str, Schema] = {
    "206": {"description": "A part of it", "content": {"application/octet-stream": {"schema": _ref("Content")}}},
    "304": {"description": "What the reader has is as it is now"},
    "412": {"description": "It is not as the reader has it"},
    "416": {
        "description": "The part lies beyond the end",
        "content": {"application/problem+json": {"schema": _ref("Problem")}},
    },
}


def document(version: str, server: str, messages: Mapping[str, Any]) -> Schema:
    """The whole description. `messages` are the schemas of the message bodies by name."""
    paths: dict[str, Schema] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "simscoped", "version": version, "description": "Watch simulation regressions live."},
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": {**messages, "JobBody": _job_body(messages["JobBody"]), "Envelope": ENVELOPE, **ANSWERS},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _job_body(schema: Schema) -> Schema:
    return schema | JOB_NEEDS | {"properties": schema["properties"] | {"result": RESULT}}


def _operation(route: Route) -> Schema:
    takes_messages = route.body in ("Body", "Envelopes")
    schema = {"anyOf": [_ref("Refusal"), _ref("Problem")]} if takes_messages else _ref("Problem")
    operation: Schema = {
        "operationId": route.handler,
        "summary": route.summary,
        "parameters": list(route.parameters),
        "responses": {
            "200": {"description": "Done", "content": _content(route.answer)},
            **{status: ALSO[status] for status in route.also},
            "default": {"description": "Why not", "content": {"application/problem+json": {"schema": schema}}},
        },
    }
    if route.body:
        operation["requestBody"] = BODIES[route.body]
    if route.method != "GET":
        operation["security"] = [{"token": []}]
    return operation


def _content(answer: str) -> Schema:
    """The schemas of an answer by content types."""
    kind = {"EventStream": "text/event-stream", "Content": "application/octet-stream"}.get(answer, "application/json")
    stream = {"text/event-stream": {"schema": _ref("LogStream")}} if answer == "LogPage" else {}
    return {kind: {"schema": _ref(answer)}, **stream}
