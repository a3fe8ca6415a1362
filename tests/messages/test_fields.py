"""What becomes of the fields of a message: times, identity, columns, warnings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from support.decodings import envelope, finish, live, one, update, without

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
def test_a_time_becomes_milliseconds_and_the_year_1_nothing(text: str, ms: int | None) -> None:
    message = one(finish(start_time=text))

    assert message.values.get("start_at") == ms


def test_times_of_a_regression_are_read_in_the_same_way() -> None:
    assert one(update(starttime="2025-02-01T02:00:11-05:00")).values["starttime_at"] == T0_MS
    assert one(update(starttime="1969-12-31T23:59:60Z")).values["starttime_at"] == -1


def test_a_leap_second_is_told_as_the_time_that_it_is_taken_for() -> None:
    said = {"starttime": "2016-12-31T23:59:60Z", "model_timestamp": "2016-12-31T23:59:60.5+00:00", "tag": "1:60Z"}
    taken = {"starttime": "2016-12-31T23:59:59.999Z", "model_timestamp": "2016-12-31T23:59:59.999+00:00"}

    assert one(update(**said)).extra == said | taken


def test_the_year_1_in_any_time_is_as_good_as_nothing() -> None:
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


def test_a_uniqueid_is_the_identity_whatever_else_is_said() -> None:
    assert one(live(uniqueid="7")).key == "7"
    assert one(live(uniqueid="7", **without(FIVE, "category"))).key == "7"


def test_without_a_uniqueid_five_fields_are_the_identity() -> None:
    assert isinstance(key_of(), bytes)
    assert key_of() == key_of(host="farm1", build="b", uniqueid="")


@pytest.mark.parametrize(
    "text", ["2025-02-01T07:00:11.123Z", "2025-02-01T12:30:11.123000+05:30", "2025-02-01T07:00:11.123000Z"]
)
def test_the_same_instant_in_another_zone_is_the_same_identity(text: str) -> None:
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
def test_each_of_the_five_fields_makes_another_identity(change: dict[str, Any]) -> None:
    assert key_of(**change) != key_of()


@pytest.mark.parametrize("field", ["jobdir", "seed", "config"])
def test_an_empty_field_makes_the_same_identity_as_none(field: str) -> None:
    assert key_of(**{field: ""}) == key_of(**{field: None})


def test_the_text_of_a_uniqueid_never_equals_a_digest() -> None:
    digest = key_of()

    assert isinstance(digest, bytes)
    assert one(live(uniqueid=digest.hex())).key != digest
    assert one(live(uniqueid=digest.decode("latin-1"))).key != digest


@pytest.mark.parametrize(("seed", "text"), [(7, "7"), ("7", "7"), (0, "0"), (-1, "-1"), (2**64 - 1, str(2**64 - 1))])
def test_a_seed_may_be_a_number_and_is_kept_as_text(seed: int | str, text: str) -> None:
    assert one(live(seed=seed)).values["seed"] == text
    assert key_of(seed=seed) == key_of(seed=text)


# Fields.


def test_unknown_fields_of_a_job_are_kept() -> None:
    unknown = {"coverage": 98.5, "tool": {"name": "x", "flags": [1, None, True]}}

    assert one(live(**unknown)).extra == unknown


def test_known_fields_without_a_column_are_kept_too() -> None:
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
def test_unknown_keys_inside_known_fields_are_kept(said: dict[str, Any]) -> None:
    assert one(live(**said)).extra == said


def test_all_fields_of_a_regression_are_kept_as_published() -> None:
    said = {"component": "core", "queue": "q", "later": [1], "starttime": "2025-02-01T02:00:11-05:00", "submitted": 5}

    message = one(update(**said))

    assert message.extra == said
    assert message.values == {"component": "core", "submitted": 5, "starttime_at": T0_MS}


def test_metadata_is_told_by_name() -> None:
    assert one(live(metadata=[["a", "1"], ["b", ""]])).metadata == {"a": "1", "b": ""}
    assert one(update(custom_metadata=[["a", "1"]])).metadata == {"a": "1"}


@pytest.mark.parametrize(("pending", "said"), [(True, True), (False, False), (None, None)])
def test_pending_is_told(pending: bool | None, said: bool | None) -> None:
    body = {} if pending is None else {"pending": pending}

    assert one(envelope("regr-update", body)).pending is said


@pytest.mark.parametrize(("hours", "ms"), [(1, 3_600_000), (0.5, 1_800_000), (0, None), (876_000, 3_153_600_000_000)])
def test_a_time_limit_is_told_in_hours_and_0_takes_it_away(hours: float, ms: int | None) -> None:
    assert one(update(time_limit_hours=hours)).values["time_limit_ms"] == ms


def test_a_reason_of_a_live_job_is_no_verdict() -> None:
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
def test_what_the_original_requires_is_accepted_missing_with_a_warning(raw: str, warnings: list[str]) -> None:
    assert one(raw).warnings == warnings


def test_a_name_in_the_body_that_is_not_the_envelopes_is_a_warning() -> None:
    message = one(update(name="r/2"))

    assert message.regression == "r/1"
    assert len(message.warnings) == 1
    assert "'r/2'" in message.warnings[0]


# What one message leaves to the next.


def test_the_time_that_a_body_is_told_with_is_the_year_2_as_it_is() -> None:
    assert one(finish(start_time="0002-01-01T00:00:00Z")).values["start_at"] == -62_104_060_800_000


def test_verdicts_of_a_live_message_are_left_out_and_of_a_finish_taken() -> None:
    said: dict[str, Any] = {"exit_code": 0, "cycles": 5, "compute_ms": 5, "bucket": "b", "fail_message": "m"}

    assert one(live(**said)).values == {"category": "sim"}
    assert one(finish("fail", **said)).values == said | {"category": "sim"}


@pytest.mark.parametrize("field", ["fail_message", "bucket", "time_limit_ms"])
def test_an_empty_value_says_that_there_is_none(field: str) -> None:
    empty: dict[str, Any] = {field: 0 if field == "time_limit_ms" else ""}

    assert one(finish("fail", **empty)).values[field] is None


def test_lines_of_output_go_with_the_message() -> None:
    message = one(live(log={"lines": ["a"], "offset": 3}))

    assert (message.log, message.extra) == ({"lines": ["a"], "offset": 3}, {})
    assert one(live()).log is None


def test_a_job_has_no_time_for_a_verdict_by_a_live_message() -> None:
    message = one(live(start_time="2025-01-02T00:00:00Z", finish_time="2025-01-01T00:00:00Z"))

    assert "finish_at" not in message.values


def test_pending_is_no_field_that_is_kept() -> None:
    assert one(update(pending=True, custom_metadata=[["a", "1"]], tag="t")).extra == {"tag": "t"}
