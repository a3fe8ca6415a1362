"""The filter language of job lists, and the regular expressions in it."""

from __future__ import annotations

import json
import re
import select
import socket
import string
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.daemons import LIVE_SIGS, Daemon, driven, wait_until
from support.stories import Story

from simscope_server.reading import filters, patterns
from simscope_server.reading.filters import BadFilter
from simscope_server.reading.patterns import BadPattern, Pattern

MINUTE = 60_000


@pytest.fixture(scope="module")
def lab() -> Story:
    story = Story()
    story.regr("regr-start", "nightly/1", component="core", model_branch="main")
    fields = {"config": "sim +seed=7", "seed": "7", "build": "debug", "metadata": [["lane", "3"], ["a.b", "x"]]}
    timed = {"runtime_ms": 20 * MINUTE, "compute_ms": 10_000, "cycles": 5000}
    story.finish("nightly/1", "a", "pass", host="n1", name="fifo", **fields, **timed)
    story.finish(
        "nightly/1", "b", "fail", host="n12", name="fifo, wide", fail_message="FIFO overrun\nmore", exit_code=3
    )
    story.finish("nightly/1", "c", "fail", host="m1", fail_message='said "no" = 3|4', runtime_ms=90_000, username="ann")
    story.finish("other", "d", "skip", config="sim +seed=8", seed="8")
    story.live("other", "e", phase="queued", category="lint")
    story.conn.create_function("matches", 2, patterns.matches, deterministic=True)
    return story


def found(story: Story, text: str) -> str:
    made = filters.condition(text, patterns.compiled)
    rows = story.rows(f"SELECT j.key FROM jobs AS j WHERE {made.text} ORDER BY j.id", *made.parameters)
    return "".join(row["key"] for row in rows)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "abcde"),
        ("result=fail", "bc"),
        ("result=fail|skip", "bcd"),
        (" result = fail | skip ", "bcd"),
        ("!result=fail", "ade"),
        ("result!=fail", "ade"),
        ("!result!=fail", "bc"),
        ("result=fail, host=~^n1, message=~FIFO", "b"),
        ("host=~^n1", "ab"),
        ("host=n1", "a"),
        ("host=n1|m1", "ac"),
        ("!host=n1", "bcde"),  # what is not known is not n1
        ("host=", "de"),
        ("!host=", "abc"),
        ("host!~^n", "cde"),
        ("host!=~^n", "cde"),
        ("!host!~^n", "ab"),
        ('name="fifo, wide"', "b"),
        ("name=fifo", "a"),
        ("test=sim +seed=*", None),
        ('test="sim +seed=*"', "d"),
        ("test=~seed=[*]", "d"),
        ("seed=7|8", "ad"),
        ("build=debug", "a"),
        ("category=lint", "e"),
        ("phase=queued,result=live", "e"),
        ("message=~FIFO|said", "bc"),
        ("message=~(?i)fifo", "b"),
        ("message=~^fifo", ""),
        ('message=~"said .no. = "', "c"),
        ("message=~no id=3|said", "c"),  # what a message says may look like a term
        ("message=~ o{1,2}v ", "b"),  # blanks around a value do not count
        ("message=~o{0,2}v, host=n12", "b"),
        ("message=~[,=] 3, result=fail", "c"),
        (r'message="said \"no\" = 3|4"', "c"),
        (r'message=~"\"no\" = \d\|"', "c"),
        ("signature=~overrun", "b"),
        ("signature=1", "b"),
        ("runtime>10m", "a"),
        ("runtime>=90s", "ac"),
        ("runtime<=1.5m", "c"),
        ("runtime=90000", "c"),
        ("runtime>1h", ""),
        ("runtime>=1m 30s, runtime<0h 20m00s", "c"),
        ("runtime=1m30s|20 m", "ac"),
        ("runtime<1d", "ac"),
        ("!runtime>10m", "bcde"),
        ("compute<10.1s", "a"),
        ("cycles>4e3", "a"),
        ("cycles>4.9k, cycles<1M", "a"),
        ("cps=500", "a"),
        ("exit_code=3|4", "b"),
        ("id<=2", "ab"),
        ("uniqueid=b|c", "bc"),
        ("username=ann", "c"),
        ("metadata.lane=3", "a"),
        ("metadata.a.b=~^x$", "a"),
        ("metadata.lane=", "bcde"),
        ("regression=~^nightly/", "abc"),
        ("series=nightly", "abc"),
        ("component=core,branch=main,result=pass", "a"),
        ("component=", "de"),
        ("reason=", "abcde"),
    ],
)
def test_what_a_filter_finds(lab: Story, text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(BadFilter):
            found(lab, text)
    else:
        assert found(lab, text) == expected


@pytest.mark.parametrize(
    ("text", "position", "word"),
    [
        ("fail", 4, "operator"),
        ("result fail", 7, "operator"),
        ("message~FIFO", 7, "operator"),
        ("colour=red", 0, "no field colour"),
        ("addr=0x10", 0, "a text to search for goes into q, or on the page into quotes"),
        ("result=fail host=~n1", 12, "a comma between terms is missing, before host"),
        ("host=n1 runtime>10m", 8, "a comma between terms is missing, before runtime"),
        ("host=n1 !metadata.lane=3", 9, "a comma between terms is missing, before metadata.lane"),
        ("host=~n1 message!~FIFO", 9, "a comma between terms is missing, before message"),
        ("result=fail,", 12, "term"),
        ("result=fail,,host=a", 12, "field"),
        (",host=a", 0, "field"),
        ("=a", 0, "field"),
        ("result=failed", 7, "live, pass, fail, skip"),
        ("result=fail|lost", 12, "live, pass, fail, skip"),
        ("build=x|host=a", 12, "quotes"),
        ("result=~f", 6, "searches text"),
        ("result>fail", 6, "number"),
        ("host>3", 4, "number"),
        ("runtime>10y", 8, "duration"),
        ("runtime>", 8, "duration"),
        ("runtime>10m 30", 8, "duration"),
        ("runtime>10m,30s", 15, "operator"),
        ("runtime>1|2", 7, "one other"),
        ("cycles>10m", 7, "a number"),
        ("cycles>1k5", 7, "a number"),
        ("cycles=many", 7, "a number"),
        ("message=~", 9, "regular expression"),
        ("message=~a(b", 10, "without its )"),
        ("host=a, message=~[a", 17, "without its ]"),
        ('message=~"*a"', 10, "to repeat"),
        ('host="a', 5, "quote"),
        ('host=a"b"', 6, "quote"),
        ("metadata.=3", 0, "no field"),
        ("x" * 2001, 2000, "2000 characters"),
        (",".join(["id=1"] * 51), 0, "50 terms"),
    ],
)
def test_a_filter_that_cannot_be_names_the_place(text: str, position: int, word: str) -> None:
    with pytest.raises(BadFilter) as caught:
        filters.condition(text, patterns.compiled)

    assert word in str(caught.value)
    assert caught.value.position == position


@given(st.text(max_size=40) | st.text(st.sampled_from("abhost=~!|,\"'\\([{)]}<>0m "), max_size=40))
@settings(deadline=None, max_examples=300)
def test_whatever_is_typed_is_a_filter_or_names_a_place_in_it(text: str) -> None:
    story = Story()
    story.conn.create_function("matches", 2, patterns.matches, deterministic=True)
    try:
        found(story, text)
    except BadFilter as error:
        assert 0 <= error.position <= len(text)


# --- regular expressions ----------------------------------------------------------------------------------------------

ATOMS = st.sampled_from(
    ["a", "b", "1", ".", r"\d", r"\D", r"\w", r"\s", "[ab]", "[^a]", "[a-c1]", "^", "$", r"\.", r"[\d.]"]
)
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, inner).map("({0[0]}|{0[1]})".format)
        | st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,}", "*?"])).map(
            "(?:{0[0]}){0[1]}".format
        )
    ),
    max_leaves=8,
)


@given(PATTERNS, st.text(st.sampled_from("abc1. "), max_size=12))
@settings(deadline=None, max_examples=1500)
def test_a_search_finds_what_python_finds(pattern: str, text: str) -> None:
    assert Pattern(pattern).is_in(text) == (re.search(pattern.replace("$", r"\Z"), text) is not None)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("(?i)fifo", "a FiFo", True),
        ("(?i)[A-C]x", "bX", True),
        ("(?i)[^a]", "A", False),
        ("(?i)Ä", "ä", True),
        ("fifo", "FIFO", False),
        ("a.b", "a\nb", False),
        ("end$", "the end", True),
        ("end$", "end\n", False),
        ("[]a]", "]", True),
        ("[a-]", "-", True),
        ("[^-]", "-", False),
        (r"[\]\\]", "\\", True),
        (r"\t", "\t", True),
        (r"\(\)", "f()", True),
        ("", "", True),
        ("a|", "b", True),
        ("", "x", True),
        ("(ab){3}", "ababab", True),
        ("^(ab){3}$", "abab", False),
        ("x{2,3}y", "xxxxy", True),
        ("{", "", None),
        ("日本+", "日本本", True),
    ],
)
def test_what_a_pattern_means(pattern: str, text: str, expected: bool | None) -> None:
    if expected is None:
        assert Pattern("[{]").is_in("{")
    else:
        assert Pattern(pattern).is_in(text) is expected


@pytest.mark.parametrize(
    ("pattern", "position"),
    [
        ("*a", 0),
        ("a(*b)", 2),
        ("(a", 0),
        ("a)", 1),
        ("[a", 0),
        ("[b-a]", 1),
        ("a{2,1}", 1),
        ("a{x}", 1),
        ("a{", 1),
        ("a\\", 1),
        (r"(a)\1", 3),
        (r"\bword", 0),
        ("(?=a)", 0),
        ("(?P<n>a)", 0),
        ("a{999}", 0),
        ("((a{20}){20}){20}", 0),
        ("(" * 60 + ")" * 60, 50),
        ("a" * 501, 500),
    ],
)
def test_a_pattern_that_cannot_be_names_the_place(pattern: str, position: int) -> None:
    with pytest.raises(BadPattern) as caught:
        Pattern(pattern)

    assert caught.value.position == position


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "^(a|a)*$",
        "(.*)*x",
        "(.*)(.*)(.*)(.*)(.*)(.*)x$",
        "(a?){100}a{100}$",
        "(a|b)*a(a|b){120}c",
        "^(([a-z])+.)+[A-Z]$",
    ],
)
def test_no_pattern_takes_long(pattern: str) -> None:
    """Python's own takes hours for most of these. The bound is wide: what matters is that it is not exponential."""
    begun = time.process_time()

    assert not Pattern(pattern).is_in("ab" * 700 + "a" * 2500 + "!")

    assert time.process_time() - begun < 5


def test_what_is_remembered_is_bounded() -> None:
    pattern = Pattern("(a|b)*a(a|b){12}c")
    text = "".join("ab"[number * number % 7 % 2 ^ number % 3 % 2] for number in range(4000))

    for start in range(0, 4000, 100):
        pattern.is_in(text[start:])

    assert len(pattern.states) <= patterns.STATES_MOST


# --- over HTTP --------------------------------------------------------------------------------------------------------


def quoted(text: str) -> str:
    return "".join(letter if letter in string.ascii_letters else f"%{letter.encode().hex()}" for letter in text)


def filled(daemon: Daemon, jobs: int, regression: str = "r") -> Daemon:
    bodies = [
        {"category": "sim", "uniqueid": str(n), "result": "fail", "host": f"n{n % 3}", "fail_message": f"e {n}"}
        | {"cycles": n, "compute_ms": 1000, "runtime_ms": 1000 * (n % 5)}
        for n in range(jobs)
    ]
    raw = "\n".join(map(json.dumps, bodies)).encode()
    status, _, _ = daemon.request(
        "POST", f"/api/v1/publish/job-finish?regression={regression}", raw, {"Content-Type": "application/x-ndjson"}
    )
    assert status == 200
    return daemon


def test_lists_take_a_filter_beside_their_other_parameters(daemon: Daemon) -> None:
    filled(daemon, 30)

    for path in ("/jobs", "/regressions/r/jobs"):
        told = daemon.get(f"{path}?filter={quoted('message=~[57]$, host=n1|n2')}&sort=id&limit=3")
        more = daemon.get(f"{path}?filter={quoted('message=~[57]$, host=n1|n2')}&sort=id&after={told['next']}")

        assert [int(job["uniqueid"]) for job in told["items"] + more["items"]] == [5, 7, 17, 25]
        assert more["next"] is None


def test_a_filter_that_cannot_be_is_422(daemon: Daemon) -> None:
    status, told, _ = daemon.request("GET", f"/api/v1/jobs?filter={quoted('host=a, colour=red')}")

    assert (status, told["reason"], told["position"], told["path"]) == (422, "bad-filter", 8, "filter")
    assert "no field colour" in told["detail"]


@pytest.mark.parametrize(
    "sort", "id name config host phase seed test result runtime compute cycles cps started finished seen".split()
)
def test_every_order_pages_through_all_both_ways(daemon: Daemon, sort: str) -> None:
    filled(daemon, 23)

    def paged(order: str) -> list[int]:
        ids: list[int] = []
        after: Any = ""
        while after is not None:
            told = daemon.get(f"/regressions/r/jobs?sort={order}&limit=7&after={after}")
            ids += [job["id"] for job in told["items"]]
            after = told["next"]
        return ids

    up = paged(sort)
    assert sorted(up) == list(range(1, 24))
    assert paged(f"-{sort}") == up[::-1]


def test_the_order_is_that_of_the_values(daemon: Daemon) -> None:
    filled(daemon, 12)

    assert [job["runtime_ms"] for job in daemon.get("/jobs?sort=-runtime&limit=3")["items"]] == [4000, 4000, 3000]
    assert [job["cycles_per_s"] for job in daemon.get("/jobs?sort=cps&limit=3")["items"]] == [0, 1, 2]
    assert {job["host"] for job in daemon.get("/jobs?sort=host&limit=4")["items"]} == {"n0"}


# Each search tells that it has begun; the rows go by slowly, or stand still.
SLOW_SEARCH = """
rooms.replace("READ_MOST_S", 1.0)
rooms.find("Timeout").STEPS = 100
matches = rooms.find("patterns").matches

def slow(pattern, text):
    if text == "e 0":
        with open("begun", "a") as file:
            file.write("x")
    if pattern == "slow":
        time.sleep(0.01)
    while pattern == "still" and not os.path.exists("over"):
        time.sleep(0.01)
    return matches(pattern, text)

rooms.find("patterns").matches = slow
"""


def asking(daemon: Daemon, path: str) -> socket.socket:
    """A request of which the answer is not read."""
    address = urllib.parse.urlsplit(daemon.url)
    channel = socket.create_connection((address.hostname, address.port), 10)
    channel.sendall(f"GET /api/v1{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return channel


def begun(daemon: Daemon) -> int:
    """How many searches have begun."""
    path = daemon.folder / "begun"
    return path.stat().st_size if path.exists() else 0


def test_searches_whose_asker_has_left_are_ended_and_hold_up_nobody(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = filled(make_daemon(LIVE_SIGS, program=driven(tmp_path, SLOW_SEARCH)).start(), 3000)
    stream = asking(daemon, "/events/stream")
    assert stream.recv(4096).startswith(b"HTTP/1.1 200")
    search = f"/jobs?sort=id&filter={quoted('message=~slow')}"

    for number in range(3):
        channel = asking(daemon, search)
        wait_until(lambda: begun(daemon) == number + 1)  # noqa: B023
        channel.close()
    filled(daemon, 100, "later")
    jobs = [daemon.get(f"/jobs/{number}")["id"] for number in (1, 2, 3)]
    told = b""
    while b"job.failed" not in told and (more := stream.recv(4096)):
        told += more

    stream.close()
    assert jobs == [1, 2, 3]
    assert b"job.failed" in told
    log = daemon.log.read_text()
    assert [word for word in ("CRITICAL", "cannot read", "Traceback") if word in log] == []


def test_slow_searches_leave_a_reader_to_what_is_quick(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = filled(make_daemon(LIVE_SIGS, program=driven(tmp_path, SLOW_SEARCH)).start(), 10)
    channels = [asking(daemon, f"/jobs?sort=id&filter={quoted('message=~still')}") for _ in range(5)]
    wait_until(lambda: begun(daemon) == 2)
    channels.append(asking(daemon, "/regressions/r/hosts"))  # goes through all jobs, so it waits with the searches
    told: list[Any] = []
    quick = threading.Thread(
        target=lambda: told.extend([daemon.get("/jobs/1")["id"], daemon.get("/regressions/r/jobs?limit=1")["next"]])
    )

    quick.start()
    quick.join(10)
    is_answered = not quick.is_alive()
    answered, _, _ = select.select(channels, [], [], 0)
    (daemon.folder / "over").touch()

    quick.join(60)
    assert (is_answered, answered) == (True, [])
    assert (told[0], begun(daemon) >= 2) == (1, True)
    for channel in channels:
        assert channel.recv(4096).startswith(b"HTTP/1.1 200")
        channel.close()


def test_what_takes_too_long_is_given_up(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    program = driven(tmp_path, "rooms.replace('READ_MOST_S', 0.0)")
    daemon = filled(make_daemon(LIVE_SIGS, program=program).start(), 3000)

    status, told, _ = daemon.request("GET", f"/api/v1/jobs?filter={quoted('message=~nowhere')}")

    assert (status, told["reason"]) == (422, "too-expensive")
    assert daemon.get("/jobs?limit=1")["items"]
    assert "Traceback" not in daemon.log.read_text()
