"""The language in which lists of jobs are filtered, to SQL.

    result=fail, host=~^n1, message=~FIFO        fails, on hosts whose name begins with n1, whose message has FIFO
    result=fail|skip, !build=debug               fails and skips, but not of the build called debug
    runtime>10m, test="fifo, wide"               jobs that took more than ten minutes, of a test whose name has a comma

A filter is terms with commas between them, all of which must hold. A term is a field, an operator and a value; a `!` in
front turns it round, as it does in `!=` and `!~`. `=` takes values with `|` between them, of which one must be the
field's; nothing behind it means that the field is not set. `=~` takes a regular expression (patterns.py), in which `|`
and, inside of brackets of any kind, commas are its own. `<`, `<=`, `>`, `>=` compare numbers (`4.5k`) and durations (in
ms, or as they are shown: `1h 04m 12s`). A value with a comma, a `|`, a `=`, a quote, or blanks at an end stands in
double quotes, in which a backslash is put before a quote and before a backslash.

Pure: text in, SQL with its parameters out; values never become part of the SQL. The SQL is about a row j of the view
jobs and uses the function matches(pattern, value).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from simscope_server.messages.protocol import RESULTS, TEXT_COLUMNS

FILTER_MOST = 2000  # characters


TERMS_MOST = 50


class BadFilter(ValueError):
    """What is wrong with a filter, and the place in it, counted from 0."""

    def __init__(self, detail: str, position: int) -> None:
        super().__init__(detail)
        self.position = position


# Raises a ValueError, with the place as its `position`, for what is no regular expression.
Check = Callable[[str], object]


class Sql(NamedTuple):
    """A condition and its parameters."""

    text: str
    parameters: tuple[Any, ...] = ()


class Value(NamedTuple):
    """A value of a term, without its quotes, and where it begins."""

    text: str
    position: int


class Field(NamedTuple):
    """Something to filter by: `kind` is text, result, number, duration or signature."""

    kind: str
    sql: str


def _of_regression(column: str) -> str:
    return f"(SELECT r.{column} FROM regression AS r WHERE r.id = j.regression_id)"


FIELDS = {
    "id": Field("number", "j.id"),
    "result": Field("result", "j.result"),
    **{name: Field("text", f"j.{name}") for name in (*TEXT_COLUMNS, "test", "regression")},
    "message": Field("text", "j.fail_message"),
    "uniqueid": Field("text", "CASE typeof(j.key) WHEN 'text' THEN j.key END"),
    "username": Field("text", "(j.extra ->> '$.username')"),
    **{name: Field("text", _of_regression(name)) for name in ("series", "branch", "component")},
    "signature": Field("signature", "j.signature"),
    "exit_code": Field("number", "j.exit_code"),
    "cycles": Field("number", "j.cycles"),
    "cps": Field("number", "(1000.0 * j.cycles / nullif(j.compute_ms, 0))"),
    "runtime": Field("duration", "j.counted_runtime_ms"),
    "compute": Field("duration", "j.compute_ms"),
}


METADATA = "metadata."


ACCEPTED = f"{', '.join(FIELDS)}, {METADATA}NAME"


UNITS = {
    "number": {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12},
    "duration": {"": 1, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000},
}


NUMBERS = {"number": "a number such as 17 or 4.5k", "duration": "a duration such as 500ms, 90s, 10m 30s or 2h"}


_BLANKS = re.compile(r"\s*")


_NAME = re.compile(r"[^\s=<>!~,|\"]+")


_OPERATOR = re.compile(r"=~|!=?~|!=|<=|>=|<|>|=")


_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


_PLAIN = re.compile(r'[^,|="]*')


_NUMBER = re.compile(r"(-?\d{1,18}(?:\.\d{1,9})?(?:[eE][+-]?\d{1,2})?)\s*([a-zA-Z]*)")


_STEPS = re.compile(r"(?<=[dhms])\s*(?=\d)")  # between the parts of 1h 04m 12s


# The next term where its comma was forgotten: in a value, and in a pattern, where only `=~` is no text to look for.
_FIELD_BEHIND_BLANK = rf"\s!?\s*({'|'.join(FIELDS)}|metadata\.[^\s=<>!~,|\"]+)\s*"


_NEXT_TERM = re.compile(_FIELD_BEHIND_BLANK + "(?:[=<>]|![=~])")


_NEXT_PATTERN = re.compile(_FIELD_BEHIND_BLANK + "(?:=~|!=?~)")


class _Cursor:
    """Reads a filter from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self.skip()
        found = pattern.match(self.text, self.place)
        if found:
            self.place = found.end()
        return found

    def skip(self) -> None:
        blanks = _BLANKS.match(self.text, self.place)
        self.place = blanks.end() if blanks else self.place

    def comes(self, letter: str) -> bool:
        """Is this the next character? If so, it is taken."""
        self.skip()
        found = self.text.startswith(letter, self.place)
        self.place += found
        return found

    def at_end(self) -> bool:
        self.skip()
        return self.place == len(self.text)


def condition(text: str, check: Check) -> Sql:
    """The condition that a filter stands for. Raises BadFilter."""
    if len(text) > FILTER_MOST:
        raise BadFilter(f"a filter must have {FILTER_MOST} characters at most", FILTER_MOST)
    terms = list(_terms(_Cursor(text), check))
    if len(terms) > TERMS_MOST:
        raise BadFilter(f"a filter must have {TERMS_MOST} terms at most", 0)
    parameters = tuple(value for term in terms for value in term.parameters)
    return Sql(" AND ".join(term.text for term in terms) or "1", parameters)


def _terms(cursor: _Cursor, check: Check) -> Iterator[Sql]:
    while not cursor.at_end():
        yield _term(cursor, check)
        if not cursor.at_end():
            _expect_comma(cursor)


def _expect_comma(cursor: _Cursor) -> None:
    if not cursor.comes(","):
        found = cursor.text[cursor.place]
        hint = ': a value with a = stands in "quotes"' if found == "=" else ""
        raise BadFilter(f"a comma or the end is expected, not {found}{hint}", cursor.place)
    if cursor.at_end():
        raise BadFilter("a term is expected after the comma", cursor.place)


def _term(cursor: _Cursor, check: Check) -> Sql:
    negated = cursor.comes("!")
    cursor.skip()
    begins = cursor.place
    named = cursor.take(_NAME)
    if not named:
        raise BadFilter(f"a field is expected: {ACCEPTED}", begins)
    operator = cursor.take(_OPERATOR)
    if not operator:
        raise BadFilter(f"an operator is expected after {named[0]}: = != =~ !~ < <= > >=", cursor.place)
    sign = {"!~": "=~", "!=~": "=~", "!=": "="}.get(operator[0], operator[0])
    field, path = _field(named[0], begins)
    values = [_pattern(cursor, check)] if sign == "=~" else list(_values(cursor))
    made = _compared(field, path, sign, values, operator.start())
    return _negated(made) if negated != operator[0].startswith("!") else made


def _negated(made: Sql) -> Sql:
    """What is not known is not so: `!host=n1` finds jobs without a host too."""
    return Sql(f"NOT coalesce({made.text}, 0)", made.parameters)


def _field(name: str, begins: int) -> tuple[Field, tuple[Any, ...]]:
    """A field, and the parameters that its SQL takes."""
    if name in FIELDS:
        return FIELDS[name], ()
    if name.startswith(METADATA) and len(name) > len(METADATA):
        path = '$."' + name.removeprefix(METADATA) + '"'
        return Field("text", "(j.metadata ->> ?)"), (path,)
    text = "a text to search for goes into q, or on the page into quotes"
    raise BadFilter(f"there is no field {name}; there are {ACCEPTED}; {text}", begins)


def _values(cursor: _Cursor) -> Iterator[Value]:
    while True:
        yield _value(cursor)
        if not cursor.comes("|"):
            return


def _value(cursor: _Cursor) -> Value:
    cursor.skip()
    begins = cursor.place
    quoted = cursor.take(_QUOTED)
    if quoted:
        return Value(re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL), begins)
    plain = cursor.take(_PLAIN)
    _expect_no_term(_NEXT_TERM, cursor, begins)
    if cursor.text.startswith('"', cursor.place):
        raise BadFilter("a quote must begin a value, and needs a closing one", cursor.place)
    return Value(plain[0].rstrip() if plain else "", begins)


def _expect_no_term(pattern: re.Pattern[str], cursor: _Cursor, begins: int) -> None:
    """Between `begins` and the cursor lies a value, in which no other term may begin."""
    found = pattern.search(cursor.text, begins)
    if found and found.start() < cursor.place:
        raise BadFilter(f"a comma between terms is missing, before {found[1]}", found.start(1))


def _pattern(cursor: _Cursor, check: Check) -> Value:
    """A regular expression: in quotes, or up to the next comma that does not stand in its brackets."""
    cursor.skip()
    begins = cursor.place
    quoted = cursor.take(_QUOTED)
    found = quoted[1].replace('\\"', '"') if quoted else _unquoted_pattern(cursor)
    if not found:
        raise BadFilter("a regular expression is expected after =~", begins)
    try:
        check(found)
    except ValueError as error:
        place = begins + bool(quoted) + getattr(error, "position", 0)
        raise BadFilter(f"the regular expression {found}: {error}", place) from None
    return Value(found, begins)


def _unquoted_pattern(cursor: _Cursor) -> str:
    begins = cursor.place
    open_brackets: list[str] = []
    while cursor.place < len(cursor.text):
        letter = cursor.text[cursor.place]
        if letter == "," and not open_brackets:
            break
        if letter == "\\":
            cursor.place += 1
        elif open_brackets[-1:] == [letter]:
            open_brackets.pop()
        elif letter in "([{" and open_brackets[-1:] != ["]"]:
            open_brackets.append({"(": ")", "[": "]", "{": "}"}[letter])
        cursor.place += 1
    cursor.place = min(cursor.place, len(cursor.text))
    _expect_no_term(_NEXT_PATTERN, cursor, begins)
    return cursor.text[begins : cursor.place].rstrip()


def _compared(field: Field, path: tuple[Any, ...], sign: str, values: list[Value], place: int) -> Sql:
    if sign == "=~":
        return _searched(field, path, values[0], place)
    if sign != "=":
        if field.kind not in ("number", "duration") or len(values) > 1:
            raise BadFilter(f"{sign} compares a number or a duration with one other", place)
        return Sql(f"{field.sql} {sign} ?", (*path, _number(field, values[0])))
    alternatives = [_equal(field, path, value) for value in values]
    parameters = tuple(found for alternative in alternatives for found in alternative.parameters)
    return Sql("(" + " OR ".join(alternative.text for alternative in alternatives) + ")", parameters)


def _searched(field: Field, path: tuple[Any, ...], pattern: Value, place: int) -> Sql:
    if field.kind not in ("text", "signature"):
        raise BadFilter("=~ searches text, which this field does not have", place)
    return Sql(f"matches(?, {field.sql})", (pattern.text, *path))


def _equal(field: Field, path: tuple[Any, ...], value: Value) -> Sql:
    if not value.text:
        return Sql(f"coalesce({field.sql}, '') = ''", path)
    if field.kind == "result":
        if value.text not in RESULTS:
            raise BadFilter(f"a result must be one of {', '.join(RESULTS)}, not {value.text}", value.position)
        return Sql(f"{field.sql} = ?", (RESULTS.index(value.text),))
    if field.kind == "signature" and value.text.isascii() and value.text.isdigit() and len(value.text) < 19:
        return Sql("j.signature_id = ?", (int(value.text),))
    if field.kind in ("number", "duration"):
        return Sql(f"{field.sql} = ?", (_number(field, value),))
    return Sql(f"{field.sql} = ?", (*path, value.text))


def _number(field: Field, value: Value) -> float:
    """A number, or the sum of the steps of a duration."""
    units = UNITS[field.kind]
    said = [_NUMBER.fullmatch(step) for step in _STEPS.split(value.text)]
    steps = [(float(step[1]), step[2]) for step in said if step and step[2] in units and (step[2] or len(said) == 1)]
    if len(steps) < len(said):
        raise BadFilter(f"{NUMBERS[field.kind]} is expected, not {value.text or 'nothing'}", value.position)
    return sum(number * units[unit] for number, unit in steps)
