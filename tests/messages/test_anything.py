"""Whatever is sent is taken or refused, and what is taken can be stored."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import rooms
from support.decodings import NOT_AT_DECODING, NOT_REFUSALS, finish, live, nested, update

from simscope_server.messages.decoding import _decode_item, decode_items, split_items
from simscope_server.messages.protocol import (
    JOB_FIELDS,
    REASONS,
    REGRESSION_FIELDS,
    RESULTS,
    TYPES,
    Context,
    Message,
    Outcome,
    Refused,
    to_json,
)
from simscope_server.messages.protocol import TIMES as the_TIMES
from simscope_server.settings import Config

SIX = sorted(JOB_FIELDS | REGRESSION_FIELDS | {"type", "body", "regression", "log", "later"})
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
WORDS = st.sampled_from([*TYPES, *RESULTS, "r/1", "2025-02-01T07:00:11.5Z", "0001-01-01T00:00:00Z", "", "\0"])
TIMES = st.sampled_from(
    ["2025-02-01T07:00:11.5Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:60Z", "9999-12-31T23:59:60-01:00"]
)
NUMBERS = st.integers() | st.sampled_from([2**63, -(2**63), 2**64, 10**30, 0]) | st.floats(allow_nan=False)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | ANY_TEXT | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(SIX) | ANY_TEXT, inner, max_size=6),
    max_leaves=15,
)
LIKELY = {
    "category": st.just("sim"),
    "uniqueid": st.sampled_from(["a", ""]),
    "result": st.sampled_from(RESULTS),
    **dict.fromkeys(the_TIMES, TIMES | WORDS),
}
BODIES = st.fixed_dictionaries({}, optional=LIKELY | {field: ANY_JSON for field in SIX if field not in LIKELY})
ENVELOPES = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES), "body": BODIES | st.lists(BODIES, max_size=3) | ANY_JSON},
    optional={"regression": st.sampled_from(["r/1", "", "a\x00b"]) | ANY_JSON, "later": ANY_JSON},
)
CONTEXTS = st.builds(
    Context,
    st.sampled_from([None, "regr-start", "regr-update", "regr-finish", "job-live", "job-finish"]),
    st.sampled_from([None, "r/1"]),
    st.booleans(),
)


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A good delivery with a piece of it replaced by anything."""
    raw = draw(st.sampled_from([live(later=nested(3)), finish("fail", seed=7), f"[{update(tag='ü')}, {live()}]"]))
    place = draw(st.integers(0, len(raw)))
    return raw[:place].encode() + draw(st.binary(max_size=6)) + raw[place + draw(st.integers(0, 9)) :].encode()


def assert_taken_or_refused(raw: bytes, context: Context, *, lines: bool) -> None:
    try:
        items = split_items(raw, lines=lines)
    except Refused as refused:
        assert refused.reason in REASONS.keys() - NOT_REFUSALS - NOT_AT_DECODING
        return
    for index, message in enumerate(decode_items(items, context, Config())):
        assert message.index == index
        if isinstance(message, Outcome):
            assert message.outcome == "rejected"
            assert message.reason in REASONS.keys() - NOT_REFUSALS - NOT_AT_DECODING
        else:
            assert_can_be_stored(message)


def assert_can_be_stored(message: Message) -> None:
    """Columns are what SQLite takes, and JSON is written as it was read."""
    assert message.type in TYPES
    assert isinstance(message.key, bytes) or message.key.encode() is not None
    for value in message.values.values():
        assert value is None or isinstance(value, str | int)
        assert not isinstance(value, int) or -(2**63) <= value < 2**63
        assert not isinstance(value, str) or "\0" not in value
    for told in (message.extra, message.metadata):
        assert msgspec.json.decode(to_json(told)) == told


@settings(deadline=None, max_examples=200)
@given(raw=st.binary(max_size=60) | broken(), context=CONTEXTS, lines=st.booleans())
def test_any_bytes_are_taken_or_refused(raw: bytes, context: Context, lines: bool) -> None:
    assert_taken_or_refused(raw, context, lines=lines)


@settings(deadline=None, max_examples=200)
@given(value=ENVELOPES | BODIES | ANY_JSON, context=CONTEXTS, lines=st.booleans())
def test_any_json_is_taken_or_refused_and_what_is_taken_can_be_stored(
    value: Any, context: Context, lines: bool
) -> None:
    assert_taken_or_refused(json.dumps(value).encode(), context, lines=lines)


def test_our_own_mistake_in_one_item_refuses_that_item_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    real = _decode_item

    def mistaken(raw: bytes, context: Context, config: Config) -> Any:
        return 1 / 0 if b"unlucky" in raw else real(raw, context, config)

    rooms.replace("_decode_item", mistaken, monkeypatch)
    items = [json.dumps({"category": "sim", "uniqueid": name, "result": "live"}).encode() for name in ("unlucky", "b")]

    told: list[Any] = list(decode_items(items, Context(None, "r"), Config()))
    first, second = told

    assert (first.outcome, first.reason, first.detail) == (
        "rejected",
        "internal-error",
        "ZeroDivisionError: division by zero",
    )
    assert (second.index, second.key) == (1, "b")
