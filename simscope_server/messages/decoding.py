"""Bytes come in, messages or named refusals go out.

A delivery (spool file or request body) is cut into items, one for each JSON value that stands for itself: the whole
text, the elements of an array, the lines of NDJSON. An item is decoded, told apart (envelope or bare body) and
becomes one message, or one for each element of a batch. Nothing here knows where the bytes came from, but for the
Context: what folder, file name or address said. Pure.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import types
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, get_args, get_origin, is_typeddict

import msgspec

from simscope_server.messages.protocol import (
    COLUMN_OF_REGRESSION,
    DEEPEST,
    DURATIONS,
    EXPECTED_OF_FINISH,
    EXPECTED_OF_START,
    EXTRA_FIELDS,
    FAIL,
    JOB_FIELDS,
    JOB_FINISH,
    JOB_LIVE,
    LIVE,
    LONGEST_MS,
    MAYBE_EMPTY,
    MOST_CYCLES,
    NAME_LENGTH,
    NOT_OF_LIVE,
    OF_VERDICT,
    PLAIN_COLUMNS,
    REASONS,
    REGR_FINISH,
    REGR_START,
    REGR_UPDATE,
    REGRESSION_FIELDS,
    RESULTS,
    SINGLE,
    SKIP,
    TIMES,
    TYPES,
    Context,
    JobBody,
    Message,
    Outcome,
    Refused,
    RegressionBody,
    bare,
    encode_json,
    kinds_of,
    log,
)
from simscope_server.messages.times import HOUR_MS, LATEST, microseconds, milliseconds, without_leap_second
from simscope_server.settings import Config


def split_items(raw: bytes, *, lines: bool) -> list[bytes]:
    """Cut a delivery into its items: the lines of NDJSON, the elements of an array, or the one value.

    Raises Refused (bad-json, bad-text, too-deep) if the text as a whole is not JSON; a bad line of NDJSON, or an
    element with bad text or nested too deeply, is no matter here: it is refused when its turn comes."""
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    if lines:
        return [line for line in raw.splitlines() if line.strip()]
    is_array = raw.lstrip()[:1] == b"["
    try:
        _check_utf8(raw)
        found = _decoded(raw, list[msgspec.Raw] if is_array else msgspec.Raw)
    except Refused as refusal:
        elements = _elements(raw) if is_array and refusal.reason != "bad-json" else None
        if elements is None:
            raise
        return elements
    return [bytes(item) for item in found] if is_array else [raw]


TEXT_OR_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]', re.DOTALL)


def _elements(raw: bytes) -> list[bytes] | None:
    """The elements of an array, told by its brackets and commas alone; None if its brackets do not match."""
    elements, depth, begin = [], 0, 0
    for found in TEXT_OR_BRACKET.finditer(raw):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(found[0], 0)
        if depth == 0:
            elements.append(raw[begin : found.start()])
            return elements if found[0] + raw[found.end() :].strip() == b"]" else None
        if depth == 1 and found[0] in (b"[", b","):
            elements += [raw[begin : found.start()]] if begin else []
            begin = found.end()
    return None


def _check_utf8(raw: bytes) -> None:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise Refused("bad-text", f"not UTF-8: {error}") from None


def _decoded(raw: bytes, kind: Any = Any) -> Any:
    """JSON text to a tree. What is wrong is decided here: which exception the decoder raises, and what that says,
    changes with its version, so its words are only passed on."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:  # untyped JSON that is well-formed fails for its numbers only
        raise Refused("bad-number", f"a number beyond a double: {error}") from None
    except RecursionError:
        raise Refused("too-deep", f"nested deeper than {DEEPEST} levels") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _check_utf8(raw)
        if _has_lone_surrogate(raw):
            raise Refused("bad-text", "half a surrogate pair in a text") from None
        raise Refused("bad-json", str(error)) from None


def _has_lone_surrogate(raw: bytes) -> bool:
    """True if all that is wrong with the JSON is an escape such as \\ud800 without its other half."""
    if b"\\u" not in raw:
        return False
    try:
        text = json.dumps(json.loads(raw, parse_constant=_no_constant), ensure_ascii=False)
        return any("\ud800" <= letter <= "\udfff" for letter in text)
    except (ValueError, RecursionError):
        return False


def _no_constant(word: str) -> None:
    raise ValueError(word)


def decode_items(items: Iterable[bytes], context: Context, config: Config) -> Iterator[Message | Outcome]:
    """Items -> messages, numbered in order; an item that cannot be taken gives an Outcome 'rejected' instead."""
    index = 0
    for item in items:
        for message in _decode_safely(item, context, config):
            message.index = index
            index += 1
            yield message


def _decode_safely(raw: bytes, context: Context, config: Config) -> Sequence[Message | Outcome]:
    """Our own mistake in an item refuses that item, and holds up no other."""
    try:
        return _decode_item(raw, context, config)
    except Exception as error:
        log.exception("apply: an item that cannot be decoded: %.200r", raw)
        refusal = Refused("internal-error", f"{type(error).__name__}: {error}")
        return (rejected(context.type, context.regression, refusal),)


ZERO = b"\\u0000"  # where this does not occur, no text holds U+0000


def _decode_item(raw: bytes, context: Context, config: Config) -> Sequence[Message | Outcome]:
    tree: Any = None
    kind: str | None = context.type
    regression: Any = context.regression
    try:
        tree = _decoded(raw)
        if isinstance(tree, list):
            return _decode_elements(tree, context, config)
        kind, regression, body, path, warnings = _told_apart(tree, context)
        _check_regression_name(regression)
        _check_body(kind, body, path)
        if kind in SINGLE or kind is None:
            return _decode_batch(raw, body, kind, regression, path, config)
        _check_size(raw, config)
        if ZERO in raw:
            _walk(tree, "$", 1)
        return (_message(kind, regression, body, path, warnings),)
    except Refused as refusal:
        return (rejected(kind, regression, _deeper_reason(tree, "$", refusal)),)


def _decode_elements(tree: list[Any], context: Context, config: Config) -> list[Message | Outcome]:
    """An array where one message was expected, such as a line of NDJSON: each element for itself."""
    decoded: list[Message | Outcome] = []
    for item in tree:
        if isinstance(item, list):
            refusal = Refused("wrong-type", "a message is an object, not an array in an array", "$")
            decoded.append(rejected(context.type, context.regression, _deeper_reason(item, "$", refusal)))
        else:
            decoded += _decode_item(encode_json(item), context, config)
    return decoded


def _check_size(raw: bytes, config: Config) -> None:
    size = len(raw.strip())
    if size > config.message_kib * 1024:
        raise Refused("too-large", f"{size} bytes; [limits] message_kib = {config.message_kib} allows fewer")


def _decode_batch(
    raw: bytes, body: Any, batch: str | None, regression: str, path: str, config: Config
) -> list[Message | Outcome]:
    """The jobs of an array, each a message of the batch's type; without one, each says its type by its result."""
    if not isinstance(body, list):
        raise Refused("wrong-type", f"{batch} takes an array of job objects", path)
    decoded: list[Message | Outcome] = []
    is_large, has_zero = len(raw) > config.message_kib * 1024, ZERO in raw
    for offset, job in enumerate(body):
        place = f"{path}[{offset}]"
        kind = SINGLE[batch] if batch else None
        try:
            kind = kind or _type_by_result(job, place)
            if is_large:
                _check_size(encode_json(job), config)
            if has_zero:
                _walk(job, place, _depth(place))
            decoded.append(_message(kind, regression, job, place, []))
        except Refused as refusal:
            decoded.append(rejected(kind, regression, _deeper_reason(job, place, refusal)))
    return decoded


def rejected(kind: str | None, regression: object, refusal: Refused) -> Outcome:
    named = regression if isinstance(regression, str) else None
    return Outcome(0, kind, named, "rejected", refusal.reason, refusal.path, refusal.detail)


def _deeper_reason(tree: Any, path: str, refusal: Refused) -> Refused:
    """A message that nests too deeply often has a wrong type too; then the depth is what its publisher must know."""
    try:
        _walk(tree, path, _depth(path))
    except Refused as deeper:
        return deeper
    return refusal


def _depth(path: str) -> int:
    """The level of nesting that a JSONPath of names and numbers leads to; 1 is the message itself."""
    return 1 + path.count(".") + path.count("[")


def _walk(value: Any, path: str, depth: int) -> None:
    """Check a part of a message that no type describes: texts, integers, depth."""
    if isinstance(value, str):
        if "\0" in value:
            raise Refused("bad-text", "U+0000 in a text", path)
    elif isinstance(value, bool):
        return
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise Refused("bad-number", "an integer beyond 64 bits", path)
    elif isinstance(value, float):
        if math.isinf(value):
            raise Refused("bad-number", "a number beyond a double", path)
    elif isinstance(value, dict | list):
        if depth > DEEPEST:
            raise Refused("too-deep", f"nested deeper than {DEEPEST} levels", path)
        if isinstance(value, list):
            for number, element in enumerate(value):
                _walk(element, f"{path}[{number}]", depth + 1)
        else:
            for key, element in value.items():
                _walk(key, path, depth + 1)
                _walk(element, f"{path}.{key}", depth + 1)


def _told_apart(tree: Any, context: Context) -> tuple[str | None, Any, Any, str, list[str]]:
    """Envelope or bare body? -> type, regression (unchecked), body or None, JSONPath of the body, warnings.

    There is no type where the body is an array of jobs that each say theirs."""
    if context.type is not None and (context.bare or tree is None):
        return context.type, context.regression, tree, "$", []
    if not isinstance(tree, dict):
        raise Refused("wrong-type", f"a message is an object, not {_json_type(tree)}", "$")
    if "body" in tree or tree.get("type") in TYPES:
        return _envelope(tree, context)
    kind = context.type or _type_by_result(tree, "$")
    body = {key: value for key, value in tree.items() if key != "regression"}
    said, regression = tree.get("regression"), context.regression
    warnings = []
    if regression is None:
        regression = said
    elif said is not None and said != regression:
        warnings.append(
            f"regression {said!r} in the body is not {regression!r}, which its place says; the place counts"
        )
    return kind, regression, body, "$", warnings


def _envelope(tree: dict[str, Any], context: Context) -> tuple[str | None, Any, Any, str, list[str]]:
    body, kind, regression = tree.get("body"), tree.get("type"), tree.get("regression")
    kind = context.type if kind is None else kind
    regression = context.regression if regression is None else regression
    if kind is None and isinstance(body, dict):
        kind = _type_by_result(body, "$")
    if kind not in TYPES and not (kind is None and isinstance(body, list) and body):
        raise Refused("unknown-type", f"type {kind!r} is not one of {', '.join(TYPES)}", "$.type")
    return kind, regression, body, "$.body", []


def _type_by_result(body: Any, path: str) -> str:
    if isinstance(body, dict) and not body.keys().isdisjoint(("category", "uniqueid", "result")):
        return JOB_LIVE if body.get("result") == "live" else JOB_FINISH
    raise Refused("unknown-type", f"nothing says the message type; it is one of {', '.join(TYPES)}", path)


CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _check_regression_name(name: Any) -> None:
    if name is None:
        raise Refused("no-regression", "nothing says which regression this is about", "$.regression")
    if not isinstance(name, str):
        raise Refused("bad-regression", f"a regression name is text, not {_json_type(name)}", "$.regression")
    if not 0 < len(name) <= NAME_LENGTH or CONTROL_CHARACTER.search(name):
        raise Refused("bad-regression", REASONS["bad-regression"] + f"; this has {len(name)}", "$.regression")


def _check_body(kind: str | None, body: Any, path: str) -> None:
    """A regression may have nothing more to say; a job always has."""
    if body is None and kind not in (REGR_START, REGR_UPDATE, REGR_FINISH):
        raise Refused("missing-field", "a message about jobs needs a body", path)


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _message(kind: str, regression: str, body: Any, path: str, warnings: list[str]) -> Message:
    if kind in (JOB_LIVE, JOB_FINISH):
        return _job_message(kind, regression, body, path, warnings)
    return _regression_message(kind, regression, body, path, warnings)


def _typed(body: Any, kind: Any, path: str) -> dict[str, Any]:
    """Check a body against its declared fields. Raises Refused with the path of the wrong one.

    Leap seconds, which are rare, are looked for, and mended, only where it fails. Times of the year 1, by which
    publishers written in Go say "not set", are taken out of the body too."""
    try:
        typed: dict[str, Any] = msgspec.convert(body, kind)
    except msgspec.ValidationError:
        typed = fitting(_without_leap_seconds(body), kind, path)
    for field in TIMES.intersection(typed):
        if typed[field] > LATEST:
            raise Refused("bad-time", "in UTC the year has five digits", f"{path}.{field}")
        if typed[field].year == 1:
            del typed[field], body[field]
    return typed


def _without_leap_seconds(body: Any) -> Any:
    """The same body, mended in place."""
    if isinstance(body, dict):
        times = {field: body[field] for field in TIMES.intersection(body) if isinstance(body[field], str)}
        body |= {field: without_leap_second(text) for field, text in times.items()}
    return body


def fitting(value: Any, kind: Any, path: str) -> Any:
    """A decoded value as the kind it must be of. Raises Refused with the place, the reason and what is expected."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise misfit(value, kind, path) or Refused("wrong-type", str(error), path) from None


def misfit(value: Any, kind: Any, path: str) -> Refused | None:
    """Which part of a value is not of the declared kind, and why: the first one in the order of the value. None if all
    of it fits. The kinds are those of the declared fields; a whole check costs much more than `msgspec.convert`, so it
    is made only where that has failed."""
    parts = _parts(value, kind)
    if parts is None:
        return None if _fits(value, kind) else _why_not(value, kind, path)
    found = (misfit(part, part_kind, f"{path}{step}") for step, part, part_kind in parts)
    return next(filter(None, found), None)


def _parts(value: Any, kind: Any) -> list[tuple[str, Any, Any]] | None:
    """The parts of a value with their steps in a JSONPath and their kinds; None if it is to be looked at as a whole."""
    kind = bare(kind)
    outer, inner = get_origin(kind), get_args(kind)
    if isinstance(value, dict) and outer is dict:
        return [(f".{name}", part, inner[1]) for name, part in value.items()]
    if isinstance(value, dict) and is_typeddict(kind):
        known = kinds_of(kind)
        return [(f".{name}", part, known[name]) for name, part in value.items() if name in known]
    if isinstance(value, list) and outer is list:
        return [(f"[{place}]", part, inner[0]) for place, part in enumerate(value)]
    if isinstance(value, list) and outer is tuple and len(value) == len(inner):
        return [(f"[{place}]", *pair) for place, pair in enumerate(zip(value, inner, strict=True))]
    return None


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _why_not(value: Any, kind: Any, path: str) -> Refused:
    if bare(kind) is datetime and isinstance(value, str):
        return Refused("bad-time", f"{value[:100]!r} is not a time in RFC 3339 with a zone", path)
    if bare(kind) is int and isinstance(value, int) and not isinstance(value, bool):
        return Refused("bad-number", "an integer out of range", path)
    return Refused("wrong-type", f"must be {_kind_in_words(bare(kind))}, not {_json_type(value)}", path)


def _kind_in_words(kind: Any) -> str:
    named = {str: "a text", bool: "true or false", int: "a whole number", float: "a number", datetime: "a time as text"}
    if isinstance(kind, types.UnionType):
        return " or ".join(_kind_in_words(part) for part in get_args(kind))
    if get_origin(kind) is tuple:
        return f"an array of {len(get_args(kind))} texts"
    return named.get(kind) or ("an array" if get_origin(kind) is list else "an object")


def _unknown(body: dict[str, Any], known: frozenset[str], path: str) -> dict[str, Any]:
    """The fields that nobody declared. They are kept as they are, within the limits on text, numbers and depth."""
    if body.keys() <= known:
        return {}
    unknown = {field: value for field, value in body.items() if field not in known}
    for field, value in unknown.items():
        _walk(value, f"{path}.{field}", _depth(path) + 1)
    return unknown


def _job_message(kind: str, regression: str, body: Any, path: str, warnings: list[str]) -> Message:
    typed = _typed(body, JobBody, path)
    result = _job_result(typed, kind, path)
    values = {field: value for field, value in typed.items() if field in PLAIN_COLUMNS}
    extra = _unknown(body, JOB_FIELDS, path)
    for field in EXTRA_FIELDS.intersection(typed):
        _walk(body[field], f"{path}.{field}", _depth(path) + 1)
        extra[field] = body[field]
    start = microseconds(typed["start_time"]) if "start_time" in typed else None
    if start is not None:
        values["start_at"] = start // 1000
    if "finish_time" in typed:
        values["finish_at"] = milliseconds(typed["finish_time"])
    if "seed" in typed:
        _walk(typed["seed"], f"{path}.seed", _depth(path) + 1)
        values["seed"] = str(typed["seed"])
    for field in MAYBE_EMPTY:
        if field in typed:
            values[field] = typed[field] or None
    metadata = dict(typed.get("metadata", ()))
    if result == LIVE and not OF_VERDICT.isdisjoint(values):
        values = {field: value for field, value in values.items() if field not in OF_VERDICT}
    _check_durations(typed, values, path)
    key = _job_key(typed, values, start, path)
    warnings = [*warnings, *_doubts(typed, result)]
    return Message(0, kind, regression, values, extra, metadata, key, result, None, warnings, typed.get("log"))


def _job_result(typed: dict[str, Any], kind: str, path: str) -> int:
    for field in ("category", "result"):
        if not typed.get(field):
            raise Refused("missing-field", f"a job needs a {field}", f"{path}.{field}")
    if typed["result"] not in RESULTS:
        accepted = ", ".join(RESULTS)
        raise Refused("bad-result", f"result {typed['result']!r} is not one of {accepted}", f"{path}.result")
    result = RESULTS.index(typed["result"])
    if (result == LIVE) != (kind == JOB_LIVE):
        raise Refused("result-mismatch", f"result {typed['result']!r} does not go with {kind}", f"{path}.result")
    return result


def _job_key(typed: dict[str, Any], values: dict[str, Any], start: int | None, path: str) -> str | bytes:
    """The identity of a job inside its regression: text for a uniqueid, else a digest of five fields, of which "" says
    no more than one that is left out: publishers written in Go send either.

    The two can never collide, because the database keeps text and bytes apart."""
    if typed.get("uniqueid"):
        return str(typed["uniqueid"])
    if start is None:
        raise Refused("missing-field", "a job needs a uniqueid, or else a start_time", f"{path}.uniqueid")
    five = [start, *(values.get(field) or None for field in ("category", "jobdir", "seed", "config"))]
    return hashlib.blake2b(msgspec.json.encode(five), digest_size=16).digest()


def _check_durations(typed: dict[str, Any], values: dict[str, Any], path: str) -> None:
    for field in DURATIONS:
        if field in typed and not 0 <= typed[field] <= LONGEST_MS:
            raise Refused("bad-duration", f"{typed[field]} ms is below 0 or above 24 days", f"{path}.{field}")
    start, finish = values.get("start_at"), values.get("finish_at")
    if start is not None and finish is not None and "runtime_ms" not in typed and not 0 <= finish - start <= LONGEST_MS:
        detail = f"finish_time - start_time = {finish - start} ms is below 0 or above 24 days"
        raise Refused("bad-duration", detail, f"{path}.finish_time")


def _doubts(typed: dict[str, Any], result: int) -> list[str]:
    """Warnings about what a job message says, or leaves out."""
    if result == LIVE:
        return [f"{field} is not taken from a live message" for field in NOT_OF_LIVE if typed.get(field)]
    told = _missed(typed, result)
    cycles = typed.get("cycles", 0)
    if cycles != counted_cycles(cycles):
        told.append(f"cycles {cycles} count as {counted_cycles(cycles)} in sums")
    return told


def counted_cycles(cycles: int | None) -> int:
    """The cycles of a job as sums count them."""
    return min(max(cycles or 0, 0), MOST_CYCLES)


def _missed(typed: dict[str, Any], result: int) -> list[str]:
    expected = () if result == SKIP else EXPECTED_OF_FINISH
    missed = [f"missing {field}" for field in expected if field not in typed]
    if result == FAIL and not typed.get("fail_message") and not typed.get("bucket"):
        missed.append("missing fail_message")
    return missed


def _regression_message(kind: str, regression: str, body: Any, path: str, warnings: list[str]) -> Message:
    warnings = list(warnings)
    if body is None:
        body = {}
        if kind != REGR_FINISH:
            warnings.append("missing body")
    typed = _typed(body, RegressionBody, path)
    _unknown(body, REGRESSION_FIELDS, path)
    values = {column: typed[field] for field, column in COLUMN_OF_REGRESSION.items() if field in typed}
    if "starttime" in typed:
        values["starttime_at"] = milliseconds(typed["starttime"])
    if "time_limit_hours" in typed:
        values["time_limit_ms"] = _hours(typed["time_limit_hours"], f"{path}.time_limit_hours")
    if typed.get("name", regression) != regression:
        warnings.append(f"name {typed['name']!r} in the body is not {regression!r}; the envelope counts")
    if kind == REGR_START:
        warnings += [f"missing {field}" for field in EXPECTED_OF_START if field not in typed]
    metadata = dict(typed.get("custom_metadata", ()))
    fields = {field: value for field, value in body.items() if field not in ("custom_metadata", "pending")}
    return Message(0, kind, regression, values, fields, metadata, pending=typed.get("pending"), warnings=warnings)


def _hours(hours: float, path: str) -> int | None:
    """Hours to milliseconds; 0 takes a limit away. Raises Refused for a limit below 0 or beyond a century."""
    if not 0 <= hours <= 876_000:
        raise Refused("bad-duration", f"{hours} hours is below 0 or above a century", path)
    return round(hours * HOUR_MS) or None


def items_of(raw: bytes, context: Context, *, lines: bool) -> list[bytes]:
    """The items of a delivery. An empty one stands for a regr-finish without a body, where that is the type."""
    if not raw.strip() and context.type == REGR_FINISH:
        return [b"null"]
    return split_items(raw, lines=lines)
