"""From a fail message to the title of its signature.

Jobs that failed for one reason write lines that differ in times, values, instances and places in the source. A
title is the first line without these; equal titles of one category are one signature. The rules follow the public
administration guide of Simscope (its pages on signatures, bucketizing and bucket overflow):

    [core] FATAL simulation timeout at 5.2ms                      core FATAL simulation timeout at ...
    |t.cpu.core0.fs7| store buffer: expected=24'h16a7             [HIER].fs_ store buffer expected ...
    UVM_ERROR tb/sb.sv(88) @ 1200 ns: top.env.sb [SCBD] got 0x34  UVM_ERROR ... [HIER].sb SCBD got ...
    lane {{3}} saw <<ld x7, 8(sp)>> twice                         lane 3 saw twice

    number, time           "..."; several in a row are one
    dotted hierarchy       "[HIER]." and its last name without index; digits at the end of that name become "_"
    file name, path        dropped, with the line number that follows it
    {{text}}, <<text>>     kept as it is; dropped
    word                   kept, with its digits: a word that varies is for its author to put between << and >>
    any other symbol       dropped

The guide is not settled on the last name: one example makes "fs_" of fs7, another leaves scoreboard0. Here instances
fall together: which of sixteen lanes failed first says little about why. The guide's example also shows "..." for a
path and the braces of {{2}}; here neither is shown.

What these rules cannot know: a pair of shifts, `a << 2 | b >> 1`, looks like an ignore region; a sentence without a
blank after its full stop, "failed.Aborting", looks like a hierarchy; a number glued to letters is part of a word,
as in scripts that write no blanks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

# More than 25 brand-new signatures in one regression mean messages with words that vary: the guide stops there.
OVERFLOW_TITLE = "Regression Bucket Overflow"
OVERFLOW_AFTER = 25

# Characters of a title. The title is part of an index key, and SQLite (file format, b-tree pages of 4 KiB) keeps keys
# of up to 1,002 bytes inside the page: 300 characters of three bytes leave room for the category.
TITLE_LIMIT = 300

# Characters of a line that are looked at. Enough to fill a title many times over; it bounds the work when a message
# is one line of 100 kB.
READ_LIMIT = 2000
NO_MESSAGE = "(no message)"
NO_WORDS = "(no words)"  # a line of symbols and paths alone
VALUE = "..."
HIERARCHY = "[HIER]."
_DIGITS = "0123456789"
_WORDS = frozenset({"plain", "word"})
_VALUES = frozenset({"time", "number", "hex"})  # the tokens that a title shows as "..."
_FIRST_LINE = re.compile(r"\S[^\r\n]*")

# One token each. What lies between two matches is blanks and symbols.
#
# Each character is read a fixed number of times, however hostile the line, because every long repetition is possessive
# (`++`), and what can fail after a long repetition is either tried only where its run of characters begins (path,
# file), stops at the next place where it would be tried (<<, {{), or is bounded (10h30m). Keep that in a new rule.
#
# The order matters: a file before a hierarchy (fifo.sv), a hierarchy before bare hex (ab12cd.q), a word last. The
# first two rules only save time: most characters begin no token, most words are plain.
_PATH_CHAR = r"[\w.+~@-]"
_STEM = r"[\w+~@-]++(?:\.[\w+~@-]++)*?\."  # up to the ending of a file name
_SOURCE = r"(?:svh?|vhdl?|vh|vams|cc|cpp|hpp|py|tcl|ya?ml|json|xml|csv|txt)"  # a file wherever it stands
_OTHER = r"(?:[vche]|vp|sva|inc|do|mk|pl|rs|scala)"  # a signal's name too: only with a folder or a line
_DATA = r"(?:log|mem|hex|bin|cfg|so)"  # only with a folder: mem(3) is an element
_LINE = r"""(?:[:,]\d[\d.:|-]*+|\(\d[\d.,:-]*+\)|["'],\ ?\d++)"""  # x.sv:12:5  x.sv,12  x.sv(12)  "x.sv", 12
_TIME_UNIT = r"(?:[fpnuµμm]?s|[FPNUM]S)"
_UNIT = rf"(?:{_TIME_UNIT}|mins?|secs?|hrs?|[hmd]|[kKMGT]?i?[bB]|[kKMG]|[kMG]?[hH]z|m?V|st|nd|rd|th)(?![^\W\d])"
_UUID = r"[\da-fA-F]{8}-(?:[\da-fA-F]{4}-){3}[\da-fA-F]{12}"
_INDEX = r"[\w:'+*-]"

_TOKEN = re.compile(
    rf"""
    (?=[\w<\x1b{{./~('+@-]) (?:
      (?P<plain>   [A-Za-z][A-Za-z_]++ (?=[\s:=,;)\]] | \Z) )
    | (?P<ignore>  <<(?!<) (?: [^<>] | <(?!<) | >(?!>) )*+ >>
                 | \x1b \[ [\d;]*+ [A-Za-z] )                                    # a colour of the terminal
    | (?P<keep>    \{{\{{(?!\{{) (?: [^{{}}] | \{{(?!\{{) | \}}(?!\}}) )*+ \}}\}} )
    | (?P<path>    (?<![\w./]) (?: (?: \.\.?+ | ~\w*+ ) (?: /{_PATH_CHAR}++ )++  # ./run  ../x.sv  ~me/x.sv
                                 | (?: /{_PATH_CHAR}++ ){{2,}}+                  # /a/b, but not the s of 5 MB /s
                                 | [A-Za-z]: (?: [\\/]{_PATH_CHAR}++ )++ ) {_LINE}?+ )
    | (?P<file>    (?<!{_PATH_CHAR})(?<!/)
                   (?: (?: {_PATH_CHAR}++/ )++ {_STEM} (?: {_SOURCE} | {_OTHER} | {_DATA} ) (?!\.?\w) {_LINE}?+
                     | {_STEM} (?: {_SOURCE}(?!\.?\w) {_LINE}?+ | {_OTHER}{_LINE} ) ) )
    | (?P<time>    \( [Tt][Ii][Mm][Ee]:?\ ?\d[\d.]*+\ ?{_TIME_UNIT}? \)          # (time 5 PS)
                 | \d{{4}}-\d\d-\d\dT[\d:.]*+ (?: Z | [+-]\d\d:?\d\d )? )
    | (?P<number>  (?: {_UUID}
                     | \d[\d_]*+ '[sS]?[bodhBODH][\da-fA-FxXzZ?_]++              # 24'hX11X
                     | 0[xX][\da-fA-FxXzZ_]++
                     | (?: \d++ (?: \.\d++ )? {_UNIT} ){{1,4}}+                   # 5.2ms  10h30m
                     | \d[\d_]*+ (?: \.\d++ )? (?: [eE][+-]?\d++ )? (?: \ ?{_TIME_UNIT} )?
                     | \d[\da-fA-FxXzZ]{{3,}}+ ) (?!\w)
                 | '[sS]?(?: [bB][01xXzZ?_]++ | [oO][0-7xXzZ?_]++ | [dD][\d_]++
                           | [hH][\da-fA-FxXzZ?_]++ ) (?![\w']) )                # 'h1f, but not the quoted 'head'
    | (?P<hier>    [^\W\d]\w*+ (?: (?: \[{_INDEX}*+\] )*+ \.[^\W\d]\w*+ )++ (?: \[\d{_INDEX}*+\] )*+ )
    | (?P<hex>     (?=[\da-fA-F]{{4,}}+(?!\w)) [a-fA-F]++\d++ (?: [a-fA-F] | (?<=\w{{8}}) ) \w*+
                 | _++\d[\d_]*+ (?!\w) )
    | (?P<word>    _*+[^\W_]\w*+ (?: '[A-Za-z]{{1,2}}+(?!\w) )?+ )
    | (?P<symbol>  _++ )
    )""",
    re.VERBOSE,
)


def title_of(fail_message: str | None, bucket: str | None = None) -> str:
    """The signature title of a job: its `bucket` if it names one, else made from the first line of its message.

    Never empty, never longer than TITLE_LIMIT; no blanks at its ends or in a row.
    """
    if bucket and not bucket.isspace():
        return _fit(bucket)
    line = first_line(fail_message or "")
    return _fit(" ".join(_shown(line))) or (NO_WORDS if line else NO_MESSAGE)


def explain(fail_message: str) -> list[tuple[str, bool]]:
    """The first line in pieces; True marks what the title leaves out or replaces. Joined they are the line.

    That a long title is cut at TITLE_LIMIT is not marked.
    """
    pieces = (piece for piece in _pieces(first_line(fail_message)) if piece[0])
    return [("".join(text for text, _ in run), erased) for erased, run in groupby(pieces, key=itemgetter(1))]


def first_line(message: str) -> str:
    """The first line that is not blank, without its indent; empty if there is none."""
    match = _FIRST_LINE.search(message)
    return match[0] if match else ""


def _fit(title: str) -> str:
    return " ".join(title.split())[:TITLE_LIMIT].rstrip()


def _shown(line: str) -> list[str]:
    """The title, word by word."""
    shown: list[str] = []
    for token in _TOKEN.finditer(line, 0, READ_LIMIT):
        if token.lastgroup in _WORDS:
            shown.append(token[0])
        elif token.lastgroup in _VALUES:
            if shown[-1:] != [VALUE]:
                shown.append(VALUE)
        else:
            _, kept, after = _split(token)
            if token.lastgroup == "hier":
                kept = HIERARCHY + (kept.rstrip("_") + "_" if after[:1].isdecimal() else kept)
            if kept:
                shown.append(kept)
    return shown


def _pieces(line: str) -> Iterator[tuple[str, bool]]:
    """Text and whether it is erased, for each token and each gap; the text may be empty."""
    end = 0
    for token in _TOKEN.finditer(line, 0, READ_LIMIT):
        before, kept, after = _split(token)
        yield _gap(line[end : token.start()])
        yield before, True
        yield kept, False
        yield after, True
        end = token.end()
    yield _gap(line[end:])


def _gap(text: str) -> tuple[str, bool]:
    """Blanks alone are no loss, symbols are; so is what lies beyond READ_LIMIT."""
    return text, not text.isspace()


def _split(token: re.Match[str]) -> tuple[str, str, str]:
    """A token as erased, kept, erased text."""
    text = token[0]
    match token.lastgroup:
        case "plain" | "word":
            return "", text, ""
        case "hier":
            return _split_hierarchy(text)
        case "keep":
            return text[:2], text[2:-2], text[-2:]
        case _:
            return text, "", ""


def _split_hierarchy(text: str) -> tuple[str, str, str]:
    """`top.agent[3].fifo12[0]` as `top.agent[3].`, `fifo`, `12[0]`."""
    leaf = text.rindex(".") + 1
    stem = text[leaf:].partition("[")[0].rstrip(_DIGITS)
    return text[:leaf], stem, text[leaf + len(stem) :]
