"""The Python client waits: for jobs and regressions, through outages and restarts."""

from __future__ import annotations

import datetime
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.clients import SOON, Running, after_reply, append, before_request, publish, restart
from support.daemons import LIVE_SIGS, Daemon, done, live, wait_until
from support.hosts import problem
from support.proxies import Wire
from support.trackers import Tracker

import simscope
import simscope_client
from simscope import Client

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


def test_what_is_over_right_after_its_snapshot_is_told_by_the_events(daemon: Daemon, client: Client) -> None:
    """The cursor is taken before the snapshots, or this event would lie before it."""
    number = publish(daemon, live())
    after_reply(client, f"/jobs/{number}", lambda: publish(daemon, done()))

    [found] = client.as_completed([number], timeout=SOON)
    assert isinstance(found, simscope.Job) and found.result == "pass"


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
    with pytest.raises(simscope.WaitTimeout, match=r"^r/1 is not over within the timeout$"):
        client.wait(regression, timeout=0)
    with pytest.raises(simscope.WaitTimeout, match=rf"^job {number} is not over within the timeout$") as caught:
        client.wait(number, timeout=0)
    assert isinstance(caught.value.snapshot, simscope.Job) and caught.value.snapshot.phase == "running"


def test_many_are_told_as_they_are_over_each_once_by_one_stream(daemon: Daemon, wire: Wire) -> None:
    numbers = [publish(daemon, live(str(n)), f"m/{n % 2}") for n in range(40)]
    order = list(range(40))
    random.Random(3).shuffle(order)
    publish(daemon, done(str(order[0])), f"m/{order[0] % 2}")
    got: list[Any] = []
    refs: list[int | str] = [*numbers, numbers[0], "m/0"]
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
            call(number)


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

    def cut_once() -> None:
        wire.on_answer = lambda: None
        wire.cut()

    wire.on_answer = cut_once
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
        assert time.monotonic() - begun < SOON


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
    assert all(0 <= simscope_client.jitter(20) <= 30 for _ in range(200))
    spread = [simscope_client.jitter(0) for _ in range(400)]
    assert min(spread) < 0.1 and 0.4 < max(spread) <= 0.5

    caller = simscope_client.Caller(simscope.Address("http://127.0.0.1:9", "", 1), outage=60)
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


@pytest.mark.parametrize(
    ("told", "seconds"), [("7", 7.0), ("0", 0.0), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0), ("", 0.0)]
)
def test_a_server_may_say_when_to_come_again(tracker: Tracker, told: str, seconds: float) -> None:
    tracker.answer, tracker.headers = lambda request: problem(503, "Unavailable"), {"Retry-After": told}

    with pytest.raises(simscope.Unreachable) as caught:
        Client(tracker.url).job(1)

    assert (caught.value.status, caught.value.retry_after) == (503, seconds)


def test_a_server_that_answers_too_early_is_not_asked_again_and_again(tracker: Tracker) -> None:
    """A daemon that is about to stop ends all waiting at once; without a pause it would be asked hundreds of times."""
    job = {"id": 1, "result": "live", "done": False, "version": 1}
    log = {"first_offset": 0, "next_offset": 0, "complete": False, "lines": []}
    tracker.answer = lambda request: (200, log if "/logs" in request["path"] else job)
    client = Client(tracker.url)

    for call in (lambda: client.wait(1, timeout=1), lambda: list(client.iter_logs(1, follow=True, timeout=1))):
        tracker.requests.clear()
        with pytest.raises(simscope.WaitTimeout):
            call()
        assert len(tracker.requests) < 80


def test_an_idle_connection_that_the_server_has_closed_is_replaced(daemon: Daemon, wire: Wire) -> None:
    client = Client(wire.url)
    client.about()
    client.about()
    assert wire.connections == 1

    wire.cut()
    client.about()

    assert wire.connections == 2
