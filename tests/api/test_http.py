"""The HTTP interface of the real daemon.

In this order: messages in, both doors alike, receipts, lists and pages, what REF means, ETags, diff, by hand, who may
ask, errors, the page's files, the daemon itself, the description.

Most tests share one daemon; each has regressions of its own.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import openapi_spec_validator
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.daemons import LIVE_SIGS, Daemon, done, driven, live, publish, wait_until

from simscope_server.api.app import HANDLERS, PLACES, make_app
from simscope_server.api.context import Context
from simscope_server.api.routes import ROUTES
from simscope_server.messages.protocol import JOB_FIELDS, NOT_OF_LIVE
from simscope_server.program import __version__
from simscope_server.settings import Config

SPOOL = '[spool]\ndir = "spool"\nsettle_ms = 100\npoll_ms = 50\n'
CONFIG = f'file_roots = ["files"]\n{LIVE_SIGS}{SPOOL}[limits]\nbody_mib = 1\nmessage_kib = 64\n'
NDJSON = {"Content-Type": "application/x-ndjson"}


def envelope(kind: str, regression: str, body: Any) -> dict[str, Any]:
    return {"type": kind, "regression": regression, "body": body}


def lines(*values: Any) -> bytes:
    return "".join(f"{json.dumps(value)}\n" for value in values).encode()


def quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def problem(answer: tuple[int, Any, dict[str, str]], status: int, reason: str) -> Any:
    """Check that an answer is problem+json with all its members. -> it."""
    said, told, headers = answer
    assert (said, headers["content-type"].partition(";")[0]) == (status, "application/problem+json"), told
    assert told["status"] == status
    assert told["reason"] == reason
    assert all(isinstance(told[member], str) and told[member] for member in ("type", "title", "detail"))
    return told


# --- messages in ------------------------------------------------------------------------------------------------------


def test_publish_takes_a_bare_body_and_answers_with_its_receipt(shared: Daemon, run: str) -> None:
    told = publish(shared, "job-live", f"{run}/1", live(host="h1"))

    assert told["messages"] == told["applied"] == 1
    assert told["duplicate"] == told["ignored"] == told["rejected"] == 0
    assert told["name"] == "127.0.0.1"
    assert told["received_at"].endswith("Z")
    (detail,) = told["details"]
    assert (detail["index"], detail["type"], detail["regression"]) == (0, "job-live", f"{run}/1")
    assert (detail["outcome"], detail["reason"], detail["warnings"]) == ("applied", None, [])
    assert shared.get(f"/jobs/{detail['job']}")["host"] == "h1"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("regr-start", {"component": "cpu", "project": "p", "starttime": "2026-01-01T00:00:00Z"}),
        ("regr-update", {"submitted": 3}),
        ("regr-finish", {"tag": "t"}),
        ("regr-finish", None),
        ("regr-finish", b""),
        ("job-live", live()),
        ("job-finish", done()),
        ("batch-job-live", [live("a"), live("b")]),
        ("batch-job-finish", [done("a"), done("b")]),
        ("job-live", [live("a"), live("b")]),
    ],
)
def test_publish_takes_every_type(shared: Daemon, run: str, kind: str, body: Any) -> None:
    told = publish(shared, kind, run, body)

    assert told["applied"] == told["messages"] == (len(body) if isinstance(body, list) else 1)


def test_publish_takes_ndjson_of_bodies(shared: Daemon, run: str) -> None:
    path = f"/api/v1/publish/job-live?regression={run}"

    status, told, _ = shared.request("POST", path, lines(live("a"), live("b")), NDJSON)

    assert (status, told["applied"]) == (200, 2)


@pytest.mark.parametrize("form", ["one", "array", "ndjson"])
def test_messages_takes_envelopes_in_three_forms(shared: Daemon, run: str, form: str) -> None:
    first, second = envelope("job-live", run, live("a")), envelope("job-finish", f"{run}/x", done("b"))
    body, headers, count = {
        "one": (first, {}, 1),
        "array": ([first, second], {}, 2),
        "ndjson": (lines(first, second), NDJSON, 2),
    }[form]

    status, told, _ = shared.request("POST", "/api/v1/messages", body, headers)

    assert (status, told["applied"], told["messages"]) == (200, count, count)
    assert [detail["regression"] for detail in told["details"]] == [run, f"{run}/x"][:count]


def test_a_post_of_a_hundred_messages_tells_of_them_all_and_one_of_more_only_what_is_notable(
    shared: Daemon, run: str
) -> None:
    hundred = publish(shared, "batch-job-live", run, [live(str(number)) for number in range(100)])
    more = publish(shared, "batch-job-live", run, [live(str(number)) for number in range(101)])

    assert [detail["index"] for detail in hundred["details"]] == list(range(100))
    assert (more["messages"], more["details"]) == (101, [])


def test_what_was_answered_can_be_read_at_once(shared: Daemon, run: str) -> None:
    for number in range(50):
        told = publish(shared, "job-live", run, live(str(number)))

        job = shared.get(f"/jobs/{told['details'][0]['job']}")
        assert job["uniqueid"] == str(number)
        assert shared.get(f"/regressions/{run}")["counts"]["live"] == number + 1


def test_bodies_among_messages_belong_to_the_regression_of_the_address(shared: Daemon, run: str) -> None:
    other = {"type": "job-live", "regression": f"{run}/other", "body": live("b")}

    status, told = shared.post(f"/messages?regression={run}", [live("a"), other])

    assert (status, told["applied"]) == (200, 2)
    assert [outcome["regression"] for outcome in told["details"]] == [run, f"{run}/other"]


def test_rejected_messages_make_422_with_the_receipt_and_the_good_ones_are_applied(shared: Daemon, run: str) -> None:
    bodies = [live("a"), live("b", cycles="many"), live("c"), {"category": "sim", "result": "pass"}]

    answer = shared.request("POST", f"/api/v1/publish/job-live?regression={run}", bodies)

    told = problem(answer, 422, "wrong-type")
    assert (told["messages"], told["applied"], told["rejected"]) == (4, 2, 2)
    assert told["path"] == "$.cycles"
    assert [detail["outcome"] for detail in told["details"]] == ["applied", "rejected", "applied", "rejected"]
    assert shared.get(f"/receipts/{told['id']}")["rejected"] == 2
    assert {job["uniqueid"] for job in shared.get(f"/jobs?regression={run}")["items"]} == {"a", "c"}


@pytest.mark.parametrize("body", [b"{", b"", b"[1, 2", b'{"a": 1} trailing', b'{"a": "\xff"}'])
def test_what_cannot_be_read_at_all_is_400_with_a_receipt(shared: Daemon, body: bytes) -> None:
    answer = shared.request("POST", "/api/v1/messages", body)

    told = problem(answer, 400, "bad-text" if b"\xff" in body else "bad-json")
    assert (told["messages"], told["rejected"]) == (1, 1)
    assert shared.get(f"/receipts/{told['id']}")["details"][0]["reason"] == told["reason"]


def test_a_bad_line_of_ndjson_is_refused_alone(shared: Daemon, run: str) -> None:
    body = lines(envelope("job-live", run, live("a"))) + b"{cut\n" + lines(envelope("job-live", run, live("b")))

    answer = shared.request("POST", "/api/v1/messages", body, NDJSON)

    told = problem(answer, 422, "bad-json")
    assert (told["applied"], told["rejected"], told["details"][1]["index"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{cut\n", 400, "bad-json"),
        (b'{cut\n\n{"a": "\xff"}\n', 400, "bad-json"),
        (b'"\\ud800"\n{\n', 400, "bad-text"),
        (b"{cut\n" * 200, 400, "bad-json"),
        (b"{cut\n{}\n", 422, "bad-json"),
        (b"{cut\n" + lines(envelope("job-live", "REG", live(note="\0"))), 422, "bad-json"),
        (lines(envelope("job-live", "REG", live(note="\0"))), 422, "bad-text"),
        (lines(17), 422, "wrong-type"),
    ],
)
def test_ndjson_of_which_no_line_can_be_read_is_400(shared: Daemon, body: bytes, status: int, reason: str) -> None:
    answer = shared.request("POST", "/api/v1/messages", body, NDJSON)

    told = problem(answer, status, reason)
    assert told["rejected"] == told["messages"] > 0


def test_a_request_beyond_body_mib_is_413_with_a_receipt(shared: Daemon, run: str) -> None:
    body = json.dumps(live()).encode().ljust((1 << 20) + 1)

    answer = shared.request("POST", f"/api/v1/publish/job-live?regression={run}", body)

    told = problem(answer, 413, "too-large")
    assert told["rejected"] == 1
    assert shared.request("GET", f"/api/v1/regressions/{run}")[0] == 404


def test_a_message_beyond_message_kib_is_422(shared: Daemon, run: str) -> None:
    answer = shared.request("POST", f"/api/v1/publish/job-live?regression={run}", live(note="x" * (64 << 10)))

    problem(answer, 422, "too-large")


def test_publish_without_a_regression_is_422(shared: Daemon) -> None:
    problem(shared.request("POST", "/api/v1/publish/job-live", live()), 422, "no-regression")


@pytest.mark.parametrize("body", [live(), [live()], b"{cut"], ids=["object", "array", "no JSON"])
def test_publish_of_an_unknown_type_is_422_with_a_receipt(shared: Daemon, run: str, body: Any) -> None:
    answer = shared.request("POST", f"/api/v1/publish/job-started?regression={run}", body)

    told = problem(answer, 422, "unknown-type")
    assert "'job-started' is not one of regr-start, " in told["detail"]
    assert (told["rejected"], told["messages"], told["details"][0]["regression"]) == (1, 1, run)
    assert shared.get(f"/receipts/{told['id']}")["details"][0]["reason"] == "unknown-type"
    assert shared.request("GET", f"/api/v1/regressions/{run}")[0] == 404


def test_what_a_live_message_says_is_shown_and_stays_where_the_finish_leaves_it_out(shared: Daemon, run: str) -> None:
    said: dict[str, Any] = dict.fromkeys(("config", "seed", "build", "testgroup", "jobdir", "host", "name"), "x")
    said |= {"start_time": "2026-01-02T03:04:05.678Z", "time_limit_ms": 3_600_000, "phase": "p"}
    said |= {"metadata": [["k", "v"]], "env": {"A": "1"}, "results": "r", "files": [{"path": "/f"}]}
    said |= {"progress": {"done": 1}}
    extra = {"extid": "e", "sourcecode": "s", "username": "u", "mine": 1}
    job = publish(shared, "job-live", run, live(**said, **extra))["details"][0]["job"]

    alive = shared.get(f"/jobs/{job}")
    publish(shared, "job-finish", run, done())
    over = shared.get(f"/jobs/{job}")

    others = {"category", "uniqueid", "result", "log", *NOT_OF_LIVE}
    assert JOB_FIELDS - said.keys() - extra.keys() == others
    for told in (alive, over):
        assert {field: told[field] for field in said} == said
        assert told["extra"] == extra


def test_unsigned_numbers_of_64_bits_come_back_as_they_were_sent(shared: Daemon, run: str) -> None:
    most = 2**64 - 1
    said = {"mine": most, "deep": [{"x": most}], "username": "ann", "progress": {"done": 1, "left": most}}
    publish(shared, "regr-start", run, {"mine": most})
    failed = done("a", "fail", seed=most, config=f"sim {most}", fail_message="x", metadata=[["n", "1"]], **said)
    job = publish(shared, "job-finish", run, failed)["details"][0]["job"]
    publish(shared, "job-live", run, live("a", later=most))
    publish(shared, "regr-update", run, {"mine": most - 1})

    for query in ("filter=username%3Dann,metadata.n%3D1", f"filter=seed%3D{most}", f"q={most}", "sort=seed"):
        (told,) = shared.get(f"/regressions/{run}/jobs?{query}")["items"]
        assert (told["id"], told["seed"], told["test"]) == (job, str(most), "sim *")
        assert told["extra"] == {"mine": most, "deep": [{"x": most}], "username": "ann", "later": most}
        assert told["progress"] == said["progress"]
    assert shared.get(f"/jobs/{job}/history")["items"][-1]["changed"] == {"later": [None, most]}
    assert shared.get(f"/regressions/{run}")["fields"]["mine"] == most - 1
    assert shared.get(f"/regressions/{run}/history")["items"][-1]["changed"] == {"mine": [most, most - 1]}
    (signature,) = shared.get(f"/regressions/{run}/signatures")["items"]
    assert (signature["example"]["seed"], signature["example"]["username"]) == (str(most), "ann")


def test_the_year_1_overwrites_no_time(shared: Daemon, run: str) -> None:
    times = {"starttime": "2026-01-02T03:04:05Z", "model_timestamp": "2026-01-01T00:00:00+01:00"}
    publish(shared, "regr-start", run, times)

    told = publish(shared, "regr-update", run, dict.fromkeys(times, "0001-01-01T00:00:00Z"))

    assert told["applied"] == 1
    assert shared.get(f"/regressions/{run}")["fields"] == times
    assert [event["type"] for event in shared.get(f"/regressions/{run}/history")["items"]] == ["regression.started"]


# --- both doors alike -------------------------------------------------------------------------------------------------

# REG stands for the regression. The first word says how it is sent: "messages" is a file at the top and POST /messages;
# a type is a file of that name in the folder of the regression and POST /publish/TYPE.
WHOLE = {
    "start_time": "2026-01-02T03:04:05.678+02:00",
    "finish_time": "2026-01-02T03:05:05.678+02:00",
    "compute_ms": 5000,
    "config": "c1",
    "seed": 17,
    "cycles": 1000,
    "metadata": [["k", "v"]],
    "env": {"PATH": "/bin"},
    "mine": {"deep": [1, None, True]},
}
DELIVERIES = [
    ("messages", ".json", envelope("regr-start", "REG", {"component": "cpu", "custom_metadata": [["k", "v"]]})),
    ("messages", ".json", envelope("regr-finish", "REG", None)),
    ("messages", ".json", {"type": "regr-finish", "regression": "REG"}),
    ("messages", ".json", envelope("job-live", "REG", live(progress={"done": 1, "total": 4}))),
    ("messages", ".json", envelope("job-finish", "REG", done(**WHOLE))),
    ("messages", ".json", {"regression": "REG", "body": done()}),
    ("messages", ".json", live() | {"regression": "REG"}),
    ("messages", ".json", envelope("batch-job-finish", "REG", [done("a"), done("b", "skip"), done("c", "fail")])),
    ("messages", ".json", envelope("batch-job-live", "REG", {"not": "an array"})),
    ("messages", ".json", [envelope("job-live", "REG", live()), envelope("job-finish", "REG", done()), 17, "x"]),
    ("messages", ".ndjson", lines(envelope("job-live", "REG", live()), {"body": 1}, envelope("x", "REG", {}))),
    ("messages", ".ndjson", b'{"cut\n' + lines(envelope("job-live", "REG", live()))),
    ("messages", ".json", b"\xef\xbb\xbf" + json.dumps(envelope("job-live", "REG", live())).encode()),
    ("messages", ".json", b'{"type": "job-live", "regression": "REG", "body": '),
    ("messages", ".json", envelope("job-live", "REG", live(start_time="yesterday"))),
    ("messages", ".json", envelope("job-finish", "REG", done(start_time="2016-12-31T23:59:60Z", cycles=-1))),
    ("messages", ".json", envelope("job-finish", "REG", done(seed=2**64 - 1, mine=2**64 - 1))),
    ("messages", ".json", {"type": "job-live", "regression": "REG"}),
    ("messages", ".json", envelope("job-live", "REG", live(time_limit_ms=-1))),
    ("messages", ".json", envelope("job-live", "REG", live(note="\0"))),
    ("messages", ".json", b'{"type": "job-live", "regression": "REG", "body": {"x": "\\ud800"}}'),
    ("messages", ".json", b'{"type": "job-live", "regression": "REG", "body": {"cycles": 99999999999999999999}}'),
    ("messages", ".json", b'{"type": "job-live", "regression": "REG", "body": {"x": NaN}}'),
    ("messages", ".json", b'{"type": "job-live", "regression": "REG", "body": {"x": ' + b"[" * 40 + b"]" * 40 + b"}}"),
    ("messages", ".json", envelope("job-live", "REG", live(note="x" * (64 << 10)))),
    ("messages", ".json", {"hello": "world", "regression": "REG"}),
    ("messages", ".json", envelope("job-live", "REG", {"category": "sim", "result": "LIVE", "uniqueid": "a"})),
    ("messages", ".json", envelope("job-live", "REG", done())),
    ("job-live", ".json", live(phase="queued")),
    ("job-live", ".ndjson", lines(live("a"), live("b"), done("c"))),
    ("job-finish", ".json", [done("a"), done("a"), done("a", "fail", fail_message="boom")]),
    ("batch-job-finish", ".json", [done("a", **WHOLE), {"result": "pass"}]),
    ("job-live", ".json", b"null"),
    ("regr-start", ".json", {"component": "cpu", "submitted": 7, "name": "another"}),
    ("regr-update", ".json", {"submitted": "seven"}),
    ("regr-finish", ".json", b""),
    ("regr-finish", ".json", {"tag": "t", "time_limit_hours": -1}),
]


def told_by(details: list[Any], regression: str) -> list[Any]:
    """What is notable in a receipt, without ids."""
    notable = [detail for detail in details if detail["outcome"] != "applied" or detail["warnings"]]
    return json.loads(json.dumps([detail | {"job": None} for detail in notable]).replace(regression, "REG"))


def rows_of(daemon: Daemon, regression: str) -> dict[str, Any]:
    """All that is stored of a regression, without what tells the two doors apart: ids, times of receipt, numbers,
    and what the first one saw before."""
    status, one, _ = daemon.request("GET", f"/api/v1/regressions/{regression}")
    if status == 404:
        return {}
    volatile = "id name version started_at finished_at last_activity_at due_at elapsed_ms new_signatures _links eta_at"
    jobs = daemon.get(f"/jobs?limit=500&regression={regression}")["items"]
    of_job = "id regression regression_id version _links due_at submitted_at started_at last_seen_at finished_at"
    of_live = " elapsed_ms"
    return {
        "regression": {key: value for key, value in one.items() if key not in volatile.split()},
        "jobs": [
            {
                key: value
                for key, value in job.items()
                if key not in (of_job + of_live if job["result"] == "live" else of_job).split()
            }
            for job in jobs
        ],
    }


def with_name(content: Any, regression: str) -> bytes:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return raw.replace(b'"REG"', json.dumps(regression).encode())


@pytest.mark.parametrize(("way", "suffix", "content"), DELIVERIES)
def test_both_doors_make_the_same_of_a_delivery(shared: Daemon, run: str, way: str, suffix: str, content: Any) -> None:
    by_file, by_post = f"{run}f", f"{run}p"
    name = f"{by_file}{suffix}" if way == "messages" else f"{by_file}/{way}.1{suffix}"
    path = "/messages" if way == "messages" else f"/publish/{way}?regression={by_post}"
    headers = NDJSON if suffix == ".ndjson" else {}

    shared.drop(name, with_name(content, by_file))
    status, posted, _ = shared.request("POST", f"/api/v1{path}", with_name(content, by_post), headers)

    filed = wait_until(lambda: shared.get(f"/receipts?name={quoted(name)}")["items"], what="the file's receipt")[0]
    outcomes = ("messages", "applied", "duplicate", "ignored", "rejected")
    assert {key: filed[key] for key in outcomes} == {key: posted[key] for key in outcomes}
    assert told_by(filed["details"], by_file) == told_by(posted["details"], by_post)
    assert rows_of(shared, by_file) == rows_of(shared, by_post)
    assert (status == 200) == (filed["rejected"] == 0)
    assert filed["messages"] > 0


# --- receipts ---------------------------------------------------------------------------------------------------------


def test_a_receipt_can_be_read_by_its_id_and_found_by_name_and_outcome(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/x y.json", [live("a"), live("b", cycles="many")])
    shared.drop(f"{run}/good.json", live("c"))
    listed = wait_until(lambda: shared.get(f"/receipts?name={quoted(f'{run}/x y.json')}")["items"])

    one = shared.get(f"/receipts/{listed[0]['id']}")

    assert [one] == listed
    assert (one["name"], one["applied"], one["rejected"]) == (f"{run}/x y.json", 1, 1)
    wait_until(lambda: shared.get(f"/receipts?name={run}/good.json")["items"])
    for outcome, expected in (("applied", 1), ("rejected", 0), ("duplicate", 0), ("ignored", 0)):
        found = shared.get(f"/receipts?name={run}/good.json&outcome={outcome}")["items"]
        assert len(found) == expected, outcome
    rejected = shared.get("/receipts?outcome=rejected&limit=500")["items"]
    assert listed[0]["id"] in [told["id"] for told in rejected]
    assert all(told["rejected"] for told in rejected)


def test_a_receipt_is_found_by_its_path_or_its_bare_file_name(shared: Daemon, run: str) -> None:
    for name in (f"[7]{run}.json", f"{run}/x/[7]{run}.json", f"{run}/y[7]{run}.json"):
        shared.drop(name, envelope("job-live", run, live()))
        wait_until(lambda name=name: shared.get(f"/receipts?name={quoted(name)}")["items"])

    def names(said: str) -> list[str]:
        return [told["name"] for told in shared.get(f"/receipts?name={quoted(said)}")["items"]]

    assert names(f"[7]{run}.json") == [f"{run}/x/[7]{run}.json", f"[7]{run}.json"]
    assert names(f"{run}/x/[7]{run}.json") == [f"{run}/x/[7]{run}.json"]
    assert names(f"x/[7]{run}.json") == names(f"*{run}.json") == names(".json") == []


@pytest.mark.parametrize(
    ("number", "status", "reason"),
    [("999999999", 404, "no-such-receipt"), ("x", 400, "bad-query"), ("99999999999999999999", 400, "bad-query")],
)
def test_a_receipt_that_is_not_there(shared: Daemon, number: str, status: int, reason: str) -> None:
    problem(shared.request("GET", f"/api/v1/receipts/{number}"), status, reason)


# --- lists and pages --------------------------------------------------------------------------------------------------


def pages(daemon: Daemon, path: str, between: Callable[[int], None] = lambda number: None) -> list[list[Any]]:
    """All pages of a list; between two of them something may happen."""
    found: list[list[Any]] = []
    cursor = ""
    while True:
        status, page, headers = daemon.request("GET", f"/api/v1{path}{cursor}")
        assert status == 200, page
        found.append(page["items"])
        if page["next"] is None:
            assert "link" not in headers
            return found
        address, _, relation = headers["link"].partition("; ")
        assert relation == 'rel="next"'
        following = urllib.parse.parse_qs(urllib.parse.urlsplit(address.strip("<>")).query)
        assert following["after"] == [page["next"]]
        cursor = f"&after={quoted(page['next'])}"
        between(len(found))


def ids(found: list[list[Any]]) -> list[int]:
    return [item["id"] for page in found for item in page]


@pytest.mark.parametrize("sort", ["newest", "longest", "name"])
def test_pages_of_jobs_neither_repeat_nor_lose_any_while_more_arrive(shared: Daemon, run: str, sort: str) -> None:
    bodies = [done(f"{number:02}", runtime_ms=number % 5, name=f"n{number % 7}") for number in range(30)]
    known = [
        detail["job"]
        for kind, sent in (("job-finish", [*bodies, done("no name")]), ("job-live", [live("no runtime")]))
        for detail in publish(shared, kind, run, sent)["details"]
    ]

    def arrive(number: int) -> None:
        publish(shared, "job-finish", run, done(f"new-{number}", runtime_ms=number % 5, name=f"n{number % 7}"))

    found = ids(pages(shared, f"/regressions/{run}/jobs?limit=4&sort={sort}", arrive))

    assert len(found) == len(set(found))
    assert set(known) <= set(found)
    if sort == "newest":
        assert found == sorted(known, reverse=True)


def test_pages_of_regressions_neither_repeat_nor_lose_any_while_more_arrive(shared: Daemon, run: str) -> None:
    for number in range(12):
        publish(shared, "regr-start", f"{run}/{number}", {"component": run})
        if number % 3 == 0:
            publish(shared, "regr-finish", f"{run}/{number}", None)
    known = [item["id"] for item in shared.get(f"/regressions?component={run}&limit=500")["items"]]

    def arrive(number: int) -> None:
        publish(shared, "regr-start", f"{run}/new-{number}", {"component": run})

    found = ids(pages(shared, f"/regressions?component={run}&limit=5", arrive))

    assert found == known
    assert len(found) == 12


def test_pages_of_receipts_neither_repeat_nor_lose_any_while_more_arrive(shared: Daemon, run: str) -> None:
    known = [publish(shared, "job-live", run, live())["id"] for _ in range(11)]

    found = ids(pages(shared, "/receipts?limit=3", lambda number: publish(shared, "job-live", run, live()) and None))

    assert len(found) == len(set(found))
    assert [number for number in found if number in known] == known[::-1]


def test_pages_of_signatures_are_largest_first_and_complete(shared: Daemon, run: str) -> None:
    words = "alpha beta gamma delta epsilon zeta eta".split()
    bodies = [
        done(f"{word}-{number}", "fail", fail_message=f"ERROR {word} went wrong")
        for word, count in zip(words, (1, 2, 3, 1, 2, 1, 3), strict=True)
        for number in range(count)
    ]
    publish(shared, "batch-job-finish", run, bodies)

    found = [item for page in pages(shared, f"/regressions/{run}/signatures?limit=2") for item in page]

    assert [item["count"] for item in found] == [3, 3, 2, 2, 1, 1, 1]
    assert len({item["id"] for item in found}) == 7
    assert all(item["category"] == "sim" and item["new"] for item in found if "went wrong" in item["title"])
    only = shared.get(f"/regressions/{run}/signatures?q=GAMMA")["items"]
    assert [item["count"] for item in only] == [3]
    assert shared.get(f"/regressions/{run}/signatures?category=lint")["items"] == []
    here = shared.get(f"/regressions/{run}/jobs?signature={only[0]['id']}")["items"]
    assert {job["uniqueid"] for job in here} == {"gamma-0", "gamma-1", "gamma-2"}


def test_a_list_has_twenty_items_unless_a_limit_is_given(shared: Daemon, run: str) -> None:
    publish(shared, "batch-job-live", run, [live(str(number)) for number in range(501)])

    lengths = {limit: len(shared.get(f"/jobs?regression={run}{limit}")["items"]) for limit in ("", "&limit=1")}
    most = shared.get(f"/jobs?regression={run}&limit=500")

    assert lengths == {"": 20, "&limit=1": 1}
    assert len(most["items"]) == 500
    assert len(shared.get(f"/jobs?regression={run}&limit=500&after={most['next']}")["items"]) == 1


LISTS = ["/jobs?", "/regressions?", "/receipts?", "/regressions/1/jobs?", "/regressions/1/signatures?"]


@pytest.mark.parametrize("path", [*LISTS, "/events?"])
@pytest.mark.parametrize("limit", ["0", "501", "-1", "x", "1.5", "1e2", "٣", "99999999999999999999"])
def test_a_limit_outside_1_to_500_is_400(shared: Daemon, path: str, limit: str) -> None:
    publish(shared, "job-live", "first", live())

    told = problem(shared.request("GET", f"/api/v1{path}limit={quoted(limit)}"), 400, "bad-query")

    assert told["path"] == "limit"


def cursor(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


NONSENSE = {
    "word": "nonsense",
    "not base64": "!!!",
    "not ascii": "ä",
    "a number": base64.urlsafe_b64encode(b"17").decode(),
    "an object": base64.urlsafe_b64encode(b'{"a": 1}').decode(),
    "empty": cursor(),
    "of another order": cursor("oldest", 7),
    "too long": cursor("newest", 1, 2, 3, 4),
    "a list": cursor("newest", [1]),
    "null": cursor("newest", None),
    "too large": cursor("newest", 2**70),
    "too small": cursor("newest", -(2**70)),
}


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("kind", NONSENSE)
def test_a_cursor_that_is_nonsense_is_400(shared: Daemon, path: str, kind: str) -> None:
    publish(shared, "job-live", "first", live())

    told = problem(shared.request("GET", f"/api/v1{path}after={quoted(NONSENSE[kind])}"), 400, "bad-query")

    assert told["path"] == "after"


@pytest.mark.parametrize("values", [("name", "\ud800", 1), ("name", "x", 2**70), ("longest", "1 OR 1", 1, 1)])
def test_a_cursor_whose_values_no_database_can_hold_is_400(shared: Daemon, values: tuple[Any, ...]) -> None:
    path = f"/api/v1/jobs?sort={values[0]}&after={cursor(*values)}"

    problem(shared.request("GET", path), 400, "bad-query")


def test_a_cursor_of_another_order_is_400(shared: Daemon, run: str) -> None:
    publish(shared, "batch-job-live", run, [live("a"), live("b")])
    after = shared.get(f"/jobs?regression={run}&limit=1&sort=name")["next"]

    problem(shared.request("GET", f"/api/v1/jobs?regression={run}&limit=1&after={after}"), 400, "bad-query")


@pytest.fixture(scope="module")
def lab(shared: Daemon) -> Daemon:
    """Regressions and jobs to look for."""
    publish(shared, "regr-start", "lab/1", {"component": "labcpu", "model_branch": "labmain", "tag": "green"})
    publish(shared, "job-finish", "lab/1", done())
    publish(shared, "regr-finish", "lab/1", None)
    publish(shared, "regr-start", "lab/2", {"component": "labgpu", "model_branch": "labmain", "submitted": 9})
    publish(shared, "regr-finish", "lab/2", None)
    publish(shared, "regr-start", "lab/10", {"component": "labcpu", "model_branch": "labdev"})
    publish(shared, "regr-start", "lab/9", {"component": "labcpu"})
    shared.post("/regressions/lab%2F9/tank", {"reason": "wrong model"})
    publish(shared, "regr-start", "labother", {"tag": "100%_sure"})
    bodies = [
        live("l1", host="h1", name="alpha", phase="queued"),
        done("p1", host="h1", name="beta", runtime_ms=500, config="c-long"),
        done("p2", host="h2", name="gamma", runtime_ms=100, seed="4711", category="lint"),
        done("f1", "fail", host="h2", name="delta", runtime_ms=900, fail_message="ERROR boom at 17"),
        done("s1", "skip", config="aaa"),
    ]
    publish(shared, "batch-job-finish", "lab/10", bodies[1:])
    publish(shared, "job-live", "lab/10", bodies[0])
    return shared


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=live", ["labother", "lab/10"]),
        ("status=complete", ["lab/1"]),
        ("status=aborted", ["lab/2"]),
        ("status=tanked", ["lab/9"]),
        ("status=complete,aborted", ["lab/2", "lab/1"]),
        ("status=live,tanked", ["labother", "lab/9", "lab/10"]),
        ("", ["labother", "lab/10", "lab/2", "lab/1"]),
        ("tanked=1", ["labother", "lab/9", "lab/10", "lab/2", "lab/1"]),
        ("series=lab", ["lab/10", "lab/2", "lab/1"]),
        ("series=lab&tanked=1", ["lab/9", "lab/10", "lab/2", "lab/1"]),
        ("branch=labmain", ["lab/2", "lab/1"]),
        ("component=labcpu", ["lab/10", "lab/1"]),
        ("component=labcpu&branch=labmain", ["lab/1"]),
        ("q=LAB/1", ["lab/10", "lab/1"]),
        ("q=labmain", ["lab/2", "lab/1"]),
        ("q=labgpu", ["lab/2"]),
        ("q=%20lab/1%20", ["lab/10", "lab/1"]),
        ("q=LABCPU+10", ["lab/10"]),
        ("q=labcpu+labmain", ["lab/1"]),
        ("q=%20&series=lab", ["lab/10", "lab/2", "lab/1"]),
        ("q=" + "lab+" * 20, ["labother", "lab/10", "lab/2", "lab/1"]),
        ("q=" + "lab+" * 1500, []),
        ("q=green", ["lab/1"]),
        ("q=100%25_", ["labother"]),
        ("q=1%25", []),
        ("q=_sure", ["labother"]),
        ("q=lab%5C", []),
        ("q='%22%00", []),
        ("q=%00", []),
        ("q=lab%00", []),
        ("series=nothing", []),
    ],
)
def test_every_filter_of_regressions(lab: Daemon, query: str, expected: list[str]) -> None:
    found = [item["name"] for item in lab.get(f"/regressions?limit=500&{query}")["items"]]

    assert [name for name in found if name.startswith("lab")] == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "l1 s1 f1 p2 p1"),
        ("result=live", "l1"),
        ("result=pass", "p2 p1"),
        ("result=fail", "f1"),
        ("result=skip", "s1"),
        ("result=fail,skip", "s1 f1"),
        ("host=h1", "l1 p1"),
        ("host=h1&result=pass", "p1"),
        ("category=lint", "p2"),
        ("q=GAMMA", "p2"),
        ("q=c-lo", "p1"),
        ("q=h2", "f1 p2"),
        ("q=4711", "p2"),
        ("q=boom", "f1"),
        ("q=+17+delta+", "f1"),
        ("q=boom+gamma", ""),
        ("q=s1", "s1"),
        ("sort=name", "s1 l1 p1 f1 p2"),
        ("sort=newest", "l1 s1 f1 p2 p1"),
        ("sort=name&result=pass", "p1 p2"),
        ("signature=999999", ""),
    ],
)
@pytest.mark.parametrize("path", ["/regressions/lab%2F10/jobs?", "/jobs?regression=lab%2F10&"])
def test_every_filter_and_order_of_jobs(lab: Daemon, path: str, query: str, expected: str) -> None:
    found = lab.get(f"{path}{query}")["items"]

    assert [job["uniqueid"] for job in found] == expected.split()


def test_the_longest_run_first_also_while_they_run_on_between_two_pages(shared: Daemon, run: str) -> None:
    bodies = [done("hour", runtime_ms=3_600_000), done("blink", runtime_ms=1), done("unknown")]
    publish(shared, "batch-job-finish", run, bodies)
    for name in ("first", "second", "third"):
        publish(shared, "job-live", run, live(name))
        time.sleep(0.005)

    found, after = [], ""
    while after is not None:
        page = shared.get(f"/jobs?regression={run}&sort=longest&limit=1&after={after}")
        found += [job["uniqueid"] for job in page["items"]]
        after = page["next"]

    assert found == ["hour", "first", "second", "third", "blink", "unknown"]


@pytest.mark.parametrize(
    "path",
    [
        "/regressions?status=finished",
        "/regressions?status=live,",
        "/jobs?result=passed",
        "/jobs?sort=oldest",
        "/jobs?signature=x",
        "/jobs?signature=-1",
        "/receipts?outcome=bad",
        "/receipts?sort=name",
        "/jobs?resutl=fail",
        "/regressions?limit=1&Status=live",
        "/jobs/1?whole=1",
        "/events?since=1",
        "/events?types=job.faild",
        "/events/stream?types=regression.fail.*",
    ],
)
def test_a_filter_that_cannot_be_is_400(shared: Daemon, path: str) -> None:
    problem(shared.request("GET", f"/api/v1{path}"), 400, "bad-query")


def test_jobs_of_a_regression_that_is_not_there_are_404(shared: Daemon) -> None:
    problem(shared.request("GET", "/api/v1/jobs?regression=nowhere"), 404, "no-such-regression")
    problem(shared.request("GET", "/api/v1/regressions/nowhere/jobs"), 404, "no-such-regression")


# --- what REF means ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "my/run/123",
        "100%",
        "a%2Fb",
        "with blank",
        "a+b",
        "a?b#c&d=e",
        "Prüfung/🚀",
        "q'\"`",
        "a\\b",
        "$",
        "..",
        "-",
    ],
)
def test_a_regression_is_found_by_its_encoded_name_and_by_its_id(shared: Daemon, run: str, name: str) -> None:
    name = f"{run}{name}"
    publish(shared, "job-live", name, live())

    by_name = shared.get(f"/regressions/{quoted(name)}")

    assert by_name["name"] == name
    assert shared.get(f"/regressions/{by_name['id']}")["name"] == name
    assert [job["regression"] for job in shared.get(f"/regressions/{quoted(name)}/jobs")["items"]] == [name]
    assert [job["regression"] for job in shared.get(f"/jobs?regression={quoted(name)}")["items"]] == [name]
    link = by_name["_links"]["web"]["href"]
    assert urllib.parse.unquote(link.rpartition("/r/")[2]) == name
    assert shared.request("GET", link)[0] == 200


@pytest.mark.parametrize("name", ["1", "2", "007"])
def test_the_page_of_a_regression_whose_name_looks_like_an_id_is_linked_by_its_id(shared: Daemon, name: str) -> None:
    publish(shared, "job-live", name, live())
    (number,) = shared.rows("SELECT id FROM regression WHERE name = ?", name)[0]

    link = shared.get(f"/regressions/{number}")["_links"]["web"]["href"]

    assert link == f"/r/{number}"


def test_series_dollar_means_the_latest_by_number(shared: Daemon, run: str) -> None:
    for number in ("9", "10", "2"):
        publish(shared, "job-live", f"{run}/x/{number}", live(number))

    latest = shared.get(f"/regressions/{run}%2Fx%2F%24")

    assert (latest["name"], latest["series"], latest["number"]) == (f"{run}/x/10", f"{run}/x", 10)
    assert shared.get(f"/regressions/{run}%2Fx%2F%24/jobs")["items"][0]["uniqueid"] == "10"
    problem(shared.request("GET", f"/api/v1/regressions/{run}%2F%24"), 404, "no-such-regression")


def test_series_dollar_is_a_name_only_where_the_series_has_no_run(shared: Daemon, run: str) -> None:
    publish(shared, "job-live", f"{run}/$", live("mistake"))
    before = shared.get(f"/regressions/{run}%2F%24")["name"]

    publish(shared, "job-live", f"{run}/1", live())

    assert before == f"{run}/$"
    assert shared.get(f"/regressions/{run}%2F%24")["name"] == f"{run}/1"


def test_a_job_that_was_run_again_started_when_its_last_run_did(shared: Daemon, run: str) -> None:
    job = publish(shared, "job-live", run, live(time_limit_ms=100_000))["details"][0]["job"]
    shared.post(f"/jobs/{job}/extend", {"by_ms": 1000})
    publish(shared, "job-finish", run, done(result="fail", start_time="2026-01-01T10:00:00Z"))

    publish(shared, "job-finish", run, done(start_time="2026-01-01T11:00:00Z"))

    told = shared.get(f"/jobs/{job}")
    assert (told["started_at"], told["time_limit_ms"]) == ("2026-01-01T11:00:00.000Z", None)


@pytest.mark.parametrize("ref", ["nowhere", "999999999", "99999999999999999999", "%24", "%2F%24", "a%00b"])
def test_a_regression_that_is_not_there_is_404(shared: Daemon, ref: str) -> None:
    for path in ("", "/jobs", "/signatures", "/diff"):
        problem(shared.request("GET", f"/api/v1/regressions/{ref}{path}"), 404, "no-such-regression")
    for path in ("tank", "untank", "finish"):
        problem(shared.request("POST", f"/api/v1/regressions/{ref}/{path}"), 404, "no-such-regression")


@pytest.mark.parametrize("number", ["0", "999999999", "x", "-1", "1.5", "99999999999999999999", "٣"])
def test_a_job_that_is_not_there_is_404(shared: Daemon, number: str) -> None:
    for path in ("", "/status", "/history"):
        problem(shared.request("GET", f"/api/v1/jobs/{quoted(number)}{path}"), 404, "no-such-job")
    problem(shared.request("POST", f"/api/v1/jobs/{quoted(number)}/tank"), 404, "no-such-job")


def test_a_pruned_job_is_410(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f"{LIVE_SIGS}prunelivedays = 0.000005\n").start()
    number = publish(daemon, "job-live", "r", live())["details"][0]["job"]

    wait_until(lambda: daemon.rows("SELECT 1 FROM pruned_job"))

    for path in ("", "/status", "/history"):
        told = problem(daemon.request("GET", f"/api/v1/jobs/{number}{path}"), 410, "pruned")
        assert "pruned" in told["detail"]
    problem(daemon.request("POST", f"/api/v1/jobs/{number}/tank"), 410, "pruned")
    assert daemon.get("/jobs")["items"] == []
    assert "job.pruned" in [event["type"] for event in daemon.get("/events")["items"]]


@pytest.mark.parametrize(("what", "body"), [("tank", {}), ("extend", {"by_ms": 1000})])
def test_a_job_that_is_pruned_while_it_is_changed_is_410(
    make_daemon: Callable[..., Daemon], tmp_path: Path, what: str, body: Any
) -> None:
    prelude = """
looked = rooms.find("job_row")

async def and_then_pruned(context, request):
    row = await looked(context, request)
    while await context.readers.read("SELECT 1 FROM job"):
        await context.ledger.change(rooms.find("prune_jobs"))
    return row

rooms.replace("job_row", and_then_pruned)
rooms.replace("prune_interval", lambda config: math.inf)
"""
    daemon = make_daemon(f"{LIVE_SIGS}prunelivedays = 0.000001\n", program=driven(tmp_path, prelude)).start()
    number = publish(daemon, "job-live", "r", live(time_limit_ms=60_000))["details"][0]["job"]

    told = problem(daemon.request("POST", f"/api/v1/jobs/{number}/{what}", body), 410, "pruned")

    assert f"job {number} was live without news for long" in told["detail"]
    assert "Traceback" not in daemon.log.read_text()
    assert daemon.get("/regressions/r")["counts"]["live"] == 0
    again = publish(daemon, "job-live", "r", live())["details"][0]["job"]
    assert again > number


# --- ETags ------------------------------------------------------------------------------------------------------------


def tag_of(daemon: Daemon, path: str) -> tuple[str, Any]:
    status, told, headers = daemon.request("GET", path)
    assert status == 200
    return headers["etag"], told


def unchanged(daemon: Daemon, path: str, known: str) -> bool:
    """Does the daemon say that a reader who knows these tags has the newest version?"""
    status, body, headers = daemon.request("GET", path, headers={"If-None-Match": known})
    assert (status, bool(body)) in ((200, True), (304, False))
    assert headers["etag"]
    return status == 304


@pytest.mark.parametrize("path", ["/api/v1/regressions/{run}", "/api/v1/jobs/{job}", "/api/v1/jobs/{job}/status"])
def test_an_etag_holds_until_something_changes_and_elapsed_time_is_no_change(
    shared: Daemon, run: str, path: str
) -> None:
    job = publish(shared, "job-live", run, live())["details"][0]["job"]
    path = path.format(run=run, job=job)
    tag, before = tag_of(shared, path)
    assert tag == f'"{shared.get("/")["epoch"]}-{before["version"]}"'
    if "elapsed_ms" in before:
        wait_until(lambda: tag_of(shared, path)[1]["elapsed_ms"] > before["elapsed_ms"])

    assert unchanged(shared, path, tag)
    assert unchanged(shared, path, f'"other", W/{tag}')
    assert unchanged(shared, path, "*")
    assert not unchanged(shared, path, '"other"')
    publish(shared, "job-finish", run, done())
    assert not unchanged(shared, path, tag)


def test_an_etag_of_another_database_never_matches(shared: Daemon, run: str) -> None:
    publish(shared, "job-live", run, live())
    tag, _ = tag_of(shared, f"/api/v1/regressions/{run}")

    other = f'"{"0" * 8}-{tag.rpartition("-")[2]}'

    assert not unchanged(shared, f"/api/v1/regressions/{run}", other)


CLOCKED = ("elapsed_ms", "eta_at", "due_at", "last_activity_at", "last_seen_at")


def seen(told: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key not in CLOCKED}


def test_the_etag_of_a_regression_changes_with_a_field_that_a_message_of_an_older_run_fills_in(
    shared: Daemon, run: str
) -> None:
    publish(shared, "regr-start", run, {"starttime": "2026-01-02T00:00:00Z"})
    tag, before = tag_of(shared, f"/api/v1/regressions/{run}")

    publish(shared, "regr-start", run, {"starttime": "2026-01-01T00:00:00Z", "component": "cpu"})

    _, after = tag_of(shared, f"/api/v1/regressions/{run}")
    assert (seen(after) == seen(before)) == unchanged(shared, f"/api/v1/regressions/{run}", tag)


def test_the_etag_of_a_job_changes_when_its_clock_starts(shared: Daemon, run: str) -> None:
    job = publish(shared, "job-live", run, live(phase="queued", time_limit_ms=100_000))["details"][0]["job"]
    tag, before = tag_of(shared, f"/api/v1/jobs/{job}")

    publish(shared, "job-live", run, live())

    _, after = tag_of(shared, f"/api/v1/jobs/{job}")
    assert (seen(after) == seen(before)) == unchanged(shared, f"/api/v1/jobs/{job}", tag)


def test_a_regression_started_when_the_last_message_says(shared: Daemon, run: str) -> None:
    publish(shared, "regr-update", run, {"component": "cpu"})
    first = shared.get(f"/regressions/{run}")["started_at"]

    publish(shared, "regr-start", run, {"starttime": "2026-01-01T00:00:00Z"})
    by_start = shared.get(f"/regressions/{run}")["started_at"]
    publish(shared, "regr-update", run, {"starttime": "2026-01-01T01:00:00.1239+01:00"})
    by_update = shared.get(f"/regressions/{run}")["started_at"]

    assert first > "2026-01-01T00:00:00.000Z"
    assert by_start == "2026-01-01T00:00:00.000Z"
    assert by_update == "2026-01-01T00:00:00.123Z"


# --- diff -------------------------------------------------------------------------------------------------------------


def test_diff_tells_five_kinds_by_config(shared: Daemon, run: str) -> None:
    def job(config: str, result: str, seed: str = "1") -> dict[str, Any]:
        more = {"fail_message": "ERROR x"} if result == "fail" else {}
        return done(f"{config}-{seed}", result, config=config, seed=seed, **more)

    base = [job("breaks", "pass"), job("heals", "fail"), job("stays", "fail"), job("leaves", "pass"), job("ok", "pass")]
    here = [job("breaks", "fail"), job("heals", "pass"), job("stays", "fail"), job("comes", "fail"), job("ok", "pass")]
    here += [job("seeds", "pass", "1"), job("seeds", "fail", "2"), job("skipped", "skip")]
    base += [job("seeds", "pass", "1"), job("seeds", "pass", "2"), job("skipped", "fail"), job("runs", "pass")]
    publish(shared, "batch-job-finish", f"{run}/1", base)
    told = publish(shared, "batch-job-finish", f"{run}/2", here)
    publish(shared, "job-live", f"{run}/2", live("running", config="runs"))

    diff = shared.get(f"/regressions/{run}%2F2/diff?base={run}%2F1")

    assert (diff["regression"], diff["base"]) == (f"{run}/2", f"{run}/1")
    changed = {"newly_failing": 2, "fixed": 1, "still_failing": 1, "missing": 1, "added": 1}
    assert {kind: diff["counts"][kind] for kind in changed} == changed
    configs = {kind: [entry["config"] for entry in diff[kind]] for kind in changed}
    assert configs == {
        "newly_failing": ["breaks", "seeds"],
        "fixed": ["heals"],
        "still_failing": ["stays"],
        "missing": ["leaves"],
        "added": ["comes"],
    }
    entry = diff["newly_failing"][1]
    assert (entry["jobs"], entry["job"]) == (2, told["details"][6]["job"])
    assert (diff["added"][0]["base_job"], diff["missing"][0]["job"]) == (None, None)
    assert shared.get(f"/regressions/{run}%2F2/diff") == diff
    assert shared.get(f"/regressions/{run}%2F%24/diff") == diff


def test_diff_without_a_base_needs_an_earlier_run(shared: Daemon, run: str) -> None:
    publish(shared, "job-finish", f"{run}/5", done(config="c"))
    publish(shared, "job-finish", f"{run}alone", done(config="c"))

    problem(shared.request("GET", f"/api/v1/regressions/{run}%2F5/diff"), 404, "no-base")
    problem(shared.request("GET", f"/api/v1/regressions/{run}alone/diff"), 404, "no-base")
    problem(shared.request("GET", f"/api/v1/regressions/{run}%2F5/diff?base=nowhere"), 404, "no-such-regression")


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_tank_hides_a_regression_and_its_jobs_fail_until_untank(shared: Daemon, run: str) -> None:
    publish(shared, "batch-job-live", run, [live("a"), live("b")])
    publish(shared, "job-finish", run, done("c"))

    status, tanked = shared.post(f"/regressions/{run}/tank", {"reason": "wrong model"})
    late = publish(shared, "job-live", run, live("a"))
    hidden = [item["name"] for item in shared.get("/regressions?limit=500")["items"]]

    assert (status, tanked["status"], tanked["reason"]) == (200, "tanked", "wrong model")
    assert tanked["counts"] == {"pass": 1, "fail": 2, "skip": 0, "live": 0, "migrated": 2}
    assert (late["ignored"], late["details"][0]["reason"]) == (1, "tanked")
    assert run not in hidden
    job = shared.get(f"/regressions/{run}/jobs?result=fail")["items"][0]
    assert (job["reason"], job["signature"]["title"], job["migrated"]) == ("tanked", "Tanked", True)
    status, shown = shared.post(f"/regressions/{run}/untank")
    assert (status, shown["status"]) == (200, "live")
    assert shown["counts"] == {"pass": 1, "fail": 0, "skip": 0, "live": 2, "migrated": 0}
    types = [event["type"] for event in shared.get(f"/events?regression={run}&limit=500")["items"]]
    assert [kind for kind in types if kind.startswith("regression.") and "tank" in kind] == [
        "regression.tanked",
        "regression.untanked",
    ]


def test_tank_and_untank_a_second_time_change_nothing(shared: Daemon, run: str) -> None:
    publish(shared, "job-live", run, live())
    assert shared.post(f"/regressions/{run}/untank")[1]["status"] == "live"
    first = shared.post(f"/regressions/{run}/tank", {"reason": "first"})[1]

    second = shared.post(f"/regressions/{run}/tank", {"reason": "second"})[1]

    assert (second["reason"], second["version"]) == ("first", first["version"])


def test_finish_ends_a_regression_and_migrates_its_live_jobs(shared: Daemon, run: str) -> None:
    publish(shared, "batch-job-live", run, [live("a"), live("b")])

    status, told = shared.post(f"/regressions/{run}/finish")

    assert (status, told["status"], told["reason"]) == (200, "aborted", "finish")
    assert told["counts"] == {"pass": 0, "fail": 2, "skip": 0, "live": 0, "migrated": 2}
    again = shared.post(f"/regressions/{run}/finish")
    assert (again[0], again[1]["version"]) == (200, told["version"])


def test_tank_of_a_job_makes_it_a_fail_that_a_finish_corrects(shared: Daemon, run: str) -> None:
    number = publish(shared, "job-live", run, live())["details"][0]["job"]

    status, tanked = shared.post(f"/jobs/{number}/tank", {"reason": "hangs"})

    assert (status, tanked["result"], tanked["reason"]) == (200, "fail", "tanked")
    assert "hangs" in tanked["fail_message"]
    assert shared.post(f"/jobs/{number}/tank")[0] == 200
    publish(shared, "job-finish", run, done())
    assert shared.get(f"/jobs/{number}/status")["result"] == "pass"
    problem(shared.request("POST", f"/api/v1/jobs/{number}/tank"), 409, "not-live")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "bad-json"),
        (b"[1]", "bad-json"),
        (b'{"reason": 7}', "wrong-type"),
        (b'{"reason": "a\\u0000b"}', "bad-text"),
    ],
)
def test_a_reason_that_cannot_be_read_is_400(shared: Daemon, run: str, body: bytes, reason: str) -> None:
    number = publish(shared, "job-live", run, live())["details"][0]["job"]

    problem(shared.request("POST", f"/api/v1/regressions/{run}/tank", body), 400, reason)
    problem(shared.request("POST", f"/api/v1/jobs/{number}/tank", body), 400, reason)

    assert shared.get(f"/regressions/{run}")["status"] == "live"


# --- who may ask ------------------------------------------------------------------------------------------------------


def test_writing_needs_the_token_and_reading_does_not(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f'token = "sesame"\n{CONFIG.partition("[limits]")[0]}').start()
    paths = ["/publish/job-live?regression=r", "/messages", "/regressions/r/tank", "/jobs/1/tank", "/nowhere"]
    wrong = [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s"}, {"Authorization": "Bearer sésame"}]

    refused = [daemon.request("POST", f"/api/v1{path}", live(), headers) for path in paths for headers in wrong]
    said = {"Authorization": "Bearer sesame"}
    status, told, _ = daemon.request("POST", f"/api/v1{paths[0]}", live(), said)

    for answer in refused:
        problem(answer, 401, "token")
        assert answer[2]["www-authenticate"] == "Bearer"
    assert (status, told["applied"]) == (200, 1)
    assert daemon.rows("SELECT count(*) FROM receipt") == [(1,)]
    for scheme in ("bearer", "BEARER", "Bearer "):
        said = {"Authorization": f"{scheme} sesame"}
        assert daemon.request("POST", "/api/v1/messages", [], said)[0] == 200, scheme
    assert daemon.get("/jobs")["items"][0]["uniqueid"] == "a"
    assert daemon.get("/")["token_required"] is True
    assert [daemon.request("GET", path)[0] for path in ("/healthz", "/metrics", "/", "/r/r")] == [200] * 4
    assert "sesame" not in daemon.log.read_text()


def test_without_a_token_only_loopback_is_listened_on(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    for listen in ("0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0"):
        daemon.config.write_text(daemon.config.read_text().replace("127.0.0.1:0", listen))

        daemon.start(wait=False)

        assert daemon.process is not None
        assert daemon.process.wait(10) == 2
        assert "token" in daemon.log.read_text()
        daemon.config.write_text(daemon.config.read_text().replace(listen, "127.0.0.1:0"))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8040", "localhost.evil.example", "", "127.0.0.1.evil:1"]
)
@pytest.mark.parametrize("path", ["/api/v1/jobs", "/", "/static/page.js", "/healthz", "/metrics", "/nowhere"])
def test_a_foreign_host_is_refused(shared: Daemon, host: str, path: str) -> None:
    problem(shared.request("GET", path, headers={"Host": host}), 403, "foreign-host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:8040", "10.1.2.3:8040"])
def test_localhost_and_literal_addresses_are_no_foreign_hosts(shared: Daemon, host: str) -> None:
    assert shared.request("GET", "/api/v1/jobs", headers={"Host": host})[0] == 200


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "http://127.0.0.1:1", "https://localhost", "", "file://"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_origin_is_refused(shared: Daemon, run: str, origin: str, method: str) -> None:
    path = "/api/v1/jobs" if method == "GET" else f"/api/v1/publish/job-live?regression={run}"
    headers = {"Origin": origin, "Content-Type": "text/plain"}

    answer = shared.request(method, path, live() if method == "POST" else None, headers)

    problem(answer, 403, "foreign-origin")
    assert shared.request("GET", f"/api/v1/regressions/{run}")[0] == 404


def test_the_own_origin_is_allowed(shared: Daemon, run: str) -> None:
    for origin in (shared.url, shared.url.replace("http:", "https:")):
        status, _, headers = shared.request(
            "POST", f"/api/v1/publish/job-live?regression={run}", live(), {"Origin": origin}
        )

        assert status == 200
        assert "access-control-allow-origin" not in headers


def test_names_of_hosts_and_origins_are_the_same_in_any_case(make_daemon: Callable[..., Daemon]) -> None:
    extra = 'public_url = "https://Sim.Lab.example"\nallowed_hosts = ["tracker.lab"]\n'
    daemon = make_daemon(f"{extra}{CONFIG}").start()

    for host, origin in (
        ("TRACKER.LAB", "http://tracker.lab"),
        ("tracker.lab", "HTTP://Tracker.Lab"),
        ("localhost", "https://sim.lab.example"),
    ):
        answer = daemon.request("POST", "/api/v1/messages", [], {"Host": host, "Origin": origin})
        assert answer[0] == 200, (host, origin)
    foreign = {"Host": "TRACKER.LAB", "Origin": "http://tracker.lab.evil"}
    problem(daemon.request("POST", "/api/v1/messages", [], foreign), 403, "foreign-origin")


def test_a_public_address_is_allowed_and_stands_in_links(make_daemon: Callable[..., Daemon]) -> None:
    extra = 'public_url = "https://sim.lab.example/scope/"\nallowed_hosts = ["farm7"]\n'
    daemon = make_daemon(f"{extra}{CONFIG}").start()
    daemon.url = daemon.url.removesuffix("/scope")
    publish(daemon, "batch-job-live", "r/1", [live("a"), live("b")])

    own = {"Host": "sim.lab.example", "Origin": "https://sim.lab.example"}
    status, told, headers = daemon.request("GET", "/api/v1/regressions/r%2F1/jobs?limit=1", headers=own)

    assert status == 200
    base = "https://sim.lab.example/scope"
    assert told["items"][0]["_links"]["self"]["href"].startswith(f"{base}/api/v1/jobs/")
    assert headers["link"].startswith(f"<{base}/api/v1/regressions/r%2F1/jobs?limit=1&after=")
    assert daemon.request("GET", "/api/v1/jobs", headers={"Host": "farm7:8040"})[0] == 200
    assert daemon.request("GET", "/api/v1/jobs", headers={"Host": "FARM7"})[0] == 200
    problem(daemon.request("GET", "/api/v1/jobs", headers={"Host": "farm8"}), 403, "foreign-host")
    problem(daemon.request("GET", "/api/v1/jobs", headers={"Origin": "http://sim.lab.example"}), 403, "foreign-origin")
    assert "/scope/static/" in daemon.request("GET", "/")[1]
    assert daemon.get("/openapi.json")["servers"][0]["url"] == f"{base}/api/v1"


def raw(daemon: Daemon, request: bytes) -> bytes:
    """Send bytes as they are. -> the beginning of the answer."""
    address = urllib.parse.urlsplit(daemon.url)
    with socket.create_connection((address.hostname, address.port), 10) as channel:
        channel.sendall(request)
        return channel.recv(4096)


@pytest.mark.parametrize(
    "name", ["Authorization", "Host", "Origin", "Last-Event-ID", "If-None-Match", "Prefer", "Accept"]
)
@pytest.mark.parametrize("token", ["", "secret"])
def test_header_bytes_that_are_not_utf_8_are_no_mistake_of_ours(
    daemons_with_and_without_token: dict[str, Daemon], name: str, token: str
) -> None:
    daemon = daemons_with_and_without_token[token]
    host = b"" if name == "Host" else b"Host: localhost\r\n"
    path = b"/api/v1/events/stream" if name == "Last-Event-ID" else b"/api/v1/messages"
    method = b"POST" if name == "Authorization" else b"GET"
    logged = daemon.log.stat().st_size

    answer = raw(
        daemon,
        b"%b %b HTTP/1.1\r\n%b%b: \xff\xfe\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        % (method, path, host, name.encode()),
    )

    status = int(answer.split()[1])
    assert status == 200 if name == "Last-Event-ID" else 400 <= status < 500
    assert b"Traceback" not in daemon.log.read_bytes()[logged:]


@pytest.fixture(scope="module")
def daemons_with_and_without_token(
    shared: Daemon, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Daemon]]:
    locked = Daemon(tmp_path_factory.mktemp("locked"), f'token = "secret"\n{CONFIG}').start()
    yield {"": shared, "secret": locked}
    locked.stop()


@pytest.mark.parametrize("bad", ["a%FF", "%ED%A0%80", "%C3", "a%C3b%A9"])
def test_an_address_that_is_not_utf_8_is_refused_as_a_body_is(shared: Daemon, bad: str) -> None:
    before = shared.rows("SELECT count(*) FROM receipt")

    problem(shared.request("POST", f"/api/v1/publish/job-live?regression={bad}", live()), 400, "bad-text")
    problem(shared.request("POST", f"/api/v1/messages?regression={bad}", live()), 400, "bad-text")
    problem(shared.request("GET", f"/api/v1/regressions/{bad}"), 400, "bad-text")
    problem(shared.request("GET", f"/api/v1/jobs?host={bad}"), 400, "bad-text")
    problem(shared.request("GET", f"/r/{bad}"), 400, "bad-text")

    assert shared.rows("SELECT count(*) FROM receipt") == before
    assert b" 400 " in raw(shared, b"GET /api/v1/jobs?host=\xff HTTP/1.1\r\nHost: localhost\r\n\r\n").splitlines()[0]


def test_a_request_that_is_too_large_is_told_alike_wherever_it_goes(shared: Daemon, run: str) -> None:
    job = publish(shared, "job-live", run, live())["details"][0]["job"]

    for place in (
        f"jobs/{job}/logs",
        f"jobs/{job}/extend",
        f"regressions/{run}/tank",
        f"publish/job-live?regression={run}",
    ):
        problem(shared.request("POST", f"/api/v1/{place}", b"x" * ((1 << 20) + 1)), 413, "too-large")


def test_a_body_that_is_not_packed_as_its_header_says_is_no_mistake_of_ours(shared: Daemon, run: str) -> None:
    job = publish(shared, "job-live", run, live())["details"][0]["job"]
    logged = shared.log.stat().st_size

    for place in (f"publish/job-live?regression={run}", f"regressions/{run}/tank", f"jobs/{job}/logs", "nowhere"):
        answer = shared.request("POST", f"/api/v1/{place}", b"not gzip", {"Content-Encoding": "gzip"})

        problem(answer, *((404, "not-found") if place == "nowhere" else (400, "unreadable")))
    assert b"Traceback" not in shared.log.read_bytes()[logged:]


@pytest.mark.parametrize("size", [1, 2000])
def test_a_mistake_of_ours_in_reading_messages_is_not_told_as_the_senders(
    make_daemon: Callable[..., Daemon], tmp_path: Path, size: int
) -> None:
    prelude = """
def mistaken(*asked, **named):
    raise ValueError("our own")

rooms.replace("items_of", mistaken)
"""
    daemon = make_daemon(program=driven(tmp_path, prelude)).start()

    answer = daemon.request("POST", "/api/v1/publish/job-live?regression=r", live(host="h" * size * 100))

    problem(answer, 500, "internal-error")
    assert "ValueError: our own" in daemon.log.read_text()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"G@T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nab\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 50,
    ],
    ids=lambda request_: repr(request_[:20]),
)
def test_what_is_not_http_is_400_and_no_mistake_of_ours(shared: Daemon, request_: bytes) -> None:
    logged = shared.log.stat().st_size

    answer = raw(shared, request_)

    assert answer.split()[1] == b"400"
    assert b"Traceback" not in shared.log.read_bytes()[logged:]


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/api/v1/nowhere", "/api/v2/jobs", "/nowhere", "/static/nowhere.js", "/static/..%2Fx"]
)
def test_an_address_that_is_not_there_is_404(shared: Daemon, path: str) -> None:
    problem(shared.request("GET", path), 404, "not-found")


@pytest.mark.parametrize(
    ("path", "accept", "kind"),
    [
        ("/nowhere", "text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("/r/", "text/html", "text/html"),
        ("/nowhere", "*/*", "application/problem+json"),
        ("/api/v1/nowhere", "text/html", "application/problem+json"),
        ("/static/nowhere.js", "text/html", "application/problem+json"),
    ],
)
def test_a_browser_at_an_address_that_is_not_there_gets_the_page(
    shared: Daemon, path: str, accept: str, kind: str
) -> None:
    status, _, headers = shared.request("GET", path, headers={"Accept": accept})

    assert (status, headers["content-type"].partition(";")[0]) == (404, kind)
    assert ("content-security-policy" in headers) == (kind == "text/html")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/v1/jobs", "GET,HEAD"),
        ("DELETE", "/api/v1/jobs/1", "GET,HEAD"),
        ("PUT", "/api/v1/jobs/1/logs", "GET,HEAD,POST"),
        ("PUT", "/api/v1/regressions/1", "GET,HEAD"),
        ("HEAD", "/api/v1/events/stream", "GET"),
        ("HEAD", "/api/v1/messages", "POST"),
        ("GET", "/api/v1/messages", "POST"),
        ("GET", "/api/v1/publish/job-live", "POST"),
        ("OPTIONS", "/api/v1/messages", "POST"),
        ("POST", "/healthz", "GET,HEAD"),
    ],
)
def test_a_method_that_is_not_there_is_405(shared: Daemon, method: str, path: str, allowed: str) -> None:
    answer = shared.request(method, path)

    if method != "HEAD":
        problem(answer, 405, "method-not-allowed")
    assert (answer[0], answer[2]["allow"]) == (405, allowed)


# --- the page's files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/r/some%2Fname", "/r/some/name", "/j/17", "/static/page.js", "/static/page.css"]
)
def test_the_pages_files_are_served_with_strict_headers_and_an_etag(shared: Daemon, path: str) -> None:
    status, body, headers = shared.request("GET", path)

    assert status == 200
    assert body
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    for known in (headers["etag"], f"W/{headers['etag']}", f'"other", {headers["etag"]}', "*"):
        assert unchanged(shared, path, known), known
    assert not unchanged(shared, path, '"other"')
    assert not unchanged(shared, path, '"other"')


def test_every_file_that_the_page_names_is_there_with_its_type(shared: Daemon) -> None:
    page = shared.request("GET", "/")[1]
    named = {part.partition('"')[0] for part in page.split('="/static/')[1:]}

    for name in named:
        status, _, headers = shared.request("GET", f"/static/{name}")
        kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
        assert status == 200
        assert headers["content-type"].startswith(kinds[name.rpartition(".")[2]])

    assert {"page.js", "page.css"} <= named
    assert "{{ROOT}}" not in page


# --- the daemon itself ------------------------------------------------------------------------------------------------


def test_health_tells_of_the_spool_and_a_backlog_is_healthy(shared: Daemon) -> None:
    shared.drop("backlog/regr-finish.ndjson", b"{}" * 5)

    status, told, headers = shared.request("GET", "/healthz")

    assert (status, told["status"], told["reasons"]) == (200, "ok", [])
    assert told["version"] == __version__
    assert headers["content-type"].startswith("application/json")


def test_metrics_are_what_prometheus_reads(shared: Daemon, run: str) -> None:
    def values() -> dict[str, float]:
        status, text, headers = shared.request("GET", "/metrics")
        assert (status, headers["content-type"].partition(";")[0]) == (200, "text/plain")
        families = list(text_string_to_metric_families(text))
        assert all(family.documentation for family in families)
        assert all(set(sample.labels) <= {"outcome"} for family in families for sample in family.samples)
        return {
            sample.name + "".join(sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }

    before = values()
    publish(shared, "batch-job-live", run, [live("a"), live("b")])
    publish(shared, "job-finish", run, [done("a", cycles="x")], 422)
    after = values()

    assert after["simscoped_messages_totalapplied"] - before["simscoped_messages_totalapplied"] == 2
    assert after["simscoped_messages_totalrejected"] - before["simscoped_messages_totalrejected"] == 1
    assert after["simscoped_jobs_live"] - before["simscoped_jobs_live"] == 2
    assert after["simscoped_regressions_live"] - before["simscoped_regressions_live"] == 1
    assert after["simscoped_event_seq"] > before["simscoped_event_seq"]
    assert after["simscoped_up_seconds"] > before["simscoped_up_seconds"]
    assert (after["simscoped_failing"], after["simscoped_streams"]) == (0, 0)


def test_many_writers_and_readers_at_once_are_all_answered(shared: Daemon, run: str) -> None:
    failures: list[Any] = []

    def write(writer: int) -> None:
        for number in range(20):
            status, told = shared.post(f"/publish/job-live?regression={run}", live(f"{writer}-{number}"))
            if status != 200 or told["applied"] != 1 or shared.get(f"/jobs/{told['details'][0]['job']}")["done"]:
                failures.append(told)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert shared.get(f"/regressions/{run}")["counts"]["live"] == 160


# --- the description --------------------------------------------------------------------------------------------------


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
    assert time.monotonic() - began < 30


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
