"""The Python client follows events."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from support.clients import SOON, Running, publish, restart
from support.daemons import LIVE_SIGS, Daemon, done, live, wait_until
from support.proxies import Wire
from support.trackers import Tracker

import simscope
import simscope_client
from simscope import Client
from simscope_server.messages.protocol import EVENT_TYPES


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
    assert simscope.Job(id=7, name="n", config="c").title == "n"
    assert simscope.Job(id=7, config="c", uniqueid="u").title == "c"
    assert simscope.Job(id=7, uniqueid="u").title == "u"
    assert simscope.Job(id=7).title == "job 7"


def test_every_type_of_event_may_be_asked_for_and_no_other(daemon: Daemon, client: Client) -> None:
    publish(daemon, done(result="fail"))
    first = daemon.get("/events")["items"][0]["seq"]

    assert set(simscope.EVENT_TYPES) == {*EVENT_TYPES, "job.finished"}
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

    stream = simscope_client.Stream(caller.address, "/events/stream?after=999999")
    frames: list[Any] = []
    while not frames:
        frames = stream.read(10)
    stream.close()

    assert (frames[0].event, frames[0].data["reason"]) == ("reset", "cursor-expired")


def test_a_comment_on_a_stream_is_a_mere_sign_of_life(tracker: Tracker) -> None:
    tracker.answer = lambda request: (200, b": still here\n\nid: 7\n\nevent: reset\ndata: {}\n\n")
    stream = simscope_client.Stream(Client(tracker.url).caller.address, "/events/stream")
    frames: list[Any] = []
    with pytest.raises(simscope.Unreachable, match="has ended the stream"):
        while True:
            frames += stream.read(10)
    stream.close()

    assert [(frame.event, frame.id, frame.data) for frame in frames] == [("", 7, None), ("reset", None, {})]
