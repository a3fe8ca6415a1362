"""How a delivery is cut into messages and each is told apart: envelopes, bare bodies, file names, arrays, NDJSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.decodings import IN_RUN, decode, envelope, finish, job, live, nested, one, refusal

from simscope_server.doors.spool_folder import context_of_file
from simscope_server.messages.decoding import split_items
from simscope_server.messages.protocol import TYPES, Context, Message, Outcome, Refused

# Envelopes and bare bodies.


@pytest.mark.parametrize("kind", TYPES)
def test_an_envelope_says_the_type_and_the_regression(kind: str) -> None:
    body = job("live" if "live" in kind else "pass") if "job" in kind else {}
    raw = envelope(kind, [body] if kind.startswith("batch") else body)

    message = one(raw)

    assert message.type == kind.removeprefix("batch-")
    assert message.regression == "r/1"


@pytest.mark.parametrize("keys", [{"regression": None}, {"type": None}, {"type": None, "regression": None}])
def test_null_in_an_envelope_leaves_open_what_its_place_says(keys: dict[str, Any]) -> None:
    raw = json.dumps({"type": "regr-update", "regression": "r/1", "body": {"tag": "t"}} | keys)

    message = one(raw, Context("regr-update", "r/1"))

    assert (message.type, message.regression, message.values) == ("regr-update", "r/1", {"tag": "t"})


def test_a_job_message_without_body_tells_its_type() -> None:
    [outcome] = decode(json.dumps({"type": "job-live", "regression": "r/1"}))

    assert (outcome.type, outcome.regression) == ("job-live", "r/1")


def test_further_keys_of_an_envelope_are_ignored() -> None:
    assert one(envelope("job-live", job(), later={"x": 1}, version=2)).extra == {}


@pytest.mark.parametrize(("result", "kind"), [("live", "job-live"), ("pass", "job-finish"), ("skip", "job-finish")])
def test_where_nothing_else_says_the_type_the_result_does(result: str, kind: str) -> None:
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
def test_an_object_with_a_word_of_a_job_is_a_job(body: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert refusal(json.dumps(body), IN_RUN) == expected


def test_an_envelope_without_body_is_a_regr_finish_like_any_other() -> None:
    message = one(json.dumps({"type": "regr-finish", "regression": "r/1"}))

    assert (message.type, message.warnings) == ("regr-finish", [])


@pytest.mark.parametrize("kind", ["regr-start", "regr-update"])
def test_other_regression_messages_without_body_are_taken_with_a_warning(kind: str) -> None:
    assert "missing body" in one(json.dumps({"type": kind, "regression": "r/1"})).warnings


def test_the_envelope_counts_more_than_the_file_name() -> None:
    message = one(envelope("job-finish", job("pass"), regression="other"), Context("job-live", "r/1"))

    assert (message.type, message.regression) == ("job-finish", "other")


def test_the_place_says_what_an_envelope_leaves_open() -> None:
    message = one(json.dumps({"body": {"component": "core"}}), Context("regr-start", "r/1"))

    assert (message.type, message.regression) == ("regr-start", "r/1")


def test_a_bare_body_at_the_top_level_names_its_regression() -> None:
    message = one(json.dumps(job() | {"regression": "r/9"}))

    assert message.regression == "r/9"
    assert message.extra == {}


def test_a_bare_body_that_contradicts_its_place_is_taken_with_a_warning() -> None:
    message = one(json.dumps(job() | {"regression": "r/9"}), IN_RUN)

    assert message.regression == "r/1"
    assert any("'r/9'" in warning for warning in message.warnings)


def test_an_address_that_says_the_type_takes_an_object_with_a_key_body_as_a_body() -> None:
    message = one(json.dumps(job(body="x")), Context("job-live", "r/1", bare=True))

    assert message.extra == {"body": "x"}


def test_a_key_type_that_is_no_message_type_is_a_field_of_a_bare_body() -> None:
    assert one(json.dumps(job(type="nightly")), IN_RUN).extra == {"type": "nightly"}


@pytest.mark.parametrize("length", [1, 512])
def test_a_regression_name_at_its_bounds_is_accepted(length: int) -> None:
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
def test_folder_and_file_name_say_regression_and_type(name: str, kind: str | None, regression: str | None) -> None:
    assert context_of_file(name) == Context(kind, regression)


@pytest.mark.parametrize("raw", ["", "\n", " \r\n\t"])
@pytest.mark.parametrize("name", ["r/1/regr-finish.json", "r/1/regr-finish.7.ndjson"])
def test_an_empty_file_named_regr_finish_is_one(raw: str, name: str) -> None:
    message = one(raw, context_of_file(name), lines=name.endswith("ndjson"))

    assert (message.type, message.regression, message.warnings) == ("regr-finish", "r/1", [])


@pytest.mark.parametrize("name", ["r/1/regr-start.json", "r/1/job-live.json", "r/1/x.json"])
def test_no_other_file_may_be_empty(name: str) -> None:
    assert refusal("", context_of_file(name)) == ("bad-json", None)


def test_a_file_name_that_is_at_odds_with_the_result_is_refused() -> None:
    assert refusal(json.dumps(job("pass")), context_of_file("r/1/job-live.json")) == (
        "result-mismatch",
        "$.result",
    )


# Many at once.


def test_an_array_holds_envelopes_and_bare_bodies_each_for_itself() -> None:
    raw = f"[{finish()}, {json.dumps(job())}, 5, {json.dumps(job('skip'))}]"

    messages = decode(raw, IN_RUN)

    assert [message.type for message in messages] == ["job-finish", "job-live", None, "job-finish"]
    assert [message.index for message in messages] == [0, 1, 2, 3]
    assert (messages[2].reason, messages[2].path) == ("wrong-type", "$")


def test_an_array_in_a_file_named_after_a_batch_holds_its_jobs() -> None:
    raw = json.dumps([job("pass", uniqueid="a"), job("fail", uniqueid="b")])

    messages = decode(raw, context_of_file("r/1/batch-job-finish.json"))

    assert [(message.type, message.key) for message in messages] == [("job-finish", "a"), ("job-finish", "b")]


def test_an_envelope_without_a_type_around_an_array_holds_jobs_that_say_theirs() -> None:
    bodies = [job(uniqueid="a"), job("pass", uniqueid="b"), {"component": "core"}, 5]

    messages = decode(json.dumps({"regression": "r/1", "body": bodies}))

    assert [message.type for message in messages] == ["job-live", "job-finish", None, None]
    assert [(m.reason, m.path) for m in messages if isinstance(m, Outcome)] == [
        ("unknown-type", "$.body[2]"),
        ("unknown-type", "$.body[3]"),
    ]


@pytest.mark.parametrize("kind", ["batch-job-live", None])
def test_the_limit_of_a_message_holds_for_each_job_of_a_batch(kind: str | None) -> None:
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
def test_an_element_that_cannot_be_decoded_is_refused_alone(bad: bytes, reason: str) -> None:
    raw = b" [" + live(uniqueid="a").encode() + b", " + bad + b" ," + live(uniqueid="c").encode() + b"] "

    messages = decode(raw, IN_RUN)

    assert [getattr(message, "key", None) for message in messages] == ["a", None, "c"]
    assert messages[1].reason == reason


@pytest.mark.parametrize("end", [b"", b"}", b"]]", b"] x"])
def test_an_array_with_bad_text_whose_brackets_do_not_match_is_refused_as_a_whole(end: bytes) -> None:
    assert refusal(b"[" + live().encode() + b', "\xff"' + end) == ("bad-text", None)


def test_blanks_before_an_array_do_not_matter() -> None:
    messages = decode(" " * 100 + f"[{live()}, {live(uniqueid='b')}]")

    assert [(message.index, message.key) for message in messages] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize("raw", ["[]", " [ ] "])
def test_an_empty_array_holds_no_message(raw: str) -> None:
    assert decode(raw) == []


def test_an_array_that_is_cut_short_is_refused_as_a_whole() -> None:
    assert refusal(f"[{live()}, {live()}") == ("bad-json", None)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n \n"])
def test_each_line_of_ndjson_stands_for_itself(end: str) -> None:
    raw = live(uniqueid="a") + end + '{"type":' + end + json.dumps(job("pass", uniqueid="c")) + end

    messages = decode(raw, IN_RUN, lines=True)

    assert [message.index for message in messages] == [0, 1, 2]
    assert (messages[0].type, messages[0].key) == ("job-live", "a")
    assert (messages[1].outcome, messages[1].reason) == ("rejected", "bad-json")
    assert (messages[2].type, messages[2].key) == ("job-finish", "c")


def test_the_last_line_of_ndjson_needs_no_end() -> None:
    assert [message.key for message in decode(live() + "\n" + live(uniqueid="b"), lines=True)] == ["a", "b"]


def test_a_separator_that_is_no_end_of_line_does_not_cut_a_line_of_ndjson() -> None:
    body = json.dumps(job(host="a\u2028b\x85"), ensure_ascii=False)

    assert one(body + "\n", IN_RUN, lines=True).values["host"] == "a\u2028b\x85"


def test_bad_elements_of_a_batch_are_refused_alone_with_their_path() -> None:
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
def test_a_batch_is_never_refused_for_one_bad_element(number: int | str) -> None:
    bodies = [job("pass", uniqueid="a"), job("pass", uniqueid="b", later=number, cycles=number), job("pass")]

    messages = decode(envelope("batch-job-finish", bodies))

    assert [type(message) for message in messages] == [Message, Outcome, Message]


@pytest.mark.parametrize("array", [False, True])
def test_an_element_with_a_zero_character_is_refused_alone(array: bool) -> None:
    bodies = [job(), job(uniqueid="b", host="\0"), job(uniqueid="c")]
    raw = json.dumps(bodies) if array else envelope("batch-job-live", bodies)

    messages = decode(raw, IN_RUN, lines=True)

    assert [type(message) for message in messages] == [Message, Outcome, Message]
    assert messages[1].reason == "bad-text"


def test_the_path_of_an_element_that_is_too_deep_begins_at_the_message() -> None:
    bodies = [job(), job(uniqueid="b", host=5, later=nested(40))]

    _, outcome = decode(envelope("batch-job-live", bodies))

    assert (outcome.reason, outcome.path[:13]) == ("too-deep", "$.body[1].lat")


def test_numbers_go_on_over_the_items_of_a_delivery() -> None:
    raw = f"[{envelope('batch-job-live', [job(), job()])}, {live()}]"

    assert [message.index for message in decode(raw)] == [0, 1, 2]


def test_an_empty_batch_holds_no_message() -> None:
    assert decode(envelope("batch-job-live", [])) == []


# Text.


def test_a_byte_order_mark_is_skipped() -> None:
    assert one(b"\xef\xbb\xbf" + live().encode()).key == "a"


def test_a_byte_order_mark_is_skipped_in_ndjson_too() -> None:
    assert one(b"\xef\xbb\xbf" + live().encode() + b"\n", lines=True).key == "a"


def test_of_a_key_that_stands_twice_the_last_one_counts() -> None:
    raw = '{"type": "job-live", "regression": "x", "regression": "r/1", "body": {"category": "sim", "uniqueid": "a", '

    message = one(raw + '"host": 5, "result": "live", "host": "farm1"}}')

    assert (message.regression, message.values["host"]) == ("r/1", "farm1")


@pytest.mark.parametrize("text", ["\U0001f600", "\\u0000", "ÿ", "\u202e", "a\tb\n"])
def test_text_is_kept_as_it_is(text: str) -> None:
    for ascii_only in (True, False):
        raw = json.dumps({"type": "job-live", "regression": "r/1", "body": job(host=text)}, ensure_ascii=ascii_only)

        assert one(raw).values["host"] == text


@pytest.mark.parametrize("blanks", [63, 64, 65])
def test_an_array_is_one_however_far_its_bracket_is(blanks: int) -> None:
    raw = " " * blanks + f"[{live()}, {json.dumps(job('pass', uniqueid='b'))}, [5]]"

    messages = decode(raw, IN_RUN)

    assert [getattr(message, "key", None) for message in messages] == ["a", "b", None]
    assert (messages[2].reason, messages[2].index) == ("wrong-type", 2)


def test_elements_with_bad_text_between_blanks_are_cut_as_others() -> None:
    raw = b'[ {"a": [1, {"b": "],["}]} , "\xff" ,{}]'

    assert split_items(raw, lines=False) == [b' {"a": [1, {"b": "],["}]} ', b' "\xff" ', b"{}"]


@pytest.mark.parametrize("blanks", [0, 64, 1000])
def test_a_bad_element_is_refused_alone_however_far_the_bracket_is(blanks: int) -> None:
    raw = b"\n" * blanks + b'[{"a": "\xff"}, ' + live().encode() + b"]"

    bad, good = decode(raw)

    assert (bad.reason, good.key) == ("bad-text", "a")


def test_an_array_of_one_bad_text_is_one_item() -> None:
    assert split_items(b'["\xff"]', lines=False) == [b'"\xff"']


@pytest.mark.parametrize("raw", [b'["\xff"] [', b'["\xff"', b'["\xff"}', b'"\xff"', b'{"a": "\xff"}'])
def test_bad_text_that_is_not_in_an_array_that_closes_refuses_the_whole(raw: bytes) -> None:
    with pytest.raises(Refused) as told:
        split_items(raw, lines=False)

    assert told.value.reason == "bad-text"


def test_a_regression_may_be_named_in_an_array_of_bodies_each_by_its_own() -> None:
    raw = json.dumps([job() | {"regression": "r/8"}, job("pass") | {"regression": "r/9"}])

    assert [message.regression for message in decode(raw)] == ["r/8", "r/9"]
