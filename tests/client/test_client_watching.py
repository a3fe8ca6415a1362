"""The Python client against the real daemon: snapshots, waiting, logs, files, events, through outages and restarts.

In this order: snapshots and lists, waiting, outages, logs, files, events, errors.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import functools
import hashlib
import io
import itertools
import json
import os
import pickle
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.daemons import LIVE_SIGS, ROOT, Daemon, done, live, publish_job, wait_until
from support.proxies import Wire
from support.trackers import Tracker

import simscope
from simscope import Client

SOON = 8  # seconds; far below the 30 that one question of a waiting client may be pending


@pytest.fixture
def client(daemon: Daemon) -> Client:
    return Client(daemon.url)


@pytest.fixture
def wire(daemon: Daemon) -> Iterator[Wire]:
    wire = Wire(daemon.url)
    yield wire
    wire.close()


def publish(daemon: Daemon, body: dict[str, Any], regression: str = "r/1") -> int:
    """Publish a job. -> its id."""
    return publish_job(daemon, regression, body)


def append(daemon: Daemon, job: int, *lines: str, offset: int | None = None) -> None:
    body: dict[str, Any] = {"lines": lines} | ({} if offset is None else {"offset": offset})
    assert daemon.post(f"/jobs/{job}/logs", body)[0] == 200


def restart(daemon: Daemon, away: float = 0.0) -> None:
    """Stop the daemon and start it again at the same address."""
    address = urlsplit(daemon.url).netloc
    daemon.stop()
    time.sleep(away)
    daemon.start(env={"SIMSCOPE_LISTEN": address})


class Running:
    """Calls a function in a thread; `result` gives what it returns, or raises what it raises."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
        self.found: Any = None
        self.error: BaseException | None = None

        def call() -> None:
            try:
                self.found = function(*arguments, **keywords)
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=call, daemon=True)
        self.thread.start()

    def result(self, seconds: float = 20) -> Any:
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"it has not returned after {seconds} s"
        if self.error is not None:
            raise self.error
        return self.found


def before_request(client: Client, part: str, action: Callable[[], Any]) -> None:
    """Do something once, at the last moment before the client sends a request whose path has `part` in it."""
    ask, waiting = client.caller.ask, [action]

    def asking(method: str, path: str, *arguments: Any, **keywords: Any) -> Any:
        if part in path and waiting:
            waiting.pop()()
        return ask(method, path, *arguments, **keywords)

    client.caller.ask = asking  # type: ignore[method-assign]


# ----------------------------------------------------------------------------------------------------------------------
# snapshots and lists
# ----------------------------------------------------------------------------------------------------------------------


def test_a_job_is_a_snapshot_with_the_names_of_the_interface(daemon: Daemon, client: Client) -> None:
    body = live(
        name="smoke", host="h1", config="c", seed=7, env={"A": "1"}, metadata=[["k", "v"]], results="r",
        progress={"done": 3, "total": 4, "unit": "tests"}, start_time="2030-01-01T01:00:00+01:00", odd=[1],
        files=[{"kind": "log", "name": "a.log", "path": "/x/a.log", "size": 3, "sha256": "ab" * 32}],
    )  # fmt: skip
    number = publish(daemon, body)

    job = client.job(number)

    assert job is not None
    assert (job.id, job.regression, job.uniqueid, job.result, job.done) == (number, "r/1", "a", "live", False)
    assert (job.name, job.host, job.seed, job.env, job.results) == ("smoke", "h1", "7", {"A": "1"}, "r")
    assert job.metadata == (("k", "v"),)
    assert job.start_time == datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    assert job.submitted_at is not None and job.submitted_at.utcoffset() == datetime.timedelta(0)
    assert job.progress is not None and (job.progress.done, job.progress.unit) == (3, "tests")
    assert job.files[0].hash is not None and job.files[0].hash.hex() == "ab" * 32
    assert job.extra == job.raw["extra"] == {"odd": [1]}
    with pytest.raises(dataclasses.FrozenInstanceError):
        job.result = "pass"  # type: ignore[misc]
    publish(daemon, done())
    assert not client.is_done(job) and job.result == "live"
    assert client.is_done(client.job(job)) and client.status(str(number)).result == "pass"  # type: ignore[arg-type]
    assert len({job, client.job(number), client.job(number)}) == 2


def test_every_member_that_the_interface_promises_is_a_field(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live())
    job = (
        "id regression regression_id uniqueid name category result reason done phase progress host config seed build "
        "testgroup jobdir start_time finish_time submitted_at started_at finished_at last_seen_at due_at elapsed_ms "
        "compute_ms runtime_ms cycles exit_code fail_message signature metadata env results files extra version"
    )
    regression = (
        "id name series number status reason component project branch tag submitted running counts progress eta_at "
        "started_at finished_at last_activity_at due_at stats custom_metadata fields version"
    )

    for found, names in ((client.job(number), job), (client.regression("r/1"), regression)):
        assert found is not None
        assert set(names.split()) <= {field.name for field in dataclasses.fields(found)} & set(found.raw)
        assert found.links["self"]["href"] == found.raw["_links"]["self"]["href"]


def test_lists_are_newest_first_and_as_long_as_one_wants(daemon: Daemon, client: Client) -> None:
    daemon.post("/messages", [{"type": "job-live", "regression": "n/1", "body": live(str(n))} for n in range(45)])
    publish(daemon, done("x", "fail", host="h"), "n/2")

    assert [job.uniqueid for job in client.jobs()] == ["x", *(str(n) for n in range(44, 25, -1))]
    assert len(client.jobs(30)) == 30 and len(client.jobs(None)) == len(list(client.iter_jobs(7))) == 46
    assert [job.uniqueid for job in client.jobs(regression="n/$")] == ["x"]
    assert [job.uniqueid for job in client.jobs(result=["fail", "pass"])] == ["x"]
    assert [found.name for found in client.regressions()] == ["n/2", "n/1"]
    latest = client.regression("n/$")
    assert latest is not None and (latest.name, latest.number, latest.counts["fail"]) == ("n/2", 2, 1)
    assert [job.uniqueid for job in client.jobs(regression=latest)] == ["x"]


def test_a_list_is_filtered_in_the_language_of_the_page(daemon: Daemon, client: Client) -> None:
    numbers = [publish(daemon, done(str(n), runtime_ms=n)) for n in (3, 1, 2)]

    assert [job.id for job in client.jobs(filter="runtime>=2", sort="-runtime")] == [numbers[0], numbers[2]]
    assert [job.id for job in client.iter_jobs(1, regression="r/1", filter="runtime<3", sort="runtime")] == numbers[1:]
    for wrong in ({"filter": "runtime>"}, {"sort": "colour"}):
        with pytest.raises(simscope.UsageError) as caught:
            client.jobs(**wrong)
        assert isinstance(caught.value, simscope.Refused) and caught.value.problem["reason"].startswith("bad-")


@pytest.mark.parametrize("limit", [0, -1, True, 2.5, "3", 10**30])
def test_a_limit_is_a_whole_number_above_zero(limit: Any) -> None:
    with pytest.raises(ValueError, match="limit="):
        Client("http://127.0.0.1:1").jobs(limit)


def test_wrong_arguments_are_told_before_anything_is_asked() -> None:
    client = Client("http://127.0.0.1:1")
    file = simscope.JobFile(job_id=1, kind="log", name="\ud800")
    wrong: list[Callable[[], Any]] = [
        lambda: client.jobs(colour="red"),
        lambda: client.jobs(q="\ud800"),
        lambda: client.jobs(result=["fail", "\ud800"]),
        lambda: client.regression("a\ud800"),
        lambda: client.wait("a\ud800", timeout=1),
        lambda: client.download(file, io.BytesIO()),
        lambda: client.events(after=10**18),
        lambda: client.job(True),
        lambda: client.job("r/1"),
        lambda: client.job(-1),
        lambda: client.regression(""),
        lambda: client.wait(1, timeout=-1),
        lambda: client.wait(1, interval=0),
        lambda: client.iter_logs(1, -1),
        lambda: client.logs(1, limit=0),
        lambda: client.events(after=-1),
        lambda: client.events("job.faild"),
        lambda: client.events(["job.failed", "regression.*x"]),
        lambda: client.extend(1),
        lambda: client.extend(1, 0),
        lambda: client.extend(1, float("nan")),
        lambda: client.extend(1, float("inf")),
        lambda: client.extend(1, True),
        lambda: client.extend(1, until=datetime.datetime(2030, 1, 1)),
        lambda: client.extend(1, datetime.timedelta(days=25)),
        *(functools.partial(Client, timeout=timeout) for timeout in (0, 1e6, 10**400, float("inf"), float("nan"))),
    ]
    for call in wrong:
        with pytest.raises(simscope.UsageError):
            call()


def test_an_argument_of_a_type_that_is_not_taken_is_a_type_error_too() -> None:
    client = Client("http://127.0.0.1:1")
    file = simscope.JobFile(job_id=1, kind="log", name="x")
    wrong: list[Callable[[], Any]] = [
        lambda: client.job(None),
        lambda: client.job(1.0),
        lambda: client.regression(None),
        lambda: client.jobs(limit=1.5),
        lambda: client.jobs(limit=True),
        lambda: client.wait(None),
        lambda: client.wait(1, timeout="5"),
        lambda: client.wait(1, interval="5"),
        lambda: client.logs(1, "1"),
        lambda: client.extend(1, "60"),
        lambda: client.extend(1, until="x"),
        lambda: next(client.as_completed(5)),
        lambda: next(client.as_completed("12")),
        lambda: next(client.as_completed(b"2")),
        lambda: next(client.as_completed(bytearray(b"2"))),
        lambda: client.events(types=5),
        lambda: client.events(types=["job.live", 5]),
        lambda: client.log_buffer(1, on_update=5),
        lambda: client.download("x", "/nowhere/x"),
        lambda: client.download(file, 5),
        lambda: Client("http://127.0.0.1:1", timeout="5"),
    ]
    for call in wrong:
        with pytest.raises(TypeError) as caught:
            call()
        assert isinstance(caught.value, simscope.WrongType) and isinstance(caught.value, ValueError)


@pytest.fixture
def answer_with() -> Iterator[Callable[[Any], Client]]:
    """Lets a server answer every question with the same document, and gives a client of it."""
    tracker = Tracker()

    def answer(document: Any) -> Client:
        tracker.answer = lambda request: (200, document)
        return Client(tracker.url)

    yield answer
    tracker.close()


JOB = {"id": 1, "result": "live", "done": False, "regression": "r", "regression_id": 1, "version": 1}


@pytest.mark.parametrize(
    "document",
    [
        5, [], {}, {"items": 5}, {"items": [5], "next": None}, {"items": []}, {"lines": 5},
        {"seq": "x", "epoch": 1}, {"items": [JOB | {"submitted_at": "soon"}], "next": None},
        {"items": [JOB | {"files": 5}], "next": None}, {"items": [JOB | {"files": [{"name": "x"}], "id": None}]},
        {"items": [JOB | {"env": 5, "created": 7, "at": "x"}], "next": None},
    ],
)  # fmt: skip
def test_an_answer_that_simscoped_does_not_give_is_an_error_of_ours(
    answer_with: Callable[[Any], Client], document: Any
) -> None:
    client = answer_with(document)

    for call in (
        client.jobs, client.about, lambda: client.logs(1), lambda: next(client.events(after=0)),
        lambda: list(client.as_completed([1])),
    ):  # fmt: skip
        with pytest.raises(simscope.UsageError, match=r"the server .*answered "):
            call()


def test_a_wrong_time_in_a_job_is_an_error_of_ours(answer_with: Callable[[Any], Client]) -> None:
    for wrong in ({"submitted_at": "soon"}, {"submitted_at": 5}, {"env": 5}, {"metadata": 5}, {"files": "x"}):
        with pytest.raises(simscope.UsageError, match="the server answered "):
            answer_with(JOB | wrong).wait(1)


def test_a_snapshot_takes_no_changes_however_deep_and_is_still_a_dict(daemon: Daemon, client: Client) -> None:
    job = client.job(publish(daemon, live(env={"A": "1"}, odd=[{"B": [2]}], log={"lines": ["x"]})))
    regression = client.regression("r/1")
    assert job is not None and regression is not None
    wrong: list[Callable[[], Any]] = [
        lambda: job.env.update(A="x"),
        lambda: job.extra["odd"][0]["B"].append(3),
        lambda: job.raw["env"].clear(),
        lambda: job.raw.pop("id"),
        lambda: job.links.setdefault("x", 1),
        lambda: regression.counts.__setitem__("fail", 7),
        lambda: client.about().__delitem__("seq"),
        lambda: client.log_page(job, 0, 1).__delitem__("lines"),
        lambda: client.log_page(job, 0, 1)["lines"].append("x"),
    ]
    for change in wrong:
        with pytest.raises(TypeError, match="a snapshot never changes"):
            change()

    assert json.loads(json.dumps(job.raw)) == job.raw == dict(job.raw)
    for again in (pickle.loads(pickle.dumps(job)), copy.deepcopy(job), copy.copy(job)):
        assert (again, again.raw, again.extra) == (job, job.raw, {"odd": [{"B": [2]}]})
        with pytest.raises(TypeError):
            again.raw["extra"]["odd"].clear()
    assert dataclasses.asdict(job)["env"] == {"A": "1"}
    mine = dict(job.env)
    mine["A"] = "2"
    assert job.env == {"A": "1"}


def test_the_history_of_a_job_and_of_a_regression_is_told_oldest_first(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live(phase="queued"))
    publish(daemon, live(phase="running"))
    publish(daemon, done())
    daemon.post("/regressions/r%2F1/finish")

    entries = client.history(number)

    assert [entry.type for entry in entries] == ["job.live", "job.updated", "job.passed"]
    assert entries[1].changed == {"phase": "running"} or "phase" in entries[1].changed
    assert entries[0].created is not None and entries[0].created <= entries[2].created  # type: ignore[operator]
    assert [entry.type for entry in client.history("r/1")][-1] == "regression.finished"


# ----------------------------------------------------------------------------------------------------------------------
# waiting
# ----------------------------------------------------------------------------------------------------------------------


def test_a_job_keeps_its_id_over_its_finish_while_somebody_waits(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live(seed="1", config="before"))
    waiting = Running(client.wait, number)
    wait_until(lambda: client.caller.reached)

    publish(daemon, done(seed="2", config="after"))
    job = waiting.result(SOON)

    assert (job.id, job.done, job.result, job.seed, job.config) == (number, True, "pass", "2", "after")
    assert [entry.type for entry in client.history(number)].count("job.passed") == 1
    assert [event["type"] for event in daemon.get("/events?types=job.passed")["items"]] == ["job.passed"]


@pytest.mark.parametrize("how", ["job", "regression", "many"])
def test_what_is_over_between_the_snapshot_and_the_waiting_is_not_missed(
    daemon: Daemon, client: Client, how: str
) -> None:
    number = publish(daemon, live())
    begun = time.monotonic()

    if how == "job":
        before_request(client, "wait=", lambda: publish(daemon, done()))
        found: Any = client.wait(number)
    elif how == "regression":
        before_request(client, "wait=", lambda: daemon.post("/regressions/r%2F1/finish"))
        found = client.wait("r/1")
    else:
        before_request(client, "/events", lambda: publish(daemon, done()))
        [found] = client.as_completed([number])

    assert found.done
    assert time.monotonic() - begun < SOON


def test_wait_gives_back_a_regression_however_it_ended_and_check_raises(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live())
    waiting = Running(client.wait, "r/$")
    wait_until(lambda: client.caller.reached)

    publish(daemon, done(result="fail", fail_message="UVM_ERROR: x"))
    daemon.post("/publish/regr-finish?regression=r%2F1")

    found = waiting.result(SOON)
    assert (found.name, found.status, found.done, found.ok, found.counts["fail"]) == ("r/1", "complete", True, False, 1)
    for ref, told in ((found, "r/1: complete"), (number, f"job {number}: fail")):
        with pytest.raises(simscope.NotPassed, match=told) as caught:
            client.wait(ref, check=True)
        assert caught.value.snapshot is not None and caught.value.snapshot.done


def test_a_wait_that_takes_too_long_tells_how_it_was(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live(phase="running"))

    for call in (
        lambda: client.wait(number, timeout=0.3),
        lambda: client.wait("r/1", timeout=0.3),
        lambda: client.wait(number, timeout=0),
        lambda: list(client.as_completed([number], timeout=0.3)),
        lambda: list(client.iter_logs(number, follow=True, timeout=0.3)),
        lambda: list(client.changes(number, timeout=0.3)),
    ):
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            call()
        assert time.monotonic() - begun < SOON
    regression = client.regression("r/1")
    assert regression is not None
    with pytest.raises(simscope.WaitTimeout, match=r"^r/1 is not over in the time that was given$"):
        client.wait(regression, timeout=0)
    with pytest.raises(simscope.WaitTimeout, match=rf"^job {number} is not over in the time") as caught:
        client.wait(number, timeout=0)
    assert isinstance(caught.value.snapshot, simscope.Job) and caught.value.snapshot.phase == "running"


def test_many_are_told_as_they_are_over_each_once_by_one_stream(daemon: Daemon, wire: Wire) -> None:
    numbers = [publish(daemon, live(str(n)), f"m/{n % 2}") for n in range(40)]
    order = list(range(40))
    random.Random(3).shuffle(order)
    publish(daemon, done(str(order[0])), f"m/{order[0] % 2}")
    got: list[Any] = []
    refs = [*numbers, numbers[0], "m/0"]
    waiting = Running(lambda: got.extend(Client(wire.url).as_completed(refs, timeout=30)))
    wait_until(lambda: any(b"/events/stream" in request for request in wire.requests))

    for place, n in enumerate(order[1:], 2):
        publish(daemon, done(str(n)), f"m/{n % 2}")
        wait_until(lambda: len(got) == place)  # noqa: B023
    daemon.post("/regressions/m%2F0/finish")
    waiting.result(SOON)

    assert [found.id for found in got[:40]] == [numbers[n] for n in order]
    assert [found.status for found in got[40:]] == ["complete"]
    assert wire.connections <= 3
    assert sum(b"/events/stream" in request for request in wire.requests) == 1


def test_changes_are_shown_until_it_is_over(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live(phase="queued"))
    seen = client.changes(number, timeout=20)

    phases = [next(seen).phase]  # type: ignore[union-attr]
    publish(daemon, live(phase="running"))
    phases.append(next(seen).phase)  # type: ignore[union-attr]
    publish(daemon, done())
    last = list(seen)

    assert phases == ["queued", "running"]
    assert [found.done for found in last] == [True]


def test_a_job_that_is_deleted_ends_the_waiting(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f"{LIVE_SIGS}prunelivedays = 0.000012\n").start()  # about a second
    client = Client(daemon.url)
    number = publish(daemon, live(host="h"))
    waiting, many = Running(client.wait, number), Running(lambda: list(client.as_completed([number])))
    log = Running(lambda: list(client.iter_logs(number, follow=True)))

    found = waiting.result()

    assert (found.id, found.done, found.reason, found.host, found.ok) == (number, True, "pruned", "h", False)
    assert [one.reason for one in many.result()] == ["pruned"]
    assert log.result(SOON + 15) == []
    for call in (client.job, client.logs, client.history, lambda ref: list(client.iter_logs(ref, follow=True))):
        with pytest.raises(simscope.Pruned):
            call(number)  # type: ignore[operator]


def test_a_limit_is_extended_by_or_until_and_a_repeat_under_one_key_counts_once(daemon: Daemon, client: Client) -> None:
    job = client.job(publish(daemon, live(time_limit_ms=3_600_000)))
    assert job is not None and job.due_at is not None

    later = client.extend(job, 600, idempotency_key="k")
    again = client.extend(job.id, datetime.timedelta(minutes=10), idempotency_key="k")
    moment = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
    daemon.post("/publish/job-live?regression=r%2F1", live(phase="running"))

    assert later.due_at is not None and again.due_at is not None
    assert abs((later.due_at - job.due_at).total_seconds() - 600) < 1
    assert abs((again.due_at - later.due_at).total_seconds()) < 1
    with pytest.raises(simscope.Refused):
        client.extend(job, until=moment)  # further away than any limit may be
    publish(daemon, done())
    with pytest.raises(simscope.Conflict):
        client.extend(job, 60)


def test_extend_is_sent_again_when_the_answer_was_lost(daemon: Daemon, wire: Wire) -> None:
    job = Client(daemon.url).job(publish(daemon, live(time_limit_ms=3_600_000)))
    client = Client(wire.url)
    client.about()
    wire.on_answer = lambda: (setattr(wire, "on_answer", lambda: None), wire.cut())  # type: ignore[assignment,return-value]

    later = client.extend(job, 600)  # type: ignore[arg-type]

    assert abs((later.due_at - job.due_at).total_seconds() - 600) < 1  # type: ignore[union-attr,operator]
    assert sum(b"/extend" in request for request in wire.requests) == 2


# ----------------------------------------------------------------------------------------------------------------------
# outages
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["job", "regression"])
def test_a_restart_in_the_middle_of_wait_is_not_noticed(daemon: Daemon, client: Client, how: str) -> None:
    number = publish(daemon, live())
    waiting = Running(client.wait, number if how == "job" else "r/1")
    wait_until(lambda: client.caller.reached)

    restart(daemon, 0.5)
    publish(daemon, done())
    daemon.post("/regressions/r%2F1/finish")

    assert waiting.result(SOON).done


def test_a_restart_in_the_middle_of_as_completed_is_not_noticed(daemon: Daemon, client: Client) -> None:
    numbers = [publish(daemon, live(str(n))) for n in range(6)]
    got: list[int] = []
    waiting = Running(lambda: got.extend(found.id for found in client.as_completed(numbers)))

    publish(daemon, done("0"))
    wait_until(lambda: got == numbers[:1])
    restart(daemon, 0.5)
    for n in range(1, 6):
        publish(daemon, done(str(n)))
    waiting.result(SOON)

    assert sorted(got) == numbers


@pytest.mark.parametrize("how", ["pages", "stream"])
def test_a_restart_in_the_middle_of_a_log_is_not_noticed(daemon: Daemon, client: Client, how: str) -> None:
    number = publish(daemon, live())
    append(daemon, number, "one", "two")
    lines: list[str] = []
    if how == "pages":
        following = Running(lambda: lines.extend(line.message for line in client.iter_logs(number, follow=True)))
        wait_until(lambda: client.caller.reached)
    else:
        buffer = client.log_buffer(number, 0, stream=True)
        wait_until(lambda: len(buffer) == 2)

    restart(daemon, 0.5)
    append(daemon, number, "three", offset=2)
    publish(daemon, done(log={"offset": 3, "lines": ["four"]}))

    if how == "pages":
        following.result(SOON)
    else:
        assert buffer.wait(SOON) and buffer.has_last
        lines = [line.message for line in buffer]
    assert lines == ["one", "two", "three", "four"]


def test_who_has_never_been_answered_does_not_wait(tmp_path: Path) -> None:
    client = Client("http://127.0.0.1:9")
    calls: list[Callable[[], Any]] = [
        lambda: client.wait(1),
        lambda: Client("http://127.0.0.1:9", outage=10**400).wait(1),
        lambda: list(client.as_completed([1])),
        lambda: list(client.iter_logs(1, follow=True)),
        lambda: client.jobs(),
    ]
    for call in calls:
        begun = time.monotonic()
        with pytest.raises(ConnectionError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
            call()
        assert time.monotonic() - begun < 3


def test_the_time_for_waiting_ends_during_an_outage_too(daemon: Daemon, client: Client) -> None:
    job = client.job(publish(daemon, live()))
    assert job is not None
    daemon.stop()

    for call in (
        lambda: client.wait(job, timeout=0.5),
        lambda: list(client.as_completed([job], timeout=0.5)),
        lambda: list(client.iter_logs(job, follow=True, timeout=0.5)),
    ):
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            call()
        assert time.monotonic() - begun < SOON


@pytest.mark.parametrize("how", ["one", "changes", "first round", "many"])
def test_when_the_time_runs_out_in_an_outage_both_are_told(daemon: Daemon, client: Client, how: str) -> None:
    number, other = publish(daemon, live()), publish(daemon, live("b"))
    calls: dict[str, tuple[str, Callable[[], Any]]] = {
        "one": ("wait=", lambda: client.wait(number, timeout=3)),
        "changes": ("wait=", lambda: list(client.changes(number, timeout=3))),
        "first round": (f"/jobs/{other}", lambda: list(client.as_completed([number, other], timeout=3))),
        "many": ("/events", lambda: list(client.as_completed([number], timeout=3))),
    }
    request, call = calls[how]
    before_request(client, request, daemon.stop)

    with pytest.raises(simscope.WaitTimeout, match=rf"^job {number} is not over: .* refused$") as caught:
        call()

    assert [found.id for found in caught.value.snapshots] == [number]
    assert caught.value.snapshot == caught.value.snapshots[0]


@pytest.mark.parametrize("known", [False, True])
def test_the_time_for_waiting_ends_while_the_server_keeps_silent_too(daemon: Daemon, wire: Wire, known: bool) -> None:
    number = publish(daemon, live())
    client = Client(wire.url, timeout=60)
    if known:
        client.about()
    wire.hold()

    for call in (
        lambda: client.wait(number, timeout=0.2),
        lambda: list(client.as_completed([number], timeout=0.2)),
        lambda: list(client.iter_logs(number, follow=True, timeout=0.2)),
    ):
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            call()
        assert time.monotonic() - begun < SOON
    with pytest.raises(ConnectionError):
        Client("http://127.0.0.1:9").wait(1, timeout=0)


def test_an_outage_that_lasts_too_long_ends_the_waiting(daemon: Daemon) -> None:
    client = Client(daemon.url, outage=0.5)
    number = publish(daemon, live())
    waiting = Running(client.wait, number)
    wait_until(lambda: client.caller.reached)

    daemon.stop()

    with pytest.raises(ConnectionError):
        waiting.result()


def test_pauses_are_spread_over_the_whole_span_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(0 <= simscope.jitter(20) <= 30 for _ in range(200))
    spread = [simscope.jitter(0) for _ in range(400)]
    assert min(spread) < 0.1 and 0.4 < max(spread) <= 0.5

    caller = simscope.Caller(simscope.Address("http://127.0.0.1:9", "", 1), outage=60)
    caller.reached, pauses, left = True, [], [3]
    monkeypatch.setattr(caller, "pause", lambda seconds, until, stop: pauses.append(seconds))

    def attempt() -> str:
        left[0] -= 1
        if left[0] < 0:
            return "ok"
        error = simscope.Unreachable("later")
        error.retry_after = 7.0
        raise error

    assert caller.insist(attempt) == "ok"
    assert pauses == [7.0, 7.0, 7.0]


def test_an_idle_connection_that_the_server_has_closed_is_replaced(daemon: Daemon, wire: Wire) -> None:
    client = Client(wire.url)
    client.about()
    client.about()
    assert wire.connections == 1

    wire.cut()
    client.about()

    assert wire.connections == 2


# ----------------------------------------------------------------------------------------------------------------------
# logs
# ----------------------------------------------------------------------------------------------------------------------

COUNT = 10_000


def write_log(daemon: Daemon, number: int, chance: random.Random) -> None:
    """Append 10,000 lines in pieces of random size, and the verdict."""
    begin = 0
    while begin < COUNT:
        end = min(COUNT, begin + chance.randrange(1, 400))
        append(daemon, number, *(f"line {n}" for n in range(begin, end)), offset=begin)
        begin = end
    publish(daemon, done())


@pytest.mark.parametrize("how", ["pages", "buffer", "stream"])
def test_ten_thousand_lines_come_without_gap_or_repeat_through_three_disconnects(
    daemon: Daemon, wire: Wire, how: str
) -> None:
    number = publish(daemon, live())
    client = Client(wire.url)
    cuts = [100_000, 250_000, 400_000]

    def cut_now_and_then() -> None:
        if cuts and wire.answered > cuts[0]:
            cuts.pop(0)
            wire.cut()

    wire.on_answer = cut_now_and_then
    buffer = client.log_buffer(number, 0)
    writing = Running(write_log, daemon, number, random.Random(11))
    if how == "stream":
        with buffer.stream():
            assert buffer.wait(60)
        lines = list(buffer)
    elif how == "buffer":
        while not buffer.has_last:
            client.caller.insist(buffer.newer)
        lines = list(buffer)
    else:
        lines = list(client.iter_logs(number, follow=True))
    writing.result()

    assert not cuts
    assert [line.offset for line in lines] == list(range(COUNT))
    assert [line.message for line in lines] == [f"line {n}" for n in range(COUNT)]
    if how != "pages":
        assert (buffer.has_first, buffer.has_last, buffer.lost) == (True, True, 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_short_logs(daemon: Daemon, client: Client, count: int, stream: bool) -> None:
    texts = [f"l{n}" for n in range(count)]
    number = publish(daemon, live(log={"lines": texts}))
    open_buffer = client.log_buffer(number, 0).newer()
    assert (len(open_buffer), open_buffer.has_last) == (count, False)
    assert open_buffer.has_first
    publish(daemon, done())

    for offset in range(count + 1):
        buffer = client.log_buffer(number, offset, stream=stream)
        if stream:
            assert buffer.wait(SOON)
        else:
            buffer.newer()
        assert [line.message for line in buffer] == texts[offset:]
        assert (buffer.has_first, buffer.has_last) == (offset == 0, True)
        assert [line.message for line in buffer.older()] == texts
        assert buffer.has_first
    for call in (client.log_buffer, client.logs):
        with pytest.raises(ValueError) as caught:
            call(number, count + 1)  # type: ignore[operator]
        assert isinstance(caught.value, simscope.Refused) and caught.value.status == 422
    assert client.logs(number, count) == []


def test_a_buffer_grows_at_both_ends_and_tells_each_change_once(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live(log={"lines": [f"l{n}" for n in range(20)]}))
    calls: list[tuple[int, int]] = []
    buffer = client.log_buffer(number, 10, on_update=lambda own, logs: calls.append((own.first_offset, len(logs))))

    assert [line.offset for line in buffer.newer(1)] == [10]
    assert [line.offset for line in buffer.older(1)] == [9, 10]
    assert [line.offset for line in buffer.older(2).newer(3)] == list(range(7, 14))
    assert not buffer.has_first and not buffer.has_last
    assert [line.offset for line in buffer.older().newer()] == list(range(20))
    buffer.older().newer()
    publish(daemon, done())
    buffer.newer(5)

    assert calls == [(10, 1), (9, 2), (7, 4), (7, 7), (0, 14), (0, 20)]
    assert buffer.has_first and buffer.has_last


def test_a_buffer_without_an_offset_begins_at_the_end(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live(log={"lines": ["a", "b"]}))
    buffer = client.log_buffer(number)

    assert (buffer.logs, buffer.has_first) == ((), False)
    append(daemon, number, "c")
    assert [line.message for line in buffer.newer()] == ["c"]
    assert [line.message for line in buffer.older(1)] == ["b", "c"]
    assert buffer.older().has_first


def test_the_last_lines_by_number_are_complete_at_once(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, done(log={"lines": ["a", "b", "c"]}))
    buffer = client.log_buffer(number, 0)

    assert not buffer.newer(2).has_last
    assert buffer.newer(1).has_last


@pytest.mark.parametrize("stream", [False, True])
def test_lines_that_the_server_has_forgotten(make_daemon: Callable[..., Daemon], stream: bool) -> None:
    daemon = make_daemon(f"{LIVE_SIGS}[limits]\nlog_lines = 10\n").start()
    client = Client(daemon.url)
    number = publish(daemon, live(log={"lines": [f"l{n}" for n in range(8)]}))
    early = client.log_buffer(number, 0).newer(5)
    append(daemon, number, *(f"l{n}" for n in range(8, 25)))
    publish(daemon, done())

    late = client.log_buffer(number, 0, stream=stream)
    late.wait(SOON)
    late.newer().older()
    if stream:
        early.stream().wait(SOON)
    early.newer()

    assert [line.offset for line in late] == list(range(15, 25))
    assert (late.has_first, late.has_last, late.first_offset, late.lost) == (False, True, 15, 15)
    assert [line.offset for line in early] == [*range(5), *range(15, 25)]
    assert (early.has_first, early.has_last, early.lost) == (True, True, 10)
    assert [line.offset for line in client.logs(number)] == list(range(15, 25))


@pytest.mark.parametrize("silent", [False, True])
def test_interrupt_ends_a_stream_at_once_also_while_the_server_is_silent(
    daemon: Daemon, wire: Wire, silent: bool
) -> None:
    number = publish(daemon, live(log={"lines": ["a"]}))
    buffer = Client(wire.url).log_buffer(number, 0, stream=True)
    wait_until(lambda: len(buffer) == 1)
    if silent:
        wire.hold()

    begun = time.monotonic()
    buffer.interrupt(timeout=5)
    buffer.interrupt(timeout=5)

    assert time.monotonic() - begun < 5
    assert not buffer.streaming and not buffer.has_last and buffer.error is None
    if not silent:
        append(daemon, number, "b")
        assert [line.message for line in buffer.newer()] == ["a", "b"]


def test_interrupt_ends_a_stream_that_tries_to_reach_a_daemon_that_is_away(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live(log={"lines": ["a"]}))
    with client.log_buffer(number, 0, stream=True) as buffer:
        wait_until(lambda: len(buffer) == 1)
        daemon.stop()
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert not buffer.streaming


def test_interrupt_without_a_stream_does_nothing(daemon: Daemon, client: Client) -> None:
    buffer = client.log_buffer(publish(daemon, live()))
    buffer.interrupt()
    buffer.interrupt(wait=False)
    assert not buffer.streaming
    for wrong in (-1, float("nan"), 1e9):
        for call in (buffer.wait, buffer.interrupt):
            with pytest.raises(simscope.UsageError, match="timeout="):
                call(timeout=wrong)  # type: ignore[operator]


def test_a_callback_may_fail_and_may_interrupt(daemon: Daemon, client: Client, caplog: Any) -> None:
    number = publish(daemon, live(log={"lines": ["a", "b"]}))

    def on_update(own: Any, logs: Any) -> None:
        own.interrupt()
        raise RuntimeError("a mistake of the caller")

    buffer = client.log_buffer(number, 0, stream=True, on_update=on_update)

    assert buffer.wait(SOON)
    assert [line.message for line in buffer] == ["a", "b"]
    assert "a mistake of the caller" in caplog.text


def test_newer_does_nothing_while_a_stream_runs_and_older_works(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live(log={"lines": ["a", "b", "c"]}))
    with client.log_buffer(number, 2, stream=True) as buffer:
        wait_until(lambda: len(buffer) == 1)
        assert [line.message for line in buffer.newer().older()] == ["a", "b", "c"]
        append(daemon, number, "d")
        wait_until(lambda: len(buffer) == 4)
    assert [line.offset for line in buffer] == [0, 1, 2, 3]


@pytest.mark.parametrize("how", ["pages", "stream"])
def test_the_log_of_a_job_that_was_given_up_ends_though_it_is_not_complete(
    daemon: Daemon, client: Client, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = publish(daemon, live(log={"lines": ["a"]}))
    daemon.post("/regressions/r%2F1/finish")
    monkeypatch.setattr(simscope, "WAIT_SECONDS", 1.0)
    monkeypatch.setattr(simscope, "SILENT_SECONDS", 1.0)
    if how == "pages":
        assert [line.message for line in client.iter_logs(number, follow=True)] == ["a"]
    else:
        with client.log_buffer(number, 0, stream=True) as buffer:
            assert buffer.wait(SOON)
            assert not buffer.has_last and len(buffer) == 1


def test_a_job_that_is_deleted_between_two_questions_ends_its_log(
    daemon: Daemon, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pruned(ref: Any) -> Any:
        raise simscope.Pruned("no news for days")

    number = publish(daemon, live(log={"lines": ["a"]}))
    monkeypatch.setattr(simscope, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(client, "status", pruned)

    assert [line.message for line in client.iter_logs(number, follow=True, timeout=SOON)] == ["a"]


# ----------------------------------------------------------------------------------------------------------------------
# files
# ----------------------------------------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def shelf(make_daemon: Callable[..., Daemon], tmp_path: Path) -> Daemon:
    """A daemon that serves the files below tmp_path/files."""
    (tmp_path / "files").mkdir()
    daemon = make_daemon(LIVE_SIGS)
    daemon.config.write_text(
        daemon.config.read_text().replace("[server]\n", f'[server]\nfile_roots = ["{tmp_path}/files"]\n')
    )
    return daemon.start()


def declared(daemon: Daemon, tmp_path: Path, name: str = "cov.dat", **more: Any) -> int:
    path = tmp_path / "files" / "content"
    path.write_bytes(CONTENT)
    return publish(daemon, done(files=[{"kind": "result", "name": name, "path": str(path)} | more]))


def test_all_files_are_listed_however_many(shelf: Daemon) -> None:
    number = publish(shelf, done(files=[{"kind": "log", "name": f"f{each}"} for each in range(501)]))

    assert [file.name for file in Client(shelf.url).files(number)][499:] == ["f499", "f500"]


def test_a_file_that_the_job_only_names_has_its_size_and_hash(shelf: Daemon, tmp_path: Path) -> None:
    file = Client(shelf.url).file(declared(shelf, tmp_path), "result", "cov.dat")

    assert file is not None and file.hash is not None
    assert (file.size, file.hash.digest) == (len(CONTENT), hashlib.sha256(CONTENT).digest())


def test_a_download_is_checked_appears_at_once_and_never_overwrites(shelf: Daemon, tmp_path: Path) -> None:
    client = Client(shelf.url)
    number = declared(shelf, tmp_path, sha256=hashlib.sha256(CONTENT).hexdigest(), size=len(CONTENT))
    assert client.files(number, "log") == [] and client.file(number, "result", "other") is None
    file = client.file(number, "result", "cov.dat")
    assert file is not None and (file.kind, file.size, file.job_id) == ("result", len(CONTENT), number)

    path = client.download(file, tmp_path / "new" / "folder" / "mine")
    stream = io.BytesIO()

    assert path == tmp_path / "new" / "folder" / "mine" and path.read_bytes() == CONTENT
    assert client.download(file, stream) is None and stream.getvalue() == CONTENT
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        client.download(file, path)
    assert path.read_bytes() == b"mine"
    in_folder = client.download(file, path.parent)
    assert in_folder == path.parent / "cov.dat"
    assert sorted(found.name for found in path.parent.iterdir()) == ["cov.dat", "mine"]
    assert client.download(file, f"{tmp_path}/not/yet/") == tmp_path / "not" / "yet" / "cov.dat"


def test_a_destination_may_be_bytes_and_a_stream_that_takes_nothing_is_an_error_of_ours(
    shelf: Daemon, tmp_path: Path
) -> None:
    client = Client(shelf.url)
    file = client.files(declared(shelf, tmp_path))[0]
    closed = io.BytesIO()
    closed.close()

    assert client.download(file, os.fsencode(tmp_path / "b")) == tmp_path / "b"
    with open("/dev/full", "wb", buffering=0) as full, open("/dev/null", "rb") as read_only:
        for stream in (closed, full, read_only):
            with pytest.raises(simscope.CannotWrite):
                client.download(file, stream)
    with pytest.raises(simscope.WrongType):
        client.download(file, io.StringIO())
    with pytest.raises(simscope.CannotWrite):
        client.download(file, "a\0b")


class Narrow(io.BytesIO):
    """A stream that takes so many bytes at a time."""

    def __init__(self, taken: int) -> None:
        super().__init__()
        self.taken = taken

    def write(self, data: Any) -> int:
        return super().write(data[: self.taken])


class Silent(io.BytesIO):
    """A stream that takes all, and does not say how much that is."""

    def write(self, data: Any) -> None:  # type: ignore[override]
        super().write(data)


def test_a_stream_that_takes_less_than_it_is_given_gets_the_rest(shelf: Daemon, tmp_path: Path) -> None:
    client = Client(shelf.url)
    file = client.files(declared(shelf, tmp_path))[0]

    for stream in (Narrow(1000), Silent()):
        client.download(file, stream)
        assert stream.getvalue() == CONTENT
    with pytest.raises(simscope.CannotWrite, match="it takes nothing"):
        client.download(file, Narrow(0))


def test_a_file_that_appears_during_the_download_is_not_overwritten(shelf: Daemon, tmp_path: Path) -> None:
    client = Client(shelf.url)
    file = client.files(declared(shelf, tmp_path))[0]
    target = tmp_path / "target"
    fetch = client._fetch

    def fetching(file: Any, write: Any) -> None:
        fetch(file, write)
        target.write_text("somebody else's")

    client._fetch = fetching  # type: ignore[method-assign]
    with pytest.raises(FileExistsError):
        client.download(file, target)

    assert target.read_text() == "somebody else's"
    assert not list(tmp_path.glob(".simscope-*"))


def test_a_download_that_is_damaged_or_breaks_off_leaves_nothing(shelf: Daemon, tmp_path: Path) -> None:
    client = Client(shelf.url)
    wrong = client.files(declared(shelf, tmp_path, sha256="00" * 32))[0]
    wire = Wire(shelf.url)
    wire.on_answer = lambda: wire.cut() if wire.answered > 100_000 else None

    (tmp_path / "out").mkdir()
    with pytest.raises(simscope.ChecksumMismatch):
        client.download(wrong, tmp_path / "out" / "a")
    with pytest.raises(ConnectionError):
        Client(wire.url).download(wrong, tmp_path / "out" / "b")
    wire.close()

    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "a\x1b[2Jb", "/"])
def test_a_name_that_leads_elsewhere_is_never_used_in_a_folder(shelf: Daemon, tmp_path: Path, name: str) -> None:
    client = Client(shelf.url)
    file = simscope.JobFile(job_id=declared(shelf, tmp_path), kind="result", name=name)
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)

    with pytest.raises(simscope.SimscopeError):
        client.download(file, folder)

    assert [path for path in (tmp_path / "in").rglob("*") if path.is_file()] == []


def test_what_the_server_does_not_serve_is_a_permission_error(daemon: Daemon, client: Client, tmp_path: Path) -> None:
    number = publish(daemon, live(files=[{"kind": "log", "name": "x", "path": "/etc/passwd"}]))

    with pytest.raises(PermissionError) as caught:
        client.download(client.files(number)[0], tmp_path / "x")

    assert "(outside-roots)" in str(caught.value) and "token" not in str(caught.value)
    assert not (tmp_path / "x").exists()


# ----------------------------------------------------------------------------------------------------------------------
# events
# ----------------------------------------------------------------------------------------------------------------------


def test_events_begin_when_they_are_asked_for_and_are_filtered(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live("old"))
    everything, passed = client.events(), client.events(types=["job.passed"], regression="r/1")
    own = client.events(job=number)

    publish(daemon, live("b"))
    publish(daemon, done("b"))
    publish(daemon, done("old"))

    assert [event.type for event in itertools.islice(everything, 3)] == ["job.live", "job.passed", "job.passed"]
    assert [event.job for event in itertools.islice(passed, 2)] == [number + 1, number]
    first = next(own)
    assert (first.type, first.job, first.regression, first.data["result"]) == ("job.passed", number, "r/1", "pass")
    assert first.at is not None and first.at.tzinfo is not None
    again = client.events(after=0)
    assert [event.type for event in itertools.islice(again, 3)] == ["regression.started", "job.live", "job.live"]
    assert next(client.events(after=first.seq - 1)).seq == next(client.events(after=first.seq - 1)).seq == first.seq


def test_a_job_is_called_by_what_is_known_of_it() -> None:
    known = [{"name": "n", "config": "c"}, {"config": "c", "uniqueid": "u"}, {"uniqueid": "u"}, {}]

    assert [simscope.Job(id=7, **fields).title for fields in known] == ["n", "c", "u", "job 7"]


def test_every_type_of_event_may_be_asked_for_and_no_other(daemon: Daemon, client: Client) -> None:
    publish(daemon, done(result="fail"))
    first = daemon.get("/events")["items"][0]["seq"]
    known = set(re.findall(r'"((?:job|regression)\.[a-z_]+)"', (ROOT / "simscoped.py").read_text()))

    assert set(simscope.EVENT_TYPES) == known
    for types in (["job.failed"], "job.*", "finished,FAILED", "regression.*,job.failed", "*"):
        assert any(next(client.events(types, after=seq)).type == "job.failed" for seq in (0, first))
    with pytest.raises(simscope.UsageError, match="types=FAILURE is not accepted"):
        next(client.events("FAILURE"))


def test_events_go_on_through_cuts_and_a_restart_without_gap_or_repeat(daemon: Daemon, wire: Wire) -> None:
    events = Client(wire.url).events(types="job.live")
    got: list[str] = []
    reading = Running(lambda: got.extend(str(event.job) for event in itertools.islice(events, 60)))
    numbers = []
    for n in range(60):
        numbers.append(str(publish(daemon, live(str(n)))))
        if n in (10, 25):
            wire.cut()
        if n == 40:
            restart(daemon)
    reading.result()

    assert got == numbers


def test_a_reader_far_behind_catches_up_by_pages(daemon: Daemon, client: Client) -> None:
    publish(daemon, live("first"))
    for begin in range(0, 7000, 1000):
        batch = [{"type": "job-live", "regression": "r/1", "body": live(str(begin + n))} for n in range(1000)]
        assert daemon.post("/messages", batch)[0] == 200

    got = list(itertools.islice(client.events(types="job.live", after=0), 7001))

    assert [event.job for event in got] == list(range(1, 7002))
    assert [event.seq for event in got] == sorted({event.seq for event in got})


def test_an_expired_cursor_is_an_error_only_for_who_gave_one(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f"{LIVE_SIGS}[limits]\nkeep_events_days = 0.000001\n").start()
    client = Client(daemon.url)
    quiet = client.events()
    for n in range(5):
        publish(daemon, live("a", phase=str(n)))
    newest = daemon.get("/events")["newest"]
    restart(daemon)  # what is too old goes when it starts
    wait_until(lambda: daemon.get("/events")["oldest"] >= newest, 20, "the first events to be too old")
    restart(daemon)

    status, told, _ = daemon.request("GET", "/api/v1/events?after=1")
    assert (status, told["reason"], told["oldest"], "newest" in told) == (410, "cursor-expired", newest, True)
    with pytest.raises(simscope.CursorExpired) as caught:
        next(client.events(after=1))
    assert isinstance(caught.value, LookupError) and caught.value.problem["newest"] >= told["newest"]
    reading = Running(next, quiet)
    wait_until(lambda: daemon.get("/")["seq"] and "simscoped_streams 1.0" in daemon.request("GET", "/metrics")[1])
    number = publish(daemon, live("b"))
    assert reading.result(SOON).job == number


def test_a_stream_with_an_old_cursor_is_answered_200_and_reset(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    publish(daemon, live())
    caller = Client(daemon.url).caller

    stream = simscope.Stream(caller.address, "/events/stream?after=999999")
    frames: list[Any] = []
    while not frames:
        frames = stream.read(10)
    stream.close()

    assert (frames[0].event, frames[0].data["reason"]) == ("reset", "cursor-expired")


# ----------------------------------------------------------------------------------------------------------------------
# errors
# ----------------------------------------------------------------------------------------------------------------------


def test_what_does_not_exist_is_a_lookup_error_or_none(daemon: Daemon, client: Client) -> None:
    for call in (client.job, client.status, client.wait, client.logs, client.files, client.history):
        with pytest.raises(LookupError) as caught:
            call(4711)  # type: ignore[operator]
        assert isinstance(caught.value, simscope.NotFound) and caught.value.status == 404
        assert caught.value.problem["reason"] == "no-such-job"
    with pytest.raises(LookupError):
        client.regression("no/such")
    assert client.job(4711, missing_ok=True) is None
    assert client.regression("no/such", missing_ok=True) is None


def test_a_missing_token_is_a_permission_error(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f"{LIVE_SIGS}[limits]\nlog_lines = 10\n")
    daemon.config.write_text(daemon.config.read_text().replace("[server]\n", '[server]\ntoken = "secret"\n'))
    daemon.start()

    for client in (Client(daemon.url, ""), Client(daemon.url, "wrong")):
        assert client.jobs() == []
        with pytest.raises(PermissionError):
            client.extend(1, 60)
    with pytest.raises(LookupError):
        Client(daemon.url, "secret").extend(1, 60)


def test_whether_something_is_over_is_asked_unless_a_snapshot_tells(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live())
    job = client.job(number)
    assert job is not None
    publish(daemon, done())

    assert [client.is_done(ref) for ref in (job, number, str(number), "r/1")] == [False, True, True, False]
    with pytest.raises(LookupError):
        client.is_done(4711)


def test_what_is_no_text_is_no_address_and_no_token() -> None:
    for given in ({"server": 5}, {"token": 7}):
        with pytest.raises(TypeError, match=r"is a text .*, not int"):
            Client(**given)  # type: ignore[arg-type]


def test_an_address_that_is_none_is_a_value_error() -> None:
    for server in ("tracker:8040", "ftp://x", "http://"):
        with pytest.raises(ValueError, match="is no address"):
            Client(server)


def test_the_server_and_the_token_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMSCOPE_SERVER", "http://elsewhere:1")
    monkeypatch.setenv("SIMSCOPE_TOKEN", " t ")
    assert (Client().caller.address.url, Client().caller.address.token) == ("http://elsewhere:1", "t")
    monkeypatch.delenv("SIMSCOPE_SERVER")
    assert Client(token="").caller.address.url == "http://127.0.0.1:8040"
