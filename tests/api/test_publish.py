"""Messages over HTTP: every form that is taken, what is refused and how, both doors alike, receipts."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from support.asking import envelope, lines, problem, quoted
from support.daemons import LIVE_SIGS, Daemon, done, live, publish, wait_until

from simscope_server.messages.protocol import JOB_FIELDS, NOT_OF_LIVE

SPOOL = '[spool]\ndir = "spool"\nsettle_ms = 100\npoll_ms = 50\n'
CONFIG = f'file_roots = ["files"]\n{LIVE_SIGS}{SPOOL}[limits]\nbody_mib = 1\nmessage_kib = 64\n'


NDJSON = {"Content-Type": "application/x-ndjson"}


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
    extra: dict[str, Any] = {"extid": "e", "sourcecode": "s", "username": "u", "mine": 1}
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


# REG stands for the regression. The first word says how it is sent: "messages" is a file at the top and POST /messages;
# a type is a file of that name in the folder of the regression and POST /publish/TYPE.
WHOLE: dict[str, Any] = {
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
    told: list[Any] = json.loads(json.dumps([detail | {"job": None} for detail in notable]).replace(regression, "REG"))
    return told


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
    def names(said: str) -> list[str]:
        return [told["name"] for told in shared.get(f"/receipts?name={quoted(said)}")["items"]]

    for name in (f"[7]{run}.json", f"{run}/x/[7]{run}.json", f"{run}/y[7]{run}.json"):
        shared.drop(name, envelope("job-live", run, live()))
        wait_until(functools.partial(names, name))

    assert names(f"[7]{run}.json") == [f"{run}/x/[7]{run}.json", f"[7]{run}.json"]
    assert names(f"{run}/x/[7]{run}.json") == [f"{run}/x/[7]{run}.json"]
    assert names(f"x/[7]{run}.json") == names(f"*{run}.json") == names(".json") == []


@pytest.mark.parametrize(
    ("number", "status", "reason"),
    [("999999999", 404, "no-such-receipt"), ("x", 400, "bad-query"), ("99999999999999999999", 400, "bad-query")],
)
def test_a_receipt_that_is_not_there(shared: Daemon, number: str, status: int, reason: str) -> None:
    problem(shared.request("GET", f"/api/v1/receipts/{number}"), status, reason)
