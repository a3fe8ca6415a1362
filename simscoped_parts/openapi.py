"""The description of the HTTP interface (OpenAPI 3.1), made from the route table that the daemon serves.

Pure: routes and schemas in, document out. The message schemas come from the types that check the messages; those of
the answers stand here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

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


def _object(**properties: Any) -> Schema:
    return {"type": "object", "properties": properties}


def _list_of(name: str) -> Schema:
    return _object(items={"type": "array", "items": _ref(name)}, next={"type": ["string", "null"]}) | {
        "required": ["items", "next"]
    }


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
PAIRS = {"type": "array", "items": {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}}
RESULT = {"type": "string", "enum": ["live", "pass", "fail", "skip"]}


def _fields(schema: Schema, names: str) -> dict[str, Schema]:
    return dict.fromkeys(names.split(), schema)


ANSWERS: dict[str, Schema] = {
    "About": _object(
        **_fields(TEXT, "name version epoch now series_separator"),
        seq=INTEGER,
        live_enabled=FLAG,
        token_required=FLAG,
    ),
    "Problem": _object(type=TEXT, title=TEXT, status=INTEGER, detail=TEXT, reason=TEXT, path=TEXT)
    | {"required": ["type", "title", "status", "detail", "reason"]},
    "Receipt": _object(
        **_fields(INTEGER, "id messages applied duplicate ignored rejected"),
        name=TEXT,
        received_at=TIME_OR_NULL,
        details={"type": "array", "items": _ref("Outcome")},
    ),
    "Outcome": _object(
        index=INTEGER,
        **_fields(TEXT_OR_NULL, "type regression reason path detail"),
        outcome={"type": "string", "enum": ["applied", "duplicate", "ignored", "rejected"]},
        warnings={"type": "array", "items": TEXT},
        job=INTEGER_OR_NULL,
    ),
    "Regression": _object(
        **_fields(INTEGER, "id version elapsed_ms"),
        **_fields(INTEGER_OR_NULL, "number submitted running"),
        **_fields(TEXT_OR_NULL, "series reason component project branch tag"),
        **_fields(TIME_OR_NULL, "eta_at started_at finished_at last_activity_at due_at"),
        name=TEXT,
        status={"type": "string", "enum": ["live", "complete", "aborted", "tanked"]},
        counts=_object(**_fields(INTEGER, "pass fail skip live migrated")),
        progress=_object(done=INTEGER, total=INTEGER_OR_NULL, percent=NUMBER_OR_NULL),
        stats=_object(
            **_fields(INTEGER, "compute_ms runtime_ms cycles"), **_fields(NUMBER_OR_NULL, "cycles_per_s pass_rate")
        ),
        custom_metadata=PAIRS,
        fields=FREE,
        _links=FREE,
    ),
    "Job": _object(
        **_fields(INTEGER, "id regression_id version"),
        **_fields(
            TEXT_OR_NULL,
            "uniqueid name reason phase host config seed build testgroup jobdir fail_message results",
        ),
        **_fields(TIME_OR_NULL, "start_time finish_time submitted_at started_at finished_at last_seen_at due_at"),
        **_fields(INTEGER_OR_NULL, "elapsed_ms time_limit_ms compute_ms runtime_ms cycles exit_code"),
        cycles_per_s=NUMBER_OR_NULL,
        regression=TEXT,
        category=TEXT,
        result=RESULT,
        done=FLAG,
        migrated=FLAG,
        progress={"type": ["object", "null"], "additionalProperties": True},
        signature={"type": ["object", "null"], "properties": {"id": INTEGER, "title": TEXT}},
        metadata=PAIRS,
        env=FREE,
        files={"type": "array", "items": FREE},
        extra=FREE,
        _links=FREE,
    ),
    "JobStatus": _object(id=INTEGER, result=RESULT, reason=TEXT_OR_NULL, done=FLAG, version=INTEGER),
    "HistoryEntry": _object(
        seq=INTEGER,
        created=TIME_OR_NULL,
        **_fields(TEXT_OR_NULL, "type result reason phase description created_by"),
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
        example=FREE,
    ),
    "DiffEntry": _object(config=TEXT, jobs=INTEGER, job=INTEGER_OR_NULL, base_job=INTEGER_OR_NULL),
    "Diff": _object(
        regression=TEXT,
        base=TEXT,
        counts=FREE,
        **_fields({"type": "array", "items": _ref("DiffEntry")}, "newly_failing fixed still_failing missing added"),
    ),
    "Event": _object(
        seq=INTEGER, at=TIME_OR_NULL, type=TEXT, regression=TEXT, regression_id=INTEGER, job=INTEGER_OR_NULL, data=FREE
    ),
    "EventList": _object(
        items={"type": "array", "items": _ref("Event")}, next=INTEGER, oldest=INTEGER, newest=INTEGER, epoch=TEXT
    ),
    "EventStream": {
        "type": "string",
        "description": "Blocks of `id`, `data`; `event: reset` when the cursor is too old",
    },
    "RegressionList": _list_of("Regression"),
    "JobList": _list_of("Job"),
    "SignatureList": _list_of("Signature"),
    "ReceiptList": _list_of("Receipt"),
    "History": _list_of("HistoryEntry"),
    "Document": FREE,
    "Reason": _object(reason=TEXT),
}

MESSAGE = {"anyOf": [_ref("JobBody"), _ref("RegressionBody")]}
BODIES: dict[str, Schema] = {
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
ENVELOPE = _object(type=TEXT, regression=TEXT, body={})


def document(routes: Iterable[Route], version: str, server: str, messages: Mapping[str, Any]) -> Schema:
    """The whole description. `messages` are the schemas of the message bodies by name."""
    paths: dict[str, Schema] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "simscoped", "version": version, "description": "Watch simulation regressions live."},
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": {**messages, "Envelope": ENVELOPE, **ANSWERS},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> Schema:
    kind = "text/event-stream" if route.answer == "EventStream" else "application/json"
    operation: Schema = {
        "operationId": route.handler,
        "summary": route.summary,
        "parameters": list(route.parameters),
        "responses": {
            "200": {"description": "Done", "content": {kind: {"schema": _ref(route.answer)}}},
            "default": {
                "description": "Why not",
                "content": {"application/problem+json": {"schema": _ref("Problem")}},
            },
        },
    }
    if route.body:
        operation["requestBody"] = BODIES[route.body]
    if route.method != "GET":
        operation["security"] = [{"token": []}]
    return operation
