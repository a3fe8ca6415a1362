"""The description of the interface (OpenAPI): valid, complete, and what is answered is as it says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import jsonschema  # type: ignore[import-untyped]
import openapi_spec_validator
import pytest
from support.asking import WOKEN_S, raw
from support.daemons import LIVE_SIGS, Daemon, done, live, publish

from simscope_server.api.app import HANDLERS, PLACES, make_app
from simscope_server.api.context import Context
from simscope_server.api.routes import ROUTES
from simscope_server.messages.protocol import OUTCOMES, RESULTS
from simscope_server.reading import shapes
from simscope_server.reading.queries import STATUSES
from simscope_server.settings import Config

SPOOL = '[spool]\ndir = "spool"\nsettle_ms = 100\npoll_ms = 50\n'
CONFIG = f'file_roots = ["files"]\n{LIVE_SIGS}{SPOOL}[limits]\nbody_mib = 1\nmessage_kib = 64\n'


def test_the_description_is_valid_openapi(shared: Daemon) -> None:
    document = shared.get("/openapi.json")

    openapi_spec_validator.validate(document)
    assert document["openapi"].startswith("3.1")


def described(document: Any) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


def test_the_description_and_the_application_have_the_same_addresses(shared: Daemon) -> None:
    app = make_app(Context(Config(), (), *[None] * 5))  # type: ignore[arg-type]

    routes = {
        (route.method, route.resource.canonical.removeprefix("/api/v1"))
        for route in app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/api/v1") and route.method != "HEAD"
    }

    assert routes == described(shared.get("/openapi.json"))
    assert len(routes) > 15


def test_the_types_of_answers_have_the_words_of_the_protocol() -> None:
    outcome = get_type_hints(shapes.Outcome)["outcome"]
    status = get_type_hints(shapes.Regression)["status"]

    assert get_args(shapes.Result) == RESULTS
    assert get_args(outcome) == OUTCOMES
    assert get_args(status) == STATUSES


def test_each_route_has_its_handler_and_each_handler_its_route() -> None:
    names = [route.handler for route in ROUTES]

    assert len(set(names)) == len(names)
    assert set(names) | set(PLACES.values()) == set(HANDLERS)


@pytest.fixture(scope="module")
def examples(shared: Daemon) -> dict[str, Any]:
    """Values for the parameters in paths."""
    publish(shared, "regr-start", "described/1", {"component": "c", "custom_metadata": [["k", "v"]], "submitted": 2})
    told = publish(shared, "job-finish", "described/1", done(result="fail", config="c", fail_message="ERROR x"))
    publish(shared, "job-finish", "described/1", done("slow", name="s", config="s", runtime_ms=9000, cycles=5))
    publish(shared, "job-finish", "described/2", done(config="c", host="n1"))
    publish(shared, "job-finish", "described/2", done("slow", name="s", config="s", runtime_ms=20_000, cycles=5))
    publish(shared, "job-finish", "described/2", done("new", "fail", config="n", host="n1", fail_message="ERROR y"))
    publish(shared, "job-live", "described/2", live("b", progress={"done": 1}, metadata=[["k", "v"]], env={"A": "b"}))
    publish(shared, "job-live", "described/2", live("b", phase="run", config="b", time_limit_ms=3_600_000))
    (shared.folder / "files").mkdir(exist_ok=True)
    (shared.folder / "files" / "sim.log").write_text("text")
    files = [{"kind": "log", "name": "sim.log", "path": str(shared.folder / "files" / "sim.log")}]
    limited = live("c", files=files, time_limit_ms=3_600_000)
    job = publish(shared, "job-live", "described/3", limited)["details"][0]["job"]
    names = {"kind": "log", "name": "sim.log"}
    return {"ref": "described%2F2", "type": "regr-update", "id": job, "receipt": told["id"], **names}


BODIES = {
    "/publish/{type}": {"submitted": 3},
    "/messages": [],
    "/jobs/{id}/logs": {"lines": ["x"]},
    "/jobs/{id}/extend": {"by_ms": 1000},
}


def answers(shared: Daemon, examples: dict[str, Any]) -> Iterator[tuple[str, str, Any, int, Any, str]]:
    """Ask every address of the description. -> method, path, operation, status, answer, content type."""
    document = shared.get("/openapi.json")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            values = examples | ({"id": examples["receipt"]} if path.startswith("/receipts") else {})
            address = f"/api/v1{path.format(**values)}" + ("?regression=described" if "publish" in path else "")
            if path.endswith("/stream"):
                request = f"GET {address} HTTP/1.1\r\nHost: localhost\r\n\r\n"
                head = raw(shared, request.encode())
                yield (
                    method,
                    path,
                    operation,
                    int(head.split()[1]),
                    None,
                    "text/event-stream" * (b"event-stream" in head),
                )
                continue
            body = BODIES.get(path) if method == "post" else None
            status, told, headers = shared.request(method.upper(), address, body)
            yield method, path, operation, status, told, headers["content-type"].partition(";")[0]


def closed(schema: Any) -> Any:
    """The schema without properties that it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    told = {name: closed(part) for name, part in schema.items()}
    return told | ({"additionalProperties": False} if isinstance(schema.get("properties"), dict) else {})


def holds(shared: Daemon, schema: dict[str, Any], told: Any) -> None:
    """Raises ValidationError for an answer that is not as its schema says, or says more."""
    components = {"schemas": closed(shared.get("/openapi.json")["components"]["schemas"])}
    jsonschema.Draft202012Validator({**schema, "components": components}).validate(told)


def test_every_described_address_answers_as_it_is_described(shared: Daemon, examples: dict[str, Any]) -> None:

    for method, path, operation, status, told, kind in answers(shared, examples):
        assert status == 200, (method, path, told)
        content = operation["responses"]["200"]["content"]
        assert kind in content, (method, path)
        if isinstance(told, dict):
            holds(shared, content[kind]["schema"], told)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/regressions?limit=500&tanked=1", "RegressionList"),
        ("/regressions/described%2F1", "Regression"),
        ("/regressions/described%2F2/signatures", "SignatureList"),
        ("/regressions/described%2F2/hosts", "HostList"),
        ("/regressions/described%2F2/diff", "Diff"),
        ("/regressions/described%2F2/diff?by=test", "Diff"),
        ("/series?limit=500", "SeriesList"),
        ("/jobs?limit=500", "JobList"),
        ("/jobs?result=live&limit=500", "JobList"),
        ("/receipts?limit=500", "ReceiptList"),
        ("/events?after=0&limit=500", "EventList"),
    ],
)
def test_what_was_published_is_told_as_it_is_described(
    shared: Daemon, examples: dict[str, Any], path: str, name: str
) -> None:
    shared.post("/publish/job-live?regression=described", [{"category": "sim"}, live("warned", metadata=3)])

    holds(shared, {"$ref": f"#/components/schemas/{name}"}, shared.get(path))


@pytest.mark.parametrize("name", ["Job", "Regression", "Receipt", "LogPage", "EventList", "Diff", "Charts", "JobList"])
def test_an_answer_without_what_is_always_told_is_not_as_described(shared: Daemon, name: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        holds(shared, {"$ref": f"#/components/schemas/{name}"}, {})


def test_what_a_job_message_must_say_is_described(shared: Daemon) -> None:
    schemas = shared.get("/openapi.json")["components"]["schemas"]
    body = jsonschema.Draft202012Validator({**schemas["JobBody"], "components": {"schemas": schemas}})

    assert body.is_valid(live()) and body.is_valid(done())
    assert body.is_valid({"category": "sim", "result": "pass", "start_time": "2026-01-01T00:00:00Z"})
    for wrong in ({}, live() | {"result": "PASS"}, {"category": "sim", "result": "pass"}, {"uniqueid": "a"}):
        assert not body.is_valid(wrong), wrong


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=1-2"}, "206"),
        ({"Range": "bytes=9-"}, "416"),
        ({"If-Match": '"another"'}, "412"),
        ({"If-None-Match": "*"}, "304"),
    ],
)
def test_other_answers_of_a_file_are_described(
    shared: Daemon, examples: dict[str, Any], headers: dict[str, str], status: str
) -> None:
    described = shared.get("/openapi.json")["paths"]["/jobs/{id}/files/{kind}/{name}"]["get"]["responses"][status]

    got, told, answered = shared.request("GET", f"/api/v1/jobs/{examples['id']}/files/log/sim.log", headers=headers)

    assert str(got) == status
    assert set(described.get("content", [])) == ({answered["content-type"].partition(";")[0]} if told else set())


def test_what_can_be_asked_for_by_etag_and_only_that_is_described_with_304(
    shared: Daemon, examples: dict[str, Any]
) -> None:
    described, answered = set(), set()
    for path, methods in shared.get("/openapi.json")["paths"].items():
        if "get" in methods and not path.endswith("/stream"):
            described |= {path} if "304" in methods["get"]["responses"] else set()
            values = examples | ({"id": examples["receipt"]} if path.startswith("/receipts") else {})
            address = f"/api/v1{path.format(**values)}"
            status = shared.request("GET", address, headers={"If-None-Match": "*"})[0]
            answered |= {path} if status == 304 else set()

    assert described == answered


def test_a_followed_log_is_described(shared: Daemon, run: str) -> None:
    job = publish(shared, "job-finish", run, done(log={"lines": ["x"]}))["details"][0]["job"]

    _, _, headers = shared.request("GET", f"/api/v1/jobs/{job}/logs", headers={"Accept": "text/event-stream"})

    operation = shared.get("/openapi.json")["paths"]["/jobs/{id}/logs"]["get"]
    assert headers["content-type"] in operation["responses"]["200"]["content"]


def test_every_described_address_but_the_stream_answers_head(shared: Daemon, examples: dict[str, Any]) -> None:
    for method, path, _, _, _, kind in answers(shared, examples):
        if method == "get" and kind != "text/event-stream":
            values = examples | ({"id": examples["receipt"]} if path.startswith("/receipts") else {})
            status, body, headers = shared.request("HEAD", f"/api/v1{path.format(**values)}")

            assert (status, body, headers["content-type"].partition(";")[0]) == (200, "", kind), path
            assert int(headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("path", "accept"),
    [("/logs", "text/event-stream"), ("/logs?wait=60", "*/*"), ("?wait=60&until=done", "*/*")],
)
def test_head_neither_follows_nor_waits(shared: Daemon, run: str, path: str, accept: str) -> None:
    job = publish(shared, "job-live", run, live())["details"][0]["job"]
    began = time.monotonic()

    status, _, headers = shared.request("HEAD", f"/api/v1/jobs/{job}{path}", headers={"Accept": accept})

    assert (status, headers["content-type"].partition(";")[0]) == (200, "application/json")
    assert time.monotonic() - began < WOKEN_S


def test_every_parameter_that_lists_take_is_described(shared: Daemon) -> None:
    paths = shared.get("/openapi.json")["paths"]
    expected = {
        "/regressions": "status q series branch component tanked limit after",
        "/regressions/{ref}": "ref wait until version",
        "/regressions/{ref}/history": "ref limit after",
        "/regressions/{ref}/jobs": "ref result signature category host q filter sort limit after",
        "/regressions/{ref}/signatures": "ref q category limit after",
        "/regressions/{ref}/diff": "ref base by slower limit",
        "/regressions/{ref}/timeline": "ref from to most",
        "/series": "series limit after",
        "/jobs": "regression result signature category host q filter sort limit after",
        "/jobs/{id}": "id wait until version",
        "/jobs/{id}/status": "id wait until version",
        "/jobs/{id}/history": "id limit after",
        "/jobs/{id}/files": "id kind limit after",
        "/events": "after wait types regression job epoch limit",
        "/events/stream": "after coalesce types regression job epoch",
        "/receipts": "name outcome limit after",
    }

    told = {path: {parameter["name"] for parameter in paths[path]["get"]["parameters"]} for path in expected}

    assert told == {path: set(names.split()) for path, names in expected.items()}


def test_problems_are_as_described(shared: Daemon) -> None:
    job = publish(shared, "job-live", "described/logs", live())["details"][0]["job"]

    for path in ("/nowhere", "/jobs/0", "/jobs?limit=0", "/events?after=999999999", f"/jobs/{job}/logs?offset=9"):
        _, told, _ = shared.request("GET", f"/api/v1{path}")

        holds(shared, {"$ref": "#/components/schemas/Problem"}, told)


@pytest.mark.parametrize("body", [[{"result": "no"}, done()], b"{"])
def test_refusals_of_messages_are_as_described(shared: Daemon, run: str, body: Any) -> None:
    described = shared.get("/openapi.json")["paths"]["/publish/{type}"]["post"]["responses"]["default"]["content"]

    status, told, headers = shared.request("POST", f"/api/v1/publish/job-finish?regression={run}", body)

    assert status in (400, 422)
    holds(shared, described[headers["content-type"]]["schema"], told)
    holds(shared, {"$ref": "#/components/schemas/Refusal"}, told)
