"""The Python client reads logs: in pages, through a buffer, while they grow."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from support.clients import SOON, Running, append, publish
from support.daemons import LIVE_SIGS, Daemon, done, live, wait_until
from support.proxies import Wire

import simscope
import simscope_client
from simscope import Client

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


@pytest.mark.parametrize("over", [False, True])
def test_a_log_of_more_than_a_page_is_read_to_its_end(make_daemon: Callable[..., Daemon], over: bool) -> None:
    """The daemon gives 10,000 lines at once, and keeps more where it is configured so."""
    daemon = make_daemon(f"{LIVE_SIGS}[limits]\nlog_lines = 30_000\n").start()
    count = 2 * simscope_client.PAGE_LINES + 345
    number = publish(daemon, live())
    for begin in range(0, count, 5000):
        append(daemon, number, *(f"line {n}" for n in range(begin, min(count, begin + 5000))), offset=begin)
    if over:
        publish(daemon, done())
    client = Client(daemon.url)

    for offset in (0, 7):
        assert [line.offset for line in client.iter_logs(number, offset)] == list(range(offset, count))
    assert [line.message for line in client.logs(number, limit=count - 1)] == [f"line {n}" for n in range(count - 1)]
    assert len(client.log_buffer(number, 0).newer()) == len(client.log_buffer(number).older()) == count


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
            call(number, count + 1)
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

    buffer.interrupt(timeout=5)
    buffer.interrupt(timeout=5)

    assert not buffer.streaming and not buffer.has_last and buffer.error is None
    if not silent:
        append(daemon, number, "b")
        assert [line.message for line in buffer.newer()] == ["a", "b"]


def test_interrupt_ends_a_stream_that_tries_to_reach_a_daemon_that_is_away(daemon: Daemon, client: Client) -> None:
    number = publish(daemon, live(log={"lines": ["a"]}))
    with client.log_buffer(number, 0, stream=True) as buffer:
        wait_until(lambda: len(buffer) == 1)
        daemon.stop()
    assert not buffer.streaming


def test_interrupt_without_a_stream_does_nothing(daemon: Daemon, client: Client) -> None:
    buffer = client.log_buffer(publish(daemon, live()))
    buffer.interrupt()
    buffer.interrupt(wait=False)
    assert not buffer.streaming
    for wrong in (-1, float("nan"), 1e9):
        for call in (buffer.wait, buffer.interrupt):
            with pytest.raises(simscope.UsageError, match="timeout="):
                call(timeout=wrong)


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
    monkeypatch.setattr(simscope_client, "WAIT_SECONDS", 1.0)
    monkeypatch.setattr(simscope_client, "SILENT_SECONDS", 1.0)
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
    monkeypatch.setattr(simscope_client, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(client, "status", pruned)

    assert [line.message for line in client.iter_logs(number, follow=True, timeout=SOON)] == ["a"]
