"""Titles of whatever a message may hold: hostile lines, and generated messages."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simscope_server.ledger.signatures import (
    NO_MESSAGE,
    NO_WORDS,
    READ_LIMIT,
    TITLE_LIMIT,
    explain,
    first_line,
    title_of,
)

# --- hostile lines: 100 kB, each a trap for a pattern that backtracks or scans ahead again and again ------------

HOSTILE = [
    ("{{", NO_WORDS),
    ("<<", NO_WORDS),
    ("{{a", " ".join("a" * 667)),
    ("<<a", " ".join("a" * 667)),
    ("(", NO_WORDS),
    ("(time ", " ".join(["time"] * 334)),
    ("9", "..."),
    ("9_", "..."),
    ("9.", "..."),
    ("1h0.", " ".join(["1h0"] * 500)),
    ("f", "f" * READ_LIMIT),
    ("_", NO_WORDS),
    ("a.", "[HIER].a"),
    ("a[1].", "[HIER].a"),
    ("a[1]", "a ... a ... a ..."),
    ("a-", " ".join("a" * 1000)),
    ("/a", NO_WORDS),
    ("a/", " ".join("a" * 1000)),
    ("/", NO_WORDS),
    ("~", NO_WORDS),
    ("./", NO_WORDS),
    ("x.s", "[HIER].s"),
    ("'h", "h'h h'h"),
    ("\x1b[1;", "..."),
    ("\ud800", NO_WORDS),
]


@pytest.mark.parametrize(("unit", "start"), HOSTILE)
def test_hostile_line(unit: str, start: str) -> None:
    line = (unit * 100_000)[:100_000]

    assert title_of(line).startswith(start[:TITLE_LIMIT].rstrip())
    assert title_of(line) == title_of(line[:READ_LIMIT])
    assert "".join(text for text, _ in explain(line)) == line
    assert len(explain(line)) <= READ_LIMIT + 1


# --- generated messages -----------------------------------------------------------------------------------------

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure

# fmt: off
PIECES = [
    " ", " ", "  ", "\t", "a", "h", "T", "Z", "é", "数据", "deadbeef", "fifo7", "top.cpu", ".", "_", "[3]",
    "5", "12", "3.5", "1a2b", "0x", "'h", "ff", "e-", "ns", "(time ", "@", "/", "\\", "~", "+", "-", ".sv", ":12",
    "(8)", "{{", "}}", "<<", ">>", "{", "<", "(", ")", "'", '"', "#", "=", "|", ",", "\x1b[31m", "\x00", "\ud800",
]
# fmt: on
mixed = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
numbers = st.one_of(
    st.integers(0, 10**18).map(str),
    st.integers(-(10**6), -1).map(str),
    st.floats(0, 1e9, allow_nan=False).map(str),
    st.integers(0, 2**64).map("{:#x}".format),
    st.integers(0, 2**64).map("{:#010X}".format),
    st.from_regex(r"[1-9][0-9]?'s?[hH][0-9a-fA-FxXzZ_]*[0-9a-fxz]", fullmatch=True),
    st.from_regex(r"'(h[0-9a-f]+|b[01xz]+|d[0-9]+)", fullmatch=True),
    st.builds(
        "{}{}{}".format,
        st.integers(0, 10**9),
        st.sampled_from(["", " "]),
        st.sampled_from(["fs", "ps", "ns", "us", "s"]),
    ),
    st.from_regex(r"[0-9]{1,2}h[0-9]{1,2}m([0-9]{1,2}(\.[0-9])?s)?", fullmatch=True),
)
places = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "/a/", "./", "../x-1/", "tb/", "/home/me/run_17/src/", "C:\\w\\"]),
    st.sampled_from(["fifo.sv", "t.v", "uvm_phase.svh", "my-model.2.cpp", "test_x.py"]),
    st.sampled_from([":12", ":7:3", ",44", "(8)", "(10.5)", ":3.1-9"]),
)
names = st.from_regex(r"[a-z_][a-z_0-9]{0,6}(\[[0-9]{1,3}\])?", fullmatch=True)
words = st.from_regex(r"[g-z][a-z_]{1,8}[0-9]{0,3}", fullmatch=True)
symbols = st.sampled_from([" ", ": ", " [", "] ", " = ", ", ", " | ", "\t", " (", ") ", "-", "=", " ** ", "; "])


@unhurried
@given(st.text(), st.none() | st.text())
def test_any_text_has_a_title(message: str, bucket: str | None) -> None:
    title = title_of(message, bucket)

    assert title
    assert len(title) <= TITLE_LIMIT
    assert title == " ".join(title.split())


@unhurried
@given(mixed | st.text(max_size=80))
def test_no_number_stands_alone_in_a_title(message: str) -> None:
    title = title_of(message.replace("{", ""))

    assert not re.search(r"(?<!\w)\d+(?!\w)", title)
    assert "... ..." not in title


@unhurried
@given(mixed | st.text())
def test_pieces_join_to_the_line(message: str) -> None:
    pieces = explain(message)

    assert "".join(text for text, _ in pieces) == first_line(message)
    assert all(text for text, _ in pieces)
    assert all(one != other for (_, one), (_, other) in pairwise(pieces))


@unhurried
@given(mixed)
def test_title_and_pieces_tell_the_same(message: str) -> None:
    title = title_of(message).replace("[HIER].", " ").replace("...", " ")
    kept = "".join(" " if erased else text for text, erased in explain(message)).replace("...", " ")

    shown = [] if title in (NO_WORDS, NO_MESSAGE) else title.split()
    assert [word.rstrip("_") for word in shown] == [word.rstrip("_") for word in kept.split()]


@unhurried
@given(st.lists(words, min_size=1, max_size=12), st.data())
def test_words_are_never_removed(message_words: list[str], data: st.DataObject) -> None:
    gaps = [data.draw(symbols) for _ in message_words]
    message = "".join(word + gap for word, gap in zip(message_words, gaps, strict=True))

    assert title_of(message) == " ".join(message_words)


@pytest.mark.parametrize(
    "template", ["got {}", "[{}] bad", "exp={}, got: ({})", "id:{} of ch at {}: late", "|{}|{}| x"]
)
@unhurried
@given(data=st.data())
def test_numbers_do_not_matter(template: str, data: st.DataObject) -> None:
    one, other = (template.format(data.draw(numbers), data.draw(numbers)) for _ in range(2))

    assert title_of(one) == title_of(other) == title_of(template.replace("{}", "0"))


@pytest.mark.parametrize("template", ["Error: {} bad", "UVM_ERROR {} @ 5: x", "({}): stop", "see {}", "{}: error: no"])
@unhurried
@given(place=places)
def test_places_do_not_matter(template: str, place: str) -> None:
    assert title_of(template.format(place)) == title_of(template.format("x.sv:1"))


# "txt[0]" behind a dot would make a file's name of what is before it.
SUFFIXES = "sv svh v vh vhd vhdl vams cc cpp hpp py tcl yml yaml json xml csv txt".split()


@unhurried
@given(st.lists(names.filter(lambda name: name.partition("[")[0] not in SUFFIXES), min_size=1, max_size=5))
def test_only_the_last_name_of_a_hierarchy_matters(path: list[str]) -> None:
    assert title_of(f"in {'.'.join(path)}.leaf7[3]: bad") == "in [HIER].leaf_ bad"
