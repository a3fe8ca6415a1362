"""The description of the interface (OpenAPI 3.1), made from the table of routes and from the types of messages and
answers: what is sent is described by what checks it, what is answered by what reading gives. Pure.
"""

from __future__ import annotations

import functools

import msgspec

from simscope_server.api.routes import ROUTES, Route, Schema
from simscope_server.messages.protocol import RESULTS, JobBody, RegressionBody
from simscope_server.reading import shapes


def document(version: str, server: str) -> Schema:
    """The whole description."""
    paths: dict[str, Schema] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "simscoped", "version": version, "description": "Watch simulation regressions live."},
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


@functools.cache  # they take a tenth of a second
def _schemas() -> dict[str, Schema]:
    types = [JobBody, RegressionBody, *shapes.ANSWERS]
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return {**schemas, "JobBody": _job_body(schemas["JobBody"]), **OTHERS}


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


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


TEXT = {"type": "string"}


RESULT = {"type": "string", "enum": list(RESULTS)}


# What has no type of ours.
OTHERS: dict[str, Schema] = {
    "Envelope": {"type": "object", "properties": {"type": TEXT, "regression": TEXT, "body": {}}},
    "Extension": {
        "oneOf": [
            {
                "type": "object",
                "properties": {"by_ms": {"type": "integer", "minimum": 1}},
                "required": ["by_ms"],
            },
            {
                "type": "object",
                "properties": {"until": {"type": "string", "format": "date-time"}},
                "required": ["until"],
            },
        ]
    },
    "Content": {"type": "string", "format": "binary"},
    "EventStream": {
        "type": "string",
        "description": "Blocks of `id`, `data`; `event: reset` when the cursor is too old; `event: problem`, with an "
        "error as its data, where one ends the stream",
    },
    "LogStream": {
        "type": "string",
        "description": "Blocks of `id`, `data`: a line each; `event: complete` at the end",
    },
    "Document": {"type": "object"},
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
