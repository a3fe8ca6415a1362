"""Lists over HTTP: pages, cursors, every filter and order."""

from __future__ import annotations

import base64
import json
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
from support.asking import problem, quoted
from support.daemons import Daemon, done, live, publish


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
