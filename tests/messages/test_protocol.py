"""The words of the protocol, and the receipts that tell what became of messages."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from simscope_server.messages import protocol
from simscope_server.messages.protocol import (
    COLUMN_OF_JOB,
    COLUMN_OF_REGRESSION,
    DURATIONS,
    EVENT_TYPES,
    EXTRA_FIELDS,
    FAMILIES,
    JOB_TIMES,
    MAYBE_EMPTY,
    NOT_OF_LIVE,
    OF_VERDICT,
    PLAIN_COLUMNS,
    REASONS,
    SAID,
    TEXT_COLUMNS,
    TIMES,
    TYPE_ALIASES,
    TYPES,
    Context,
    Delivery,
    Message,
    NotNow,
    Outcome,
    Receipt,
    Refused,
    SimscopedError,
    Submission,
    json_object,
    to_json,
    types_named,
)

# What is derived from the one table of fields.


def test_the_fields_of_a_job_that_have_a_column() -> None:
    plain = "category compute_ms runtime_ms cycles config build testgroup jobdir host exit_code name phase reason"

    assert set(plain.split()) == PLAIN_COLUMNS
    assert MAYBE_EMPTY == ("fail_message", "bucket", "time_limit_ms")
    assert JOB_TIMES == {"start_at": "start_time", "finish_at": "finish_time"}
    assert {field: column for field, column in COLUMN_OF_JOB.items() if field != column} == {
        "start_time": "start_at",
        "finish_time": "finish_at",
    }
    assert set(SAID) == PLAIN_COLUMNS | set(MAYBE_EMPTY) | set(JOB_TIMES) | {"seed", "metadata", "extra"}
    assert len(SAID) == len(set(SAID))


def test_the_fields_that_lists_are_filtered_by() -> None:
    texts = "category config seed build testgroup jobdir host name phase reason"

    assert tuple(texts.split()) == TEXT_COLUMNS


def test_the_fields_of_a_verdict() -> None:
    columns = "finish_at compute_ms runtime_ms cycles exit_code fail_message bucket reason"

    assert set(columns.split()) == OF_VERDICT
    assert sorted(OF_VERDICT - {"finish_at"} | {"finish_time"}) == NOT_OF_LIVE


def test_the_other_kinds_of_fields() -> None:
    assert set("extid sourcecode username progress env results files".split()) == EXTRA_FIELDS
    assert {"start_time", "finish_time", "starttime", "model_timestamp"} == TIMES
    assert DURATIONS == ("compute_ms", "runtime_ms", "time_limit_ms")
    assert {
        **{field: field for field in "component project submitted running tag".split()},
        "starttime": "starttime_at",
        "model_branch": "branch",
        "time_limit_hours": "time_limit_ms",
    } == COLUMN_OF_REGRESSION


# Receipts.


def outcomes(*told: tuple[str, int]) -> list[Outcome]:
    """So many outcomes of each sort; "warned" is applied with a warning."""
    kinds = [kind for kind, number in told for _ in range(number)]
    return [
        Outcome(index, None, None, "applied" if kind == "warned" else kind, warnings=["w"] if kind == "warned" else [])
        for index, kind in enumerate(kinds)
    ]


def receipt(*told: tuple[str, int]) -> Receipt:
    details = outcomes(*told)
    counted = [sum(one.outcome == kind for one in details) for kind in protocol.OUTCOMES]
    applied, duplicate, ignored, rejected = counted
    return Receipt(1, "x", 0, applied, duplicate, ignored, rejected, details)


@pytest.mark.parametrize(
    ("told", "notable"),
    [
        ([("applied", 5)], []),
        ([("applied", 2), ("warned", 1), ("duplicate", 1)], [2, 3]),
        ([("warned", 100)], [*range(100)]),
        ([("warned", 101)], [*range(100)]),
        ([("warned", 99), ("applied", 5), ("rejected", 1)], [*range(99), 104]),
        ([("warned", 100), ("rejected", 1)], [*range(99), 100]),
        ([("warned", 60), ("duplicate", 60)], [*range(40), *range(60, 120)]),
        ([("duplicate", 60), ("ignored", 60)], [*range(40), *range(60, 120)]),
        ([("ignored", 60), ("rejected", 60)], [*range(40), *range(60, 120)]),
    ],
    ids=str,
)
def test_of_a_receipt_the_gravest_hundred_are_notable(told: list[tuple[str, int]], notable: list[int]) -> None:
    assert [one.index for one in receipt(*told).notable()] == notable


def test_a_receipt_tells_of_those_that_were_refused() -> None:
    told = receipt(("duplicate", 1), ("rejected", 2), ("ignored", 1), ("applied", 3))

    assert (told.messages, told.applied, told.duplicate, told.ignored, told.rejected) == (7, 3, 1, 1, 2)
    assert [one["index"] for one in told.refused()] == [1, 2]
    assert receipt(("ignored", 1)).refused() == []


def test_a_delivery_and_a_submission_know_what_they_hold() -> None:
    raw = Delivery("x", "x", [b"12", b"345"], Context())
    decoded = Delivery("x", "x", [], Context(), messages=[Message(0, "regr-finish", "r", {}, {}, {})])

    assert [(one.weight(), one.size()) for one in (raw, decoded)] == [(2, 5), (1, 0)]
    assert Submission([raw, decoded]).weight() == 3
    assert Submission([]).weight() == 0


def test_two_messages_never_share_their_lists() -> None:
    one, other = (Outcome(0, None, None, "applied") for _ in range(2))

    one.warnings.append("x")

    assert other.warnings == []


# Names of events.


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("job.live", ("job.live",)),
        ("job.finished", ("job.passed", "job.failed", "job.skipped", "job.timed_out", "job.missing", "job.tanked")),
        ("RUNNING", ("job.live", "job.updated", "job.revived")),
        ("running", ("job.live", "job.updated", "job.revived")),
        ("Queued", ("job.live", "job.updated")),
        ("cancelled", ("job.tanked",)),
        ("permission_grant", ()),
        ("unknown", ("unknown",)),
        ("JOB.LIVE", ("JOB.LIVE",)),
        ("job.*", ("job.*",)),
    ],
)
def test_a_name_stands_for_the_events_that_it_stands_for_whatever_its_case(name: str, types: tuple[str, ...]) -> None:
    assert types_named(name) == types


def test_every_alias_stands_for_events_that_there_are() -> None:
    assert {kind for types in TYPE_ALIASES.values() for kind in types} <= set(EVENT_TYPES)
    assert len(EVENT_TYPES) == len(set(EVENT_TYPES)) == 20
    assert FAMILIES == ("*", "regression.*", "job.*")
    assert len(TYPES) == 7


# Small things.


def test_errors_end_a_command_with_their_code() -> None:
    assert (SimscopedError.code, NotNow.code) == (2, 1)


def test_a_refusal_says_why_and_where() -> None:
    refused = Refused("bad-time", "in a sentence", "$.x")

    assert (str(refused), refused.reason, refused.detail, refused.path) == (
        "in a sentence",
        "bad-time",
        "in a sentence",
        "$.x",
    )
    assert Refused("bad-json", "x").path is None


@pytest.mark.parametrize(("text", "value"), [(None, {}), ("", {}), ("{}", {}), ('{"a":[1]}', {"a": [1]})])
def test_no_object_in_a_column_is_an_empty_one(text: str | None, value: dict[str, Any]) -> None:
    assert json_object(text) == value


def test_json_is_compact_and_keeps_letters() -> None:
    assert to_json({"a": [1, None, "ü"]}) == '{"a":[1,null,"ü"]}'


def test_every_reason_has_a_sentence_of_its_own() -> None:
    assert len(set(REASONS.values())) == len(REASONS) == 23
    assert REASONS["too-deep"] == "nested deeper than 32 levels"


def test_a_context_does_not_change() -> None:
    with pytest.raises(AttributeError):
        Context().type = "job-live"  # type: ignore[misc]
    assert msgspec.structs.astuple(Context()) == (None, None, False)
