"""Regular expressions whose search takes time in proportion to the text, whatever the pattern.

Python's own `re` goes back and tries again: against `(a+)+$` thirty characters can take an hour, and nobody can stop it
meanwhile. A filter comes from whoever may read, so it is searched by a machine that reads each character once: the
pattern becomes a nondeterministic automaton (Thompson's construction), and the sets of states that a text leads to are
remembered as they come up.

The notation is that of RE2 as far as it goes: literals, `.`, `[a-z]`, `[^…]`, `\\d \\w \\s \\D \\W \\S`,
`\\t \\n \\r`, `^`, `$`, groups `(…)` and `(?:…)`, `|`, `*`, `+`, `?`, `{m}`, `{m,}`, `{m,n}` (with a `?` behind, which
makes no difference to whether something is found), and `(?i)` at the front for letters of any case. `^` and `$` stand
for the ends of the whole text; `.` is any character but the end of a line. What needs going back, `\\1` and `(?=…)`, is
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

PATTERN_MOST = 500  # characters of a pattern


NODES_MOST = 500  # of its automaton, after repetitions are written out: the work for one character at worst


STATES_MOST = 1000  # sets remembered; beyond that they are forgotten and found again


TEXT_MOST = 4000  # characters of a text that are looked at


DEEPEST = 50  # groups in groups


CharTest = Callable[[str], bool]


class BadPattern(ValueError):
    """What is wrong with a pattern, and the place in it, counted from 0."""

    def __init__(self, detail: str, position: int) -> None:
        super().__init__(detail)
        self.position = position


class Node(NamedTuple):
    """A state of the automaton: `test` reads a character; without one, `kind` is split, start, end or match."""

    kind: str
    following: tuple[int, ...]
    test: CharTest | None = None


# A parsed pattern is a tree of tuples: ("char", test), ("start",), ("end",), ("all", trees), ("any", trees),
# ("repeat", tree, least, most or None).
Tree = tuple[Any, ...]


_CLASSES: dict[str, CharTest] = {
    "d": lambda letter: "0" <= letter <= "9",
    "w": lambda letter: letter.isalnum() or letter == "_",
    "s": str.isspace,
}


_NAMED = {"t": "\t", "n": "\n", "r": "\r"}


class _Reader:
    """Reads a pattern, once, from left to right."""

    def __init__(self, text: str) -> None:
        if len(text) > PATTERN_MOST:
            raise BadPattern(f"a pattern must have {PATTERN_MOST} characters at most", PATTERN_MOST)
        self.text = text
        self.any_case = text.startswith("(?i)")
        self.place = 4 if self.any_case else 0
        self.depth = 0

    def whole(self) -> Tree:
        tree = self.choice()
        if self.place < len(self.text):
            raise BadPattern("a ) without its (", self.place)
        return tree

    def choice(self) -> Tree:
        branches = [self.sequence()]
        while self.take("|"):
            branches.append(self.sequence())
        return branches[0] if len(branches) == 1 else ("any", branches)

    def sequence(self) -> Tree:
        parts = []
        while self.place < len(self.text) and self.text[self.place] not in "|)":
            parts.append(self.repeated(self.atom()))
        return ("all", parts)

    def take(self, text: str) -> bool:
        if self.text.startswith(text, self.place):
            self.place += len(text)
            return True
        return False

    def atom(self) -> Tree:
        begins, letter = self.place, self.text[self.place]
        self.place += 1
        if letter == "(":
            return self.group(begins)
        if letter == "[":
            return ("char", self.bracket(begins))
        if letter in "*+?":
            raise BadPattern(f"there is nothing before {letter} to repeat", begins)
        if letter == "\\":
            return ("char", self.cased(self.escaped(begins)))
        if letter in "^$":
            return ("start",) if letter == "^" else ("end",)
        return ("char", (lambda read: read != "\n") if letter == "." else self.cased(_is(letter)))

    def group(self, begins: int) -> Tree:
        if self.take("?") and not self.take(":"):
            raise BadPattern("of the groups with (? only (?:…) is supported, and (?i) at the beginning", begins)
        self.depth += 1
        if self.depth > DEEPEST:
            raise BadPattern(f"groups must not be nested more than {DEEPEST} deep", begins)
        tree = self.choice()
        self.depth -= 1
        if not self.take(")"):
            raise BadPattern("a ( without its )", begins)
        return tree

    def escaped(self, begins: int) -> CharTest:
        if self.place == len(self.text):
            raise BadPattern("a \\ with nothing after it", begins)
        letter = self.text[self.place]
        self.place += 1
        if letter.lower() in _CLASSES:
            known = _CLASSES[letter.lower()]
            return known if letter.islower() else _not(known)
        if letter.isalnum() and letter not in _NAMED:
            raise BadPattern(f"\\{letter} is not supported", begins)
        return _is(_NAMED.get(letter, letter))

    def bracket(self, begins: int) -> CharTest:
        negated = self.take("^")
        tests: list[CharTest] = []
        while not (tests and self.take("]")):
            if self.place >= len(self.text):
                raise BadPattern("a [ without its ]", begins)
            tests.append(self.member())
        found = self.cased(lambda letter: any(test(letter) for test in tests))
        return _not(found) if negated else found

    def member(self) -> CharTest:
        """One character, class or range inside of [ ]."""
        begins, low = self.place, self.text[self.place]
        self.place += 1
        if low == "\\":
            escaped = self.escaped(begins)
            low = self.text[self.place - 1]
            if low.lower() in _CLASSES or low in _NAMED:
                return escaped
        upper = self.text[self.place + 1 : self.place + 2]
        if not self.text.startswith("-", self.place) or upper in ("", "]"):
            return _is(low)
        self.place += 2
        if upper == "\\":
            upper = self.text[self.place : self.place + 1]
            self.place += 1
        if not upper or upper < low:
            raise BadPattern("a range ends before it begins", begins)
        return lambda letter: low <= letter <= upper

    def repeated(self, tree: Tree) -> Tree:
        while self.place < len(self.text):
            begins, letter = self.place, self.text[self.place]
            if letter in "*+?":
                self.place += 1
                least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[letter]
            elif letter == "{":
                least, most = self.counts(begins)
            else:
                break
            self.take("?")
            tree = ("repeat", tree, least, most)
        return tree

    def counts(self, begins: int) -> tuple[int, int | None]:
        ends = self.text.find("}", begins)
        low, comma, high = self.text[begins + 1 : ends].partition(",")
        numbers = [low, high] if high else [low]
        if ends < 0 or not all(number.isascii() and number.isdigit() and len(number) < 4 for number in numbers):
            raise BadPattern("a repetition must be {m}, {m,} or {m,n}", begins)
        self.place = ends + 1
        least, most = int(low), int(high) if high else None if comma else int(low)
        if most is not None and most < least:
            raise BadPattern("a repetition ends before it begins", begins)
        return least, most

    def cased(self, test: CharTest) -> CharTest:
        if not self.any_case:
            return test
        return lambda letter: test(letter) or test(letter.lower()) or test(letter.upper())


def _is(wanted: str) -> CharTest:
    return lambda letter: letter == wanted


def _not(test: CharTest) -> CharTest:
    return lambda letter: not test(letter)


class _Builder:
    """Writes the automaton of a tree, from its end to its beginning."""

    def __init__(self) -> None:
        self.nodes: list[Node] = [Node("match", ())]

    def add(self, kind: str, following: tuple[int, ...], test: CharTest | None = None) -> int:
        if len(self.nodes) >= NODES_MOST:
            raise BadPattern("the pattern is too large with its repetitions written out", 0)
        self.nodes.append(Node(kind, following, test))
        return len(self.nodes) - 1

    def build(self, tree: Tree, following: int) -> int:
        """The node at which `tree` begins, when it goes on at `following`."""
        kind, *parts = tree
        if kind == "all":
            for part in reversed(parts[0]):
                following = self.build(part, following)
            return following
        if kind == "any":
            return self.add("split", tuple(self.build(part, following) for part in parts[0]))
        if kind == "repeat":
            inner, least, most = parts
            return self.repeat(inner, least, most, following)
        return self.add(str(kind), (following,), *parts)

    def repeat(self, tree: Tree, least: int, most: int | None, following: int) -> int:
        if most is None:
            loop = self.add("split", ())
            begins = self.build(tree, loop)
            self.nodes[loop] = Node("split", (begins, following))
            following = loop
        else:
            after = following
            for _ in range(most - least):
                following = self.add("split", (self.build(tree, following), after))
        for _ in range(least):
            following = self.build(tree, following)
        return following


class State:
    """A set of nodes that a text leads to: where each character goes from here, as far as that came up."""

    __slots__ = ("following", "found", "found_at_end", "nodes")

    def __init__(self, nodes: frozenset[int], found: bool, found_at_end: bool) -> None:
        self.nodes = nodes
        self.found = found
        self.found_at_end = found_at_end
        self.following: dict[str, State] = {}


class Pattern:
    """A pattern to be searched for. Raises BadPattern."""

    def __init__(self, text: str) -> None:
        builder = _Builder()
        self.begins = builder.build(_Reader(text).whole(), 0)
        self.nodes: Sequence[Node] = builder.nodes
        self.states: dict[frozenset[int], State] = {}
        begins = self._reached([self.begins], at_start=True)
        self.first = State(begins, 0 in begins, 0 in self._reached([self.begins], at_start=True, at_end=True))

    def is_in(self, text: str) -> bool:
        """Does the pattern occur in a text (its first TEXT_MOST characters)?"""
        state = self.first
        for letter in text[:TEXT_MOST]:
            if state.found:
                return True
            state = state.following.get(letter) or self._step(state, letter)
        return state.found_at_end

    def _step(self, state: State, letter: str) -> State:
        passed: list[int] = []
        for number in state.nodes:
            node = self.nodes[number]
            if node.test is not None and node.test(letter):
                passed += node.following
        following = state.following[letter] = self._state(self._reached([self.begins, *passed]))
        return following

    def _state(self, nodes: frozenset[int]) -> State:
        known = self.states.get(nodes)
        if known is None:
            if len(self.states) >= STATES_MOST:
                for state in list(self.states.values()):
                    state.following.clear()
                self.states.clear()
            known = self.states[nodes] = State(nodes, 0 in nodes, 0 in self._reached(nodes, at_end=True))
        return known

    def _reached(self, begins: Iterable[int], *, at_start: bool = False, at_end: bool = False) -> frozenset[int]:
        """All nodes that can be reached without reading a character."""
        reached = set(begins)
        waiting = list(reached)
        while waiting:
            node = self.nodes[waiting.pop()]
            if node.kind == "split" or (node.kind == "start" and at_start) or (node.kind == "end" and at_end):
                new = set(node.following) - reached
                reached |= new
                waiting += new
        return frozenset(reached)


compiled = lru_cache(maxsize=64)(Pattern)


def matches(pattern: str, value: object) -> bool:
    """The function of the same name in SQL: does the pattern occur in a value? Not in what is missing or no text."""
    if value is None or isinstance(value, bytes):
        return False
    return compiled(pattern).is_in(str(value))
