"""What is refused, with which reason and which place of the mistake; and what lies just inside the bounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from support.decodings import (
    DAYS_24,
    IN_RUN,
    MIB_OF_A,
    NOT_AT_DECODING,
    NOT_REFUSALS,
    decode,
    envelope,
    finish,
    job,
    live,
    nested,
    one,
    refusal,
    update,
    without,
)

from simscope_server.messages.protocol import REASONS, TYPES, to_json

# Refusals. (what is sent, reason, path)

REFUSALS: list[tuple[str | bytes, str, str | None]] = [
    # text that is no JSON
    ("", "bad-json", None),
    ("  \n ", "bad-json", None),
    ("{", "bad-json", None),
    (live()[:-1], "bad-json", None),
    (live() + "x", "bad-json", None),
    (live() + live(), "bad-json", None),
    ("[" + live(), "bad-json", None),
    ("[" + live() + ",]", "bad-json", None),
    ("{'type': 'regr-finish'}", "bad-json", None),
    ('{"x": NaN}', "bad-json", None),
    ('{"x": Infinity}', "bad-json", None),
    ('{"x": -Infinity}', "bad-json", None),
    ('{"x": 01}', "bad-json", None),
    ('{"x": "a\nb"}', "bad-json", None),
    ('{"x": "a\0b"}', "bad-json", None),
    # text that is no text
    (b'{"x": "\xff"}', "bad-text", None),
    (b'{"x": "\xed\xa0\x80"}', "bad-text", None),
    ('{"x": "\\ud800"}', "bad-text", None),
    ('{"x": "\\udc00\\ud800"}', "bad-text", None),
    (live(host="a\0b"), "bad-text", "$.body.host"),
    (live(later={"deep": ["x", "\0"]}), "bad-text", "$.body.later.deep[1]"),
    (live(later={"a\0": 1}), "bad-text", "$.body.later"),
    (live(metadata=[["n", "\0"]]), "bad-text", "$.body.metadata[0][1]"),
    (update(tag="\0"), "bad-text", "$.body.tag"),
    # numbers that are none
    (live(cycles=2**63), "bad-number", "$.body.cycles"),
    (live(cycles=-(2**63) - 1), "bad-number", "$.body.cycles"),
    (live(seed=2**64), "bad-number", "$.body.seed"),
    (live(seed=-(2**63) - 1), "bad-number", "$.body.seed"),
    (live(later=2**64), "bad-number", "$.body.later"),
    (live(later=[1, {"x": 10**40}]), "bad-number", "$.body.later[1].x"),
    (update(submitted=2**63), "bad-number", "$.body.submitted"),
    (update(later=-(2**63) - 1), "bad-number", "$.body.later"),
    # a whole that is too much
    (live(later=MIB_OF_A), "too-large", None),
    ("[" * 100_000 + "]" * 100_000, "too-deep", None),
    # the regression
    (envelope("regr-finish", {}, regression=None), "no-regression", "$.regression"),
    (json.dumps({"type": "regr-finish"}), "no-regression", "$.regression"),
    (json.dumps(job()), "no-regression", "$.regression"),
    (envelope("regr-finish", {}, regression=""), "bad-regression", "$.regression"),
    (envelope("regr-finish", {}, regression="x" * 513), "bad-regression", "$.regression"),
    (envelope("regr-finish", {}, regression="a\nb"), "bad-regression", "$.regression"),
    (envelope("regr-finish", {}, regression="a\x7fb"), "bad-regression", "$.regression"),
    (envelope("regr-finish", {}, regression="a\x9fb"), "bad-regression", "$.regression"),
    (envelope("regr-finish", {}, regression=7), "bad-regression", "$.regression"),
    (envelope("regr-finish", {}, regression=["r"]), "bad-regression", "$.regression"),
    # the type
    (envelope("job-lives", job()), "unknown-type", "$.type"),
    (envelope("Job-Live", job()), "unknown-type", "$.type"),
    (json.dumps({"type": 7, "regression": "r/1", "body": job()}), "unknown-type", "$.type"),
    (json.dumps({"type": ["job-live"], "regression": "r/1", "body": job()}), "unknown-type", "$.type"),
    (json.dumps({"regression": "r/1", "body": []}), "unknown-type", "$.type"),
    (json.dumps({"regression": "r/1", "body": {"component": "core"}}), "unknown-type", "$"),
    (json.dumps({"regression": "r/1", "component": "core"}), "unknown-type", "$"),
    ("{}", "unknown-type", "$"),
    # what a job must say
    (envelope("job-live", None), "missing-field", "$.body"),
    (json.dumps({"type": "job-finish", "regression": "r/1"}), "missing-field", "$.body"),
    (envelope("batch-job-finish", None), "missing-field", "$.body"),
    (envelope("job-live", without(job(), "category")), "missing-field", "$.body.category"),
    (live(category=""), "missing-field", "$.body.category"),
    (envelope("job-live", without(job(), "result")), "missing-field", "$.body.result"),
    (live(result=""), "missing-field", "$.body.result"),
    (envelope("job-live", without(job(), "uniqueid")), "missing-field", "$.body.uniqueid"),
    (live(uniqueid=""), "missing-field", "$.body.uniqueid"),
    (live(uniqueid="", start_time="0001-01-01T00:00:00Z"), "missing-field", "$.body.uniqueid"),
    (live(result="Live"), "bad-result", "$.body.result"),
    (finish("passed"), "bad-result", "$.body.result"),
    (finish("live"), "result-mismatch", "$.body.result"),
    (envelope("job-live", job("pass")), "result-mismatch", "$.body.result"),
    # types of fields
    (live(host=5), "wrong-type", "$.body.host"),
    (live(host=None), "wrong-type", "$.body.host"),
    (live(uniqueid=5), "wrong-type", "$.body.uniqueid"),
    (live(result=True), "wrong-type", "$.body.result"),
    (live(cycles="12"), "wrong-type", "$.body.cycles"),
    (live(cycles=1.5), "wrong-type", "$.body.cycles"),
    (live(cycles=True), "wrong-type", "$.body.cycles"),
    (live(seed=1.5), "wrong-type", "$.body.seed"),
    (live(start_time=5), "wrong-type", "$.body.start_time"),
    (finish(compute_ms="fast"), "wrong-type", "$.body.compute_ms"),
    (live(metadata={"a": "b"}), "wrong-type", "$.body.metadata"),
    (live(metadata=[["a"]]), "wrong-type", "$.body.metadata[0]"),
    (live(metadata=[["a", "b"], ["c", 1]]), "wrong-type", "$.body.metadata[1][1]"),
    (live(progress=5), "wrong-type", "$.body.progress"),
    (live(progress={"done": "half"}), "wrong-type", "$.body.progress.done"),
    (live(env=["A=1"]), "wrong-type", "$.body.env"),
    (live(env={"A": "1", "B": 1, "C": None}), "wrong-type", "$.body.env.B"),
    (live(files=[{"kind": "log", "size": "big"}]), "wrong-type", "$.body.files[0].size"),
    (update(pending="yes"), "wrong-type", "$.body.pending"),
    (update(submitted="12"), "wrong-type", "$.body.submitted"),
    (update(custom_metadata=[["a", None]]), "wrong-type", "$.body.custom_metadata[0][1]"),
    (envelope("regr-start", []), "wrong-type", "$.body"),
    (envelope("job-live", "x"), "wrong-type", "$.body"),
    (envelope("job-live", [job()]), "wrong-type", "$.body"),
    (envelope("batch-job-live", job()), "wrong-type", "$.body"),
    ("5", "wrong-type", "$"),
    ("null", "wrong-type", "$"),
    ('"job-live"', "wrong-type", "$"),
    # times
    (live(start_time="2025-02-01T02:00:11"), "bad-time", "$.body.start_time"),
    (live(start_time="9999-12-31T23:59:59-01:00"), "bad-time", "$.body.start_time"),
    (finish(finish_time="9999-12-31T23:59:59-01:00"), "bad-time", "$.body.finish_time"),
    (update(starttime="9999-12-31T23:59:59-01:00"), "bad-time", "$.body.starttime"),
    (update(model_timestamp="9999-12-31T23:59:59-01:00"), "bad-time", "$.body.model_timestamp"),
    (live(start_time="2025-02-01"), "bad-time", "$.body.start_time"),
    (live(start_time="2016-12-31T23:59:61Z"), "bad-time", "$.body.start_time"),
    (live(start_time="2016-12-31T23:60:00Z"), "bad-time", "$.body.start_time"),
    (live(start_time="2016-12-31T23:60Z"), "bad-time", "$.body.start_time"),
    (live(start_time="2016-12-31T23:59:60"), "bad-time", "$.body.start_time"),
    (live(start_time="2016-12-31T23:59:00+05:60"), "bad-time", "$.body.start_time"),
    (live(start_time="2016-12-31T23:59:60Z", finish_time="x"), "bad-time", "$.body.finish_time"),
    (live(start_time="2025-13-01T00:00:00Z"), "bad-time", "$.body.start_time"),
    (live(start_time="2025-02-30T00:00:00Z"), "bad-time", "$.body.start_time"),
    (live(start_time="2025-02-01T25:00:00Z"), "bad-time", "$.body.start_time"),
    (live(start_time=""), "bad-time", "$.body.start_time"),
    (live(start_time="1738375211"), "bad-time", "$.body.start_time"),
    (finish(finish_time="yesterday"), "bad-time", "$.body.finish_time"),
    (update(starttime="now"), "bad-time", "$.body.starttime"),
    # durations
    (finish(compute_ms=-1), "bad-duration", "$.body.compute_ms"),
    (finish(compute_ms=DAYS_24 + 1), "bad-duration", "$.body.compute_ms"),
    (finish(runtime_ms=-1), "bad-duration", "$.body.runtime_ms"),
    (finish(runtime_ms=2**31), "bad-duration", "$.body.runtime_ms"),
    (live(time_limit_ms=-1), "bad-duration", "$.body.time_limit_ms"),
    (live(time_limit_ms=DAYS_24 + 1), "bad-duration", "$.body.time_limit_ms"),
    (
        finish(start_time="2025-01-02T00:00:00Z", finish_time="2025-01-01T00:00:00Z"),
        "bad-duration",
        "$.body.finish_time",
    ),
    (
        finish(start_time="2025-01-01T00:00:00Z", finish_time="2025-01-25T00:00:00.001Z"),
        "bad-duration",
        "$.body.finish_time",
    ),
    (update(time_limit_hours=-1), "bad-duration", "$.body.time_limit_hours"),
    (update(time_limit_hours=1e9), "bad-duration", "$.body.time_limit_hours"),
]


@pytest.mark.parametrize(("raw", "reason", "path"), REFUSALS, ids=lambda value: str(value)[:60])
def test_a_bad_message_is_refused_with_reason_and_path(raw: bytes | str, reason: str, path: str | None) -> None:
    assert refusal(raw) == (reason, path)


def test_every_refusal_of_decoding_has_a_case() -> None:
    cases = {reason for _, reason, _ in REFUSALS}

    assert cases == REASONS.keys() - NOT_REFUSALS - NOT_AT_DECODING


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" * 5000], ids=len)
def test_a_number_beyond_a_double_is_refused(number: str) -> None:
    raw = live(later="NUMBER").replace('"NUMBER"', number)

    reason, _ = refusal(raw)

    assert reason == "bad-number"


@pytest.mark.parametrize("number", [2**64, 10**30])
def test_an_integer_beyond_64_bits_is_refused_in_a_known_number_field_too(number: int) -> None:
    assert refusal(live(progress={"done": number})) == ("bad-number", "$.body.progress.done")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cycles", 2**63 - 1),
        ("cycles", -(2**63)),
        ("compute_ms", 0),
        ("compute_ms", DAYS_24),
        ("runtime_ms", DAYS_24),
        ("time_limit_ms", DAYS_24),
        ("exit_code", -11),
    ],
)
def test_a_number_at_its_bound_is_accepted(field: str, value: int) -> None:
    said: dict[str, Any] = {field: value}

    assert one(finish(**said)).values[field] == value


def test_the_largest_integer_is_kept_in_unknown_fields() -> None:
    assert one(live(later=[2**64 - 1, -(2**63)])).extra == {"later": [2**64 - 1, -(2**63)]}
    assert one(update(later={"x": 2**64 - 1})).extra == {"later": {"x": 2**64 - 1}}
    assert one(live(progress={"done": 1, "left": 2**64 - 1})).extra == {"progress": {"done": 1, "left": 2**64 - 1}}


def test_a_runtime_that_is_told_makes_the_difference_of_the_times_unimportant() -> None:
    raw = finish(start_time="2025-01-02T00:00:00Z", finish_time="2025-01-01T00:00:00Z", runtime_ms=5)

    assert one(raw).values["runtime_ms"] == 5


@pytest.mark.parametrize(
    ("said", "path", "detail"),
    [
        ({"compute_ms": "fast"}, "$.body.compute_ms", "must be a whole number, not a text"),
        ({"compute_ms": 1.5}, "$.body.compute_ms", "must be a whole number, not a number"),
        ({"seed": []}, "$.body.seed", "must be a text or a whole number, not an array"),
        ({"start_time": 5}, "$.body.start_time", "must be a time as text, not a number"),
        ({"start_time": "now"}, "$.body.start_time", "'now' is not a time in RFC 3339 with a zone"),
        ({"metadata": [["a", "b"], ["c"]]}, "$.body.metadata[1]", "must be an array of 2 texts, not an array"),
        ({"metadata": [["a", 1]]}, "$.body.metadata[0][1]", "must be a text, not a number"),
        ({"metadata": {"a": "b"}}, "$.body.metadata", "must be an array, not an object"),
        ({"env": {"A": "x", "B": None}}, "$.body.env.B", "must be a text, not null"),
        ({"env": []}, "$.body.env", "must be an object, not an array"),
        ({"progress": {"done": "half"}}, "$.body.progress.done", "must be a number, not a text"),
        ({"files": [{}, {"size": True}]}, "$.body.files[1].size", "must be a whole number, not true or false"),
        ({"log": {"offset": -1}}, "$.body.log.offset", "an integer out of range"),
    ],
    ids=str,
)
def test_a_wrong_type_is_told_with_its_place_and_what_is_expected(said: dict[str, Any], path: str, detail: str) -> None:
    [outcome] = decode(finish(**said))

    assert (outcome.path, outcome.detail) == (path, detail)


def test_what_a_refusal_says_does_not_hang_on_the_words_of_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(*_: Any) -> None:
        raise msgspec.ValidationError("other words - at `elsewhere`")

    monkeypatch.setattr(msgspec, "convert", convert)

    [outcome] = decode(finish(compute_ms="fast"))

    assert (outcome.reason, outcome.path) == ("wrong-type", "$.body.category")  # where nothing fits, the first field


def test_a_refusal_tells_type_and_regression_as_far_as_they_are_known() -> None:
    [outcome] = decode(live(host=5))

    assert (outcome.type, outcome.regression) == ("job-live", "r/1")


def test_a_message_of_just_the_accepted_size_is_taken() -> None:
    raw = live(later="")
    raw = live(later="a" * (1024 - len(raw)))

    assert len(raw) == 1024
    assert one(raw, message_kib=1).key == "a"
    assert one(f" {raw}\n", message_kib=1).key == "a"
    assert refusal(raw.replace("aaa", "aaaa", 1), message_kib=1) == ("too-large", None)


# Nesting.


@pytest.mark.parametrize("depth", [1, 2, 29, 30])
def test_nesting_of_32_levels_is_accepted(depth: int) -> None:
    message = one(live(later=nested(depth)))  # the envelope and the body are two

    assert message.extra == {"later": nested(depth)}


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (live(later=nested(31)), "$.body.later" + "[0]" * 30),
        (update(later=nested(31)), "$.body.later" + "[0]" * 30),
        (live(later=nested(500)), "$.body.later" + "[0]" * 30),
    ],
)
def test_nesting_of_33_levels_is_refused(raw: str, path: str) -> None:
    assert refusal(raw) == ("too-deep", path)


def test_nesting_of_32_levels_is_accepted_in_a_bare_body() -> None:
    message = one(json.dumps(job(later=nested(31))), IN_RUN)

    assert message.extra == {"later": nested(31)}


def test_nesting_of_33_levels_is_refused_in_a_bare_body() -> None:
    reason, _ = refusal(json.dumps(job(later=nested(32))), IN_RUN)

    assert reason == "too-deep"


# Bounds, from both sides.

DAY_24 = "2025-01-25T00:00:00"


@pytest.mark.parametrize(
    ("inside", "outside", "reason", "path"),
    [
        (
            finish(start_time="2025-01-01T00:00:00Z", finish_time=f"{DAY_24}Z"),
            finish(start_time="2025-01-01T00:00:00Z", finish_time=f"{DAY_24}.001Z"),
            "bad-duration",
            "$.body.finish_time",
        ),
        (
            finish(start_time="2025-01-01T00:00:00Z", finish_time="2025-01-01T00:00:00Z"),
            finish(start_time="2025-01-01T00:00:00.001Z", finish_time="2025-01-01T00:00:00Z"),
            "bad-duration",
            "$.body.finish_time",
        ),
        (finish(compute_ms=0), finish(compute_ms=-1), "bad-duration", "$.body.compute_ms"),
        (update(time_limit_hours=0), update(time_limit_hours=-0.001), "bad-duration", "$.body.time_limit_hours"),
        (
            update(time_limit_hours=876_000),
            update(time_limit_hours=876_000.001),
            "bad-duration",
            "$.body.time_limit_hours",
        ),
        (live(log={"offset": 0}), live(log={"offset": -1}), "bad-number", "$.body.log.offset"),
        (live(log={"offset": 2**53}), live(log={"offset": 2**53 + 1}), "bad-number", "$.body.log.offset"),
        (live(seed=-(2**63)), live(seed=-(2**63) - 1), "bad-number", "$.body.seed"),
        (live(seed=2**64 - 1), live(seed=2**64), "bad-number", "$.body.seed"),
        (update(submitted=2**63 - 1), update(submitted=2**63), "bad-number", "$.body.submitted"),
        (update(running=-(2**63)), update(running=-(2**63) - 1), "bad-number", "$.body.running"),
        (
            live(files=[{"size": 2**63 - 1}]),
            live(files=[{"size": 2**63}]),
            "bad-number",
            "$.body.files[0].size",
        ),
        (
            live(start_time="9999-12-31T23:59:59.999999Z"),
            live(start_time="9999-12-31T23:59:59.999999-00:01"),
            "bad-time",
            "$.body.start_time",
        ),
        (
            envelope("regr-finish", {}, regression="a b~\xa0"),
            envelope("regr-finish", {}, regression="a\x1fb"),
            "bad-regression",
            "$.regression",
        ),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_a_value_at_its_bound_is_taken_and_the_next_one_refused(
    inside: str, outside: str, reason: str, path: str
) -> None:
    assert one(inside).regression
    assert refusal(outside) == (reason, path)


@pytest.mark.parametrize("sort", [live, finish, update])
def test_a_message_of_any_sort_may_be_as_large_as_said_and_no_larger(sort: Callable[..., str]) -> None:
    empty = len(sort(later=""))

    assert one(sort(later="a" * (1024 - empty)), message_kib=1).extra["later"]
    assert refusal(sort(later="a" * (1025 - empty)), message_kib=1) == ("too-large", None)


def test_a_job_of_a_large_batch_may_be_as_large_as_a_message_and_no_larger() -> None:
    empty = len(to_json(job(later="")))
    bodies = [job(later="a" * (size - empty)) for size in (1024, 1025)]

    taken, refused = decode(envelope("batch-job-live", bodies), message_kib=1)

    assert (taken.key, refused.reason) == ("a", "too-large")
    assert refused.detail == "1025 bytes; [limits] message_kib = 1 allows fewer"


@pytest.mark.parametrize(
    ("place", "depth"),
    [
        (lambda value: envelope("batch-job-live", [job(later=value)]), 29),
        (lambda value: update(later=value), 30),
        (lambda value: envelope("regr-start", {"custom_metadata": [], "later": {"x": value}}), 29),
        (lambda value: live(progress={"x": value}), 29),
        (lambda value: live(files=[{"x": value}]), 28),
    ],
    ids=["batch", "regression", "object", "progress", "files"],
)
def test_nesting_is_counted_alike_wherever_it_is(place: Callable[[Any], str], depth: int) -> None:
    assert one(place(nested(depth))).regression == "r/1"
    assert refusal(place(nested(depth + 1)))[0] == "too-deep"


def test_what_a_refusal_quotes_of_a_time_is_cut() -> None:
    [long] = decode(live(start_time="x" * 101))

    assert long.detail == f"{'x' * 100!r} is not a time in RFC 3339 with a zone"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (5, "a number"),
        (1.5, "a number"),
        ("x", "a text"),
        (True, "true or false"),
        ([], "an array"),
    ],
)
def test_a_body_that_is_no_object_is_named(said: Any, words: str) -> None:
    [outcome] = decode(envelope("job-live", said))

    assert outcome.detail == f"must be an object, not {words}"


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (live(result="x"), "result 'x' is not one of live, pass, fail, skip"),
        (finish("live"), "result 'live' does not go with job-finish"),
        (finish(compute_ms=-1), "-1 ms is below 0 or above 24 days"),
        (update(time_limit_hours=-1), "-1.0 hours is below 0 or above a century"),
        (envelope("batch-job-live", {}), "batch-job-live takes an array of job objects"),
        (envelope("job-lives", {}), f"type 'job-lives' is not one of {', '.join(TYPES)}"),
        ("{}", f"nothing says the message type; it is one of {', '.join(TYPES)}"),
        (envelope("job-live", None), "a message about jobs needs a body"),
        ("5", "a message is an object, not a number"),
        (live(uniqueid=""), "a job needs a uniqueid, or else a start_time"),
        (live(category=""), "a job needs a category"),
        (live(later=2**64), "an integer beyond 64 bits"),
        (live(host="\0"), "U+0000 in a text"),
        (live(later=nested(99)), "nested deeper than 32 levels"),
        (envelope("regr-finish", {}, regression=5), "a regression name is text, not a number"),
        (envelope("regr-finish", {}, regression=None), "nothing says which regression this is about"),
        (
            envelope("regr-finish", {}, regression="x" * 513),
            "a regression name is 1 to 512 characters without control characters; this has 513",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_refusal_is_told_in_a_sentence(raw: str, detail: str) -> None:
    [outcome] = decode(raw)

    assert outcome.detail == detail
