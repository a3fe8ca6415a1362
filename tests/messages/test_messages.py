"""Section 4: what bytes become, a message or a refusal with a named reason and the place of the mistake."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import rooms

from simscope_server.doors.spool_folder import context_of_file
from simscope_server.messages.decoding import _decode_item, decode_items, items_of, split_items
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

NOT_REFUSALS = {
    "live-disabled",
    "skip-disabled",
    "already-finished",
    "tanked",
    "older-run",
    "same-content",
    "first-finish-wins",
}
NOT_AT_DECODING = {"unreadable", "internal-error"}  # of the spool, and of applying

NOWHERE = Context()
IN_RUN = Context(None, "r/1")
MIB_OF_A = "a" * 1024 * 1024
DAYS_24 = 24 * 86_400_000

Decoded = Message | Outcome


def decode(raw: bytes | str, context: Context = NOWHERE, *, lines: bool = False, **options: Any) -> list[Decoded]:
    """A delivery, all the way. A text that cannot be cut into items gives one refusal, as it does in a receipt."""
    raw = raw if isinstance(raw, bytes) else raw.encode()
    try:
        items = items_of(raw, context, lines=lines)
    except Refused as refusal:
        return [Outcome(0, None, None, "rejected", refusal.reason, refusal.path, refusal.detail)]
    return list(decode_items(items, context, Config(**options)))


def one(raw: bytes | str, context: Context = NOWHERE, **options: Any) -> Message:
    [message] = decode(raw, context, **options)
    assert isinstance(message, Message), message
    return message


def refusal(raw: bytes | str, context: Context = NOWHERE, **options: Any) -> tuple[str | None, str | None]:
    [outcome] = decode(raw, context, **options)
    assert isinstance(outcome, Outcome), outcome
    assert outcome.outcome == "rejected"
    assert outcome.detail
    return outcome.reason, outcome.path


def envelope(kind: str = "job-live", body: Any = None, **keys: Any) -> str:
    return json.dumps({"type": kind, "regression": "r/1", "body": body} | keys)


def job(result: str = "live", **fields: Any) -> dict[str, Any]:
    return {"category": "sim", "uniqueid": "a", "result": result} | fields


def live(**fields: Any) -> str:
    return envelope("job-live", job(**fields))


def finish(result: str = "pass", **fields: Any) -> str:
    return envelope("job-finish", job(result, **fields))


def update(**fields: Any) -> str:
    return envelope("regr-update", fields)


def without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}


def nested(depth: int) -> list[Any]:
    """A list in a list in a list …, `depth` levels."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


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
def test_a_bad_message_is_refused_with_reason_and_path(raw, reason, path):
    assert refusal(raw) == (reason, path)


def test_every_refusal_of_decoding_has_a_case():
    cases = {reason for _, reason, _ in REFUSALS}

    assert cases == REASONS.keys() - NOT_REFUSALS - NOT_AT_DECODING


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" * 5000], ids=len)
def test_a_number_beyond_a_double_is_refused(number):
    raw = live(later="NUMBER").replace('"NUMBER"', number)

    reason, _ = refusal(raw)

    assert reason == "bad-number"


@pytest.mark.parametrize("number", [2**64, 10**30])
def test_an_integer_beyond_64_bits_is_refused_in_a_known_number_field_too(number):
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
def test_a_number_at_its_bound_is_accepted(field, value):
    assert one(finish(**{field: value})).values[field] == value


def test_the_largest_integer_is_kept_in_unknown_fields():
    assert one(live(later=[2**64 - 1, -(2**63)])).extra == {"later": [2**64 - 1, -(2**63)]}
    assert one(update(later={"x": 2**64 - 1})).extra == {"later": {"x": 2**64 - 1}}
    assert one(live(progress={"done": 1, "left": 2**64 - 1})).extra == {"progress": {"done": 1, "left": 2**64 - 1}}


def test_a_runtime_that_is_told_makes_the_difference_of_the_times_unimportant():
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
def test_a_wrong_type_is_told_with_its_place_and_what_is_expected(said, path, detail):
    [outcome] = decode(finish(**said))

    assert (outcome.path, outcome.detail) == (path, detail)


def test_what_a_refusal_says_does_not_hang_on_the_words_of_the_decoder(monkeypatch):
    def convert(*_):
        raise msgspec.ValidationError("other words - at `elsewhere`")

    monkeypatch.setattr(msgspec, "convert", convert)

    [outcome] = decode(finish(compute_ms="fast"))

    assert (outcome.reason, outcome.path) == ("wrong-type", "$.body.category")  # where nothing fits, the first field


def test_a_refusal_tells_type_and_regression_as_far_as_they_are_known():
    [outcome] = decode(live(host=5))

    assert (outcome.type, outcome.regression) == ("job-live", "r/1")


def test_a_message_of_just_the_accepted_size_is_taken():
    raw = live(later="")
    raw = live(later="a" * (1024 - len(raw)))

    assert len(raw) == 1024
    assert one(raw, message_kib=1).key == "a"
    assert one(f" {raw}\n", message_kib=1).key == "a"
    assert refusal(raw.replace("aaa", "aaaa", 1), message_kib=1) == ("too-large", None)


# Nesting.


@pytest.mark.parametrize("depth", [1, 2, 29, 30])
def test_nesting_of_32_levels_is_accepted(depth):
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
def test_nesting_of_33_levels_is_refused(raw, path):
    assert refusal(raw) == ("too-deep", path)


def test_nesting_of_32_levels_is_accepted_in_a_bare_body():
    message = one(json.dumps(job(later=nested(31))), IN_RUN)

    assert message.extra == {"later": nested(31)}


def test_nesting_of_33_levels_is_refused_in_a_bare_body():
    reason, _ = refusal(json.dumps(job(later=nested(32))), IN_RUN)

    assert reason == "too-deep"


# Envelopes and bare bodies.


@pytest.mark.parametrize("kind", TYPES)
def test_an_envelope_says_the_type_and_the_regression(kind):
    body = job("live" if "live" in kind else "pass") if "job" in kind else {}
    raw = envelope(kind, [body] if kind.startswith("batch") else body)

    message = one(raw)

    assert message.type == kind.removeprefix("batch-")
    assert message.regression == "r/1"


@pytest.mark.parametrize("keys", [{"regression": None}, {"type": None}, {"type": None, "regression": None}])
def test_null_in_an_envelope_leaves_open_what_its_place_says(keys):
    raw = json.dumps({"type": "regr-update", "regression": "r/1", "body": {"tag": "t"}} | keys)

    message = one(raw, Context("regr-update", "r/1"))

    assert (message.type, message.regression, message.values) == ("regr-update", "r/1", {"tag": "t"})


def test_a_job_message_without_body_tells_its_type():
    [outcome] = decode(json.dumps({"type": "job-live", "regression": "r/1"}))

    assert (outcome.type, outcome.regression) == ("job-live", "r/1")


def test_further_keys_of_an_envelope_are_ignored():
    assert one(envelope("job-live", job(), later={"x": 1}, version=2)).extra == {}


@pytest.mark.parametrize(("result", "kind"), [("live", "job-live"), ("pass", "job-finish"), ("skip", "job-finish")])
def test_where_nothing_else_says_the_type_the_result_does(result, kind):
    assert one(json.dumps(job(result)), IN_RUN).type == kind
    assert one(json.dumps({"regression": "r/1", "body": job(result)})).type == kind


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"category": "sim"}, ("missing-field", "$.result")),
        ({"uniqueid": "a"}, ("missing-field", "$.category")),
        ({"result": "live"}, ("missing-field", "$.category")),
    ],
)
def test_an_object_with_a_word_of_a_job_is_a_job(body, expected):
    assert refusal(json.dumps(body), IN_RUN) == expected


def test_an_envelope_without_body_is_a_regr_finish_like_any_other():
    message = one(json.dumps({"type": "regr-finish", "regression": "r/1"}))

    assert (message.type, message.warnings) == ("regr-finish", [])


@pytest.mark.parametrize("kind", ["regr-start", "regr-update"])
def test_other_regression_messages_without_body_are_taken_with_a_warning(kind):
    assert "missing body" in one(json.dumps({"type": kind, "regression": "r/1"})).warnings


def test_the_envelope_counts_more_than_the_file_name():
    message = one(envelope("job-finish", job("pass"), regression="other"), Context("job-live", "r/1"))

    assert (message.type, message.regression) == ("job-finish", "other")


def test_the_place_says_what_an_envelope_leaves_open():
    message = one(json.dumps({"body": {"component": "core"}}), Context("regr-start", "r/1"))

    assert (message.type, message.regression) == ("regr-start", "r/1")


def test_a_bare_body_at_the_top_level_names_its_regression():
    message = one(json.dumps(job() | {"regression": "r/9"}))

    assert message.regression == "r/9"
    assert message.extra == {}


def test_a_bare_body_that_contradicts_its_place_is_taken_with_a_warning():
    message = one(json.dumps(job() | {"regression": "r/9"}), IN_RUN)

    assert message.regression == "r/1"
    assert any("'r/9'" in warning for warning in message.warnings)


def test_an_address_that_says_the_type_takes_an_object_with_a_key_body_as_a_body():
    message = one(json.dumps(job(body="x")), Context("job-live", "r/1", bare=True))

    assert message.extra == {"body": "x"}


def test_a_key_type_that_is_no_message_type_is_a_field_of_a_bare_body():
    assert one(json.dumps(job(type="nightly")), IN_RUN).extra == {"type": "nightly"}


@pytest.mark.parametrize("length", [1, 512])
def test_a_regression_name_at_its_bounds_is_accepted(length):
    assert one(envelope("regr-finish", {}, regression="ü" * length)).regression == "ü" * length


# The file name.


@pytest.mark.parametrize(
    ("name", "kind", "regression"),
    [
        ("job.json", None, None),
        ("myrun/123/job-7.json", None, "myrun/123"),
        ("myrun/job-live.7.json", "job-live", "myrun"),
        ("job-live.json", "job-live", None),
        ("job-live-7.json", "job-live", None),
        ("job-live7.json", "job-live", None),
        ("job-lives.json", None, None),
        ("my-job-live.json", None, None),
        ("Job-Live.json", None, None),
        ("a/regr-start.json", "regr-start", "a"),
        ("a/regr-update.2.json", "regr-update", "a"),
        ("a/b/c/regr-finish.json", "regr-finish", "a/b/c"),
        ("a/job-finish.ndjson", "job-finish", "a"),
        ("a/batch-job-live.json", "job-live", "a"),
        ("a/batch-job-finish.1.json", "job-finish", "a"),
        ("regr-start/x.json", None, "regr-start"),
    ],
)
def test_folder_and_file_name_say_regression_and_type(name, kind, regression):
    assert context_of_file(name) == Context(kind, regression)


@pytest.mark.parametrize("raw", ["", "\n", " \r\n\t"])
@pytest.mark.parametrize("name", ["r/1/regr-finish.json", "r/1/regr-finish.7.ndjson"])
def test_an_empty_file_named_regr_finish_is_one(raw, name):
    message = one(raw, context_of_file(name), lines=name.endswith("ndjson"))

    assert (message.type, message.regression, message.warnings) == ("regr-finish", "r/1", [])


@pytest.mark.parametrize("name", ["r/1/regr-start.json", "r/1/job-live.json", "r/1/x.json"])
def test_no_other_file_may_be_empty(name):
    assert refusal("", context_of_file(name)) == ("bad-json", None)


def test_a_file_name_that_is_at_odds_with_the_result_is_refused():
    assert refusal(json.dumps(job("pass")), context_of_file("r/1/job-live.json")) == (
        "result-mismatch",
        "$.result",
    )


# Many at once.


def test_an_array_holds_envelopes_and_bare_bodies_each_for_itself():
    raw = f"[{finish()}, {json.dumps(job())}, 5, {json.dumps(job('skip'))}]"

    messages = decode(raw, IN_RUN)

    assert [message.type for message in messages] == ["job-finish", "job-live", None, "job-finish"]
    assert [message.index for message in messages] == [0, 1, 2, 3]
    assert (messages[2].reason, messages[2].path) == ("wrong-type", "$")


def test_an_array_in_a_file_named_after_a_batch_holds_its_jobs():
    raw = json.dumps([job("pass", uniqueid="a"), job("fail", uniqueid="b")])

    messages = decode(raw, context_of_file("r/1/batch-job-finish.json"))

    assert [(message.type, message.key) for message in messages] == [("job-finish", "a"), ("job-finish", "b")]


def test_an_envelope_without_a_type_around_an_array_holds_jobs_that_say_theirs():
    bodies = [job(uniqueid="a"), job("pass", uniqueid="b"), {"component": "core"}, 5]

    messages = decode(json.dumps({"regression": "r/1", "body": bodies}))

    assert [message.type for message in messages] == ["job-live", "job-finish", None, None]
    assert [(m.reason, m.path) for m in messages if isinstance(m, Outcome)] == [
        ("unknown-type", "$.body[2]"),
        ("unknown-type", "$.body[3]"),
    ]


@pytest.mark.parametrize("kind", ["batch-job-live", None])
def test_the_limit_of_a_message_holds_for_each_job_of_a_batch(kind):
    bodies = [job(uniqueid=str(number), host="h" * 500) for number in range(9)]
    bodies[4]["host"] = "h" * 1500
    raw = json.dumps({"regression": "r/1", "body": bodies} | ({"type": kind} if kind else {}))

    messages = decode(raw, message_kib=1)

    assert len(raw) > 4096
    assert [getattr(message, "reason", None) for message in messages] == [None] * 4 + ["too-large"] + [None] * 4


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"category": "\\ud800", "uniqueid": "]\\"", "result": "live"}', "bad-text"),
        (b'{"category": "\xff,", "uniqueid": "x", "result": "live"}', "bad-text"),
        (b"[" * 3000 + b"]" * 3000, "too-deep"),
        (b'{"a": ' * 3000 + b"1" + b"}" * 3000, "too-deep"),
    ],
)
def test_an_element_that_cannot_be_decoded_is_refused_alone(bad, reason):
    raw = b" [" + live(uniqueid="a").encode() + b", " + bad + b" ," + live(uniqueid="c").encode() + b"] "

    messages = decode(raw, IN_RUN)

    assert [getattr(message, "key", None) for message in messages] == ["a", None, "c"]
    assert messages[1].reason == reason


@pytest.mark.parametrize("end", [b"", b"}", b"]]", b"] x"])
def test_an_array_with_bad_text_whose_brackets_do_not_match_is_refused_as_a_whole(end):
    assert refusal(b"[" + live().encode() + b', "\xff"' + end) == ("bad-text", None)


def test_blanks_before_an_array_do_not_matter():
    messages = decode(" " * 100 + f"[{live()}, {live(uniqueid='b')}]")

    assert [(message.index, message.key) for message in messages] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize("raw", ["[]", " [ ] "])
def test_an_empty_array_holds_no_message(raw):
    assert decode(raw) == []


def test_an_array_that_is_cut_short_is_refused_as_a_whole():
    assert refusal(f"[{live()}, {live()}") == ("bad-json", None)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n \n"])
def test_each_line_of_ndjson_stands_for_itself(end):
    raw = live(uniqueid="a") + end + '{"type":' + end + json.dumps(job("pass", uniqueid="c")) + end

    messages = decode(raw, IN_RUN, lines=True)

    assert [message.index for message in messages] == [0, 1, 2]
    assert (messages[0].type, messages[0].key) == ("job-live", "a")
    assert (messages[1].outcome, messages[1].reason) == ("rejected", "bad-json")
    assert (messages[2].type, messages[2].key) == ("job-finish", "c")


def test_the_last_line_of_ndjson_needs_no_end():
    assert [message.key for message in decode(live() + "\n" + live(uniqueid="b"), lines=True)] == ["a", "b"]


def test_a_separator_that_is_no_end_of_line_does_not_cut_a_line_of_ndjson():
    body = json.dumps(job(host="a\u2028b\x85"), ensure_ascii=False)

    assert one(body + "\n", IN_RUN, lines=True).values["host"] == "a\u2028b\x85"


def test_bad_elements_of_a_batch_are_refused_alone_with_their_path():
    bodies = [job("pass"), job("pass", compute_ms="x"), 5, job("live"), job("fail", uniqueid="e")]

    messages = decode(envelope("batch-job-finish", bodies))

    assert [type(message) for message in messages] == [Message, Outcome, Outcome, Outcome, Message]
    assert [(m.index, m.reason, m.path) for m in messages if isinstance(m, Outcome)] == [
        (1, "wrong-type", "$.body[1].compute_ms"),
        (2, "wrong-type", "$.body[2]"),
        (3, "result-mismatch", "$.body[3].result"),
    ]
    assert {message.type for message in messages} == {"job-finish"}


@pytest.mark.parametrize("number", [2**64, "x" * 2000])
def test_a_batch_is_never_refused_for_one_bad_element(number):
    bodies = [job("pass", uniqueid="a"), job("pass", uniqueid="b", later=number, cycles=number), job("pass")]

    messages = decode(envelope("batch-job-finish", bodies))

    assert [type(message) for message in messages] == [Message, Outcome, Message]


@pytest.mark.parametrize("array", [False, True])
def test_an_element_with_a_zero_character_is_refused_alone(array):
    bodies = [job(), job(uniqueid="b", host="\0"), job(uniqueid="c")]
    raw = json.dumps(bodies) if array else envelope("batch-job-live", bodies)

    messages = decode(raw, IN_RUN, lines=True)

    assert [type(message) for message in messages] == [Message, Outcome, Message]
    assert messages[1].reason == "bad-text"


def test_the_path_of_an_element_that_is_too_deep_begins_at_the_message():
    bodies = [job(), job(uniqueid="b", host=5, later=nested(40))]

    _, outcome = decode(envelope("batch-job-live", bodies))

    assert (outcome.reason, outcome.path[:13]) == ("too-deep", "$.body[1].lat")


def test_numbers_go_on_over_the_items_of_a_delivery():
    raw = f"[{envelope('batch-job-live', [job(), job()])}, {live()}]"

    assert [message.index for message in decode(raw)] == [0, 1, 2]


def test_an_empty_batch_holds_no_message():
    assert decode(envelope("batch-job-live", [])) == []


# Text.


def test_a_byte_order_mark_is_skipped():
    assert one(b"\xef\xbb\xbf" + live().encode()).key == "a"


def test_a_byte_order_mark_is_skipped_in_ndjson_too():
    assert one(b"\xef\xbb\xbf" + live().encode() + b"\n", lines=True).key == "a"


def test_of_a_key_that_stands_twice_the_last_one_counts():
    raw = '{"type": "job-live", "regression": "x", "regression": "r/1", "body": {"category": "sim", "uniqueid": "a", '

    message = one(raw + '"host": 5, "result": "live", "host": "farm1"}}')

    assert (message.regression, message.values["host"]) == ("r/1", "farm1")


@pytest.mark.parametrize("text", ["\U0001f600", "\\u0000", "ÿ", "\u202e", "a\tb\n"])
def test_text_is_kept_as_it_is(text):
    for ascii_only in (True, False):
        raw = json.dumps({"type": "job-live", "regression": "r/1", "body": job(host=text)}, ensure_ascii=ascii_only)

        assert one(raw).values["host"] == text


# Times.

T0 = datetime(2025, 2, 1, 7, 0, 11, tzinfo=UTC)
T0_MS = round(T0.timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2025-02-01T07:00:11Z", T0_MS),
        ("2025-02-01T02:00:11-05:00", T0_MS),
        ("2025-02-01T12:30:11+05:30", T0_MS),
        ("2025-02-01T07:00:11+00:00", T0_MS),
        ("2025-02-01T07:00:11-00:00", T0_MS),
        ("2025-02-01t07:00:11z", T0_MS),
        ("2025-02-01T07:00:11.5Z", T0_MS + 500),
        ("2025-02-01T02:00:11.123-05:00", T0_MS + 123),
        ("2025-02-01T07:00:11.123456Z", T0_MS + 123),
        ("2025-02-01T07:00:11.123456789Z", T0_MS + 123),
        ("1969-12-31T23:59:59.999Z", -1),
        ("1969-12-31T23:59:60Z", -1),  # a leap second
        ("1969-12-31t18:59:60.25-05:00", -1),
        ("9999-12-31T23:59:60z", 253_402_300_799_999),
        ("9999-12-31T18:59:59-05:00", 253_402_300_799_000),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+05:00", None),
        ("0001-12-31T23:59:59.999-12:00", None),
    ],
)
def test_a_time_becomes_milliseconds_and_the_year_1_nothing(text, ms):
    message = one(finish(start_time=text))

    assert message.values.get("start_at") == ms


def test_times_of_a_regression_are_read_in_the_same_way():
    assert one(update(starttime="2025-02-01T02:00:11-05:00")).values["starttime_at"] == T0_MS
    assert one(update(starttime="1969-12-31T23:59:60Z")).values["starttime_at"] == -1


def test_a_leap_second_is_told_as_the_time_that_it_is_taken_for():
    said = {"starttime": "2016-12-31T23:59:60Z", "model_timestamp": "2016-12-31T23:59:60.5+00:00", "tag": "1:60Z"}
    taken = {"starttime": "2016-12-31T23:59:59.999Z", "model_timestamp": "2016-12-31T23:59:59.999+00:00"}

    assert one(update(**said)).extra == said | taken


def test_the_year_1_in_any_time_is_as_good_as_nothing():
    times = dict.fromkeys(("starttime", "model_timestamp"), "0001-01-01T00:00:00Z")

    message = one(update(tag="t", **times))

    assert (message.values, message.extra) == ({"tag": "t"}, {"tag": "t"})
    assert "finish_at" not in one(finish(finish_time="0001-01-01T00:00:00Z")).values


# Identity.

FIVE = {
    "start_time": "2025-02-01T02:00:11.123-05:00",
    "category": "sim",
    "jobdir": "/runs/1",
    "seed": "7",
    "config": "c +rand",
}


def key_of(**changes: Any) -> str | bytes:
    fields = {name: value for name, value in (FIVE | changes).items() if value is not None}
    return one(envelope("job-live", {"result": "live"} | fields)).key


def test_a_uniqueid_is_the_identity_whatever_else_is_said():
    assert one(live(uniqueid="7")).key == "7"
    assert one(live(uniqueid="7", **without(FIVE, "category"))).key == "7"


def test_without_a_uniqueid_five_fields_are_the_identity():
    assert isinstance(key_of(), bytes)
    assert key_of() == key_of(host="farm1", build="b", uniqueid="")


@pytest.mark.parametrize(
    "text", ["2025-02-01T07:00:11.123Z", "2025-02-01T12:30:11.123000+05:30", "2025-02-01T07:00:11.123000Z"]
)
def test_the_same_instant_in_another_zone_is_the_same_identity(text):
    assert key_of(start_time=text) == key_of()


@pytest.mark.parametrize(
    "change",
    [
        {"start_time": "2025-02-01T07:00:11.124Z"},
        {"start_time": "2025-02-01T07:00:11.123001Z"},
        {"category": "formal"},
        {"jobdir": "/runs/2"},
        {"jobdir": None},
        {"seed": "8"},
        {"seed": None},
        {"config": "c"},
        {"config": None},
        {"jobdir": "7", "seed": "/runs/1"},
    ],
)
def test_each_of_the_five_fields_makes_another_identity(change):
    assert key_of(**change) != key_of()


@pytest.mark.parametrize("field", ["jobdir", "seed", "config"])
def test_an_empty_field_makes_the_same_identity_as_none(field):
    assert key_of(**{field: ""}) == key_of(**{field: None})


def test_the_text_of_a_uniqueid_never_equals_a_digest():
    digest = key_of()

    assert one(live(uniqueid=digest.hex())).key != digest
    assert one(live(uniqueid=digest.decode("latin-1"))).key != digest


@pytest.mark.parametrize(("seed", "text"), [(7, "7"), ("7", "7"), (0, "0"), (-1, "-1"), (2**64 - 1, str(2**64 - 1))])
def test_a_seed_may_be_a_number_and_is_kept_as_text(seed, text):
    assert one(live(seed=seed)).values["seed"] == text
    assert key_of(seed=seed) == key_of(seed=text)


# Fields.


def test_unknown_fields_of_a_job_are_kept():
    unknown = {"coverage": 98.5, "tool": {"name": "x", "flags": [1, None, True]}}

    assert one(live(**unknown)).extra == unknown


def test_known_fields_without_a_column_are_kept_too():
    said = {
        "extid": "LSF-7",
        "username": "ann",
        "sourcecode": "tb.sv:12",
        "results": "ok",
        "env": {"A": "1"},
        "progress": {"done": 1, "total": 2.5, "unit": "k", "rate": 0.5, "note": "n"},
        "files": [{"kind": "log", "name": "x", "path": "/x", "size": 7, "sha256": "0"}],
    }

    assert one(live(**said)).extra == said


@pytest.mark.parametrize("said", [{"progress": {"done": 1, "left": 2}}, {"files": [{"kind": "log", "lines": 9}]}])
def test_unknown_keys_inside_known_fields_are_kept(said):
    assert one(live(**said)).extra == said


def test_all_fields_of_a_regression_are_kept_as_published():
    said = {"component": "core", "queue": "q", "later": [1], "starttime": "2025-02-01T02:00:11-05:00", "submitted": 5}

    message = one(update(**said))

    assert message.extra == said
    assert message.values == {"component": "core", "submitted": 5, "starttime_at": T0_MS}


def test_metadata_is_told_by_name():
    assert one(live(metadata=[["a", "1"], ["b", ""]])).metadata == {"a": "1", "b": ""}
    assert one(update(custom_metadata=[["a", "1"]])).metadata == {"a": "1"}


@pytest.mark.parametrize(("pending", "said"), [(True, True), (False, False), (None, None)])
def test_pending_is_told(pending, said):
    body = {} if pending is None else {"pending": pending}

    assert one(envelope("regr-update", body)).pending is said


@pytest.mark.parametrize(("hours", "ms"), [(1, 3_600_000), (0.5, 1_800_000), (0, None), (876_000, 3_153_600_000_000)])
def test_a_time_limit_is_told_in_hours_and_0_takes_it_away(hours, ms):
    assert one(update(time_limit_hours=hours)).values["time_limit_ms"] == ms


def test_a_reason_of_a_live_job_is_no_verdict():
    assert "reason" not in one(live(reason="waiting")).values
    assert one(finish("fail", reason="killed")).values["reason"] == "killed"


# Warnings.

COMPLETE = {"start_time": "2025-02-01T07:00:11Z", "compute_ms": 5, "config": "c"}


@pytest.mark.parametrize(
    ("raw", "warnings"),
    [
        (live(), []),
        (finish("pass", **COMPLETE), []),
        (finish("pass"), ["missing start_time", "missing compute_ms", "missing config"]),
        (finish("pass", **without(COMPLETE, "compute_ms")), ["missing compute_ms"]),
        (finish("fail", **COMPLETE), ["missing fail_message"]),
        (finish("fail", fail_message="", **COMPLETE), ["missing fail_message"]),
        (finish("fail", fail_message="x", **COMPLETE), []),
        (finish("fail", bucket="x", **COMPLETE), []),
        (finish("pass", **COMPLETE | {"start_time": "0001-01-01T00:00:00Z"}), ["missing start_time"]),
        (finish("skip"), []),
        (finish("pass", cycles=2**48, **COMPLETE), []),
        (finish("pass", cycles=2**48 + 1, **COMPLETE), [f"cycles {2**48 + 1} count as {2**48} in sums"]),
        (finish("pass", cycles=-1, **COMPLETE), ["cycles -1 count as 0 in sums"]),
        (
            live(cycles=-1, exit_code=2, runtime_ms=5, compute_ms=5, finish_time=COMPLETE["start_time"], bucket="x"),
            [
                f"{field} is not taken from a live message"
                for field in ("bucket", "compute_ms", "cycles", "exit_code", "finish_time", "runtime_ms")
            ],
        ),
        (live(cycles=0, exit_code=0, runtime_ms=0, compute_ms=0, finish_time="0001-01-01T00:00:00Z", bucket=""), []),
        (live(start_time="2025-01-02T00:00:00Z", finish_time="0001-01-01T00:00:00Z"), []),
        (envelope("regr-start", {}), ["missing component", "missing project", "missing starttime"]),
        (envelope("regr-start", {"component": "c", "project": "p", "starttime": COMPLETE["start_time"]}), []),
        (
            envelope("regr-start", {"component": "c", "project": "p", "starttime": "0001-01-01T00:00:00Z"}),
            ["missing starttime"],
        ),
        (envelope("regr-update", {}), []),
        (envelope("regr-finish", {}), []),
        (envelope("regr-update", {"name": "r/1"}), []),
    ],
)
def test_what_the_original_requires_is_accepted_missing_with_a_warning(raw, warnings):
    assert one(raw).warnings == warnings


def test_a_name_in_the_body_that_is_not_the_envelopes_is_a_warning():
    message = one(update(name="r/2"))

    assert message.regression == "r/1"
    assert len(message.warnings) == 1
    assert "'r/2'" in message.warnings[0]


# Anything.

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
def test_any_bytes_are_taken_or_refused(raw, context, lines):
    assert_taken_or_refused(raw, context, lines=lines)


@settings(deadline=None, max_examples=200)
@given(value=ENVELOPES | BODIES | ANY_JSON, context=CONTEXTS, lines=st.booleans())
def test_any_json_is_taken_or_refused_and_what_is_taken_can_be_stored(value, context, lines):
    assert_taken_or_refused(json.dumps(value).encode(), context, lines=lines)


def test_our_own_mistake_in_one_item_refuses_that_item_and_no_other(monkeypatch):
    real = _decode_item

    def mistaken(raw, context, config):
        return 1 / 0 if b"unlucky" in raw else real(raw, context, config)

    rooms.replace("_decode_item", mistaken, monkeypatch)
    items = [json.dumps({"category": "sim", "uniqueid": name, "result": "live"}).encode() for name in ("unlucky", "b")]

    first, second = decode_items(items, Context(None, "r"), Config())

    assert (first.outcome, first.reason, first.detail) == (
        "rejected",
        "internal-error",
        "ZeroDivisionError: division by zero",
    )
    assert (second.index, second.key) == (1, "b")
