"""What can be changed in a source file, one spot at a time, so that a good test notices.

Not run by itself; `mutants.py` picks from what is found here. Text comes in, changes of that text come out: nothing is
read, run or written. Python is taken apart by `ast`, JavaScript by a small tokenizer of our own, which changes nothing
inside strings, templates and comments. Left alone are docstrings, annotations, calls of the log, what runs only as a
script or for a type checker, and expressions within an f-string, whose places Python 3.11 does not tell.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple


class Change(NamedTuple):
    """text[start:end] becomes `new`; `told` says so in words."""

    kind: str
    start: int
    end: int
    new: str
    told: str

    def made(self, text: str) -> str:
        return text[: self.start] + self.new + text[self.end :]


def python_changes(text: str, optional: Definitions) -> list[Change]:
    """All changes of a Python file, in the order of the text. `optional` is what `optional_parameters` found."""
    found = {change[1:4]: change for change in reversed([*Python(text, optional).changes()])}
    return sorted(found.values(), key=lambda change: change[1:4])


def still_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


# Python: which arguments can be left out.

# name -> of each of its definitions: the positional parameters, and those that have a default
Definitions = dict[str, list[tuple[list[str], set[str]]]]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def optional_parameters(texts: Iterable[str]) -> Definitions:
    """The parameters of all functions and classes that are defined in these files, by the name of the function."""
    found: Definitions = {}
    for text in texts:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Function):
                found.setdefault(node.name, []).append(_parameters(node.args))
            elif isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(([], _fields_with_default(node)))
    return found


def _parameters(args: ast.arguments) -> tuple[list[str], set[str]]:
    places = [arg.arg for arg in (*args.posonlyargs, *args.args)]
    optional = set(places[len(places) - len(args.defaults) :])
    optional |= {arg.arg for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default}
    return [name for name in places if name not in ("self", "cls")], optional


def _fields_with_default(node: ast.ClassDef) -> set[str]:
    fields = (part for part in node.body if isinstance(part, ast.AnnAssign) and part.value)
    return {part.target.id for part in fields if isinstance(part.target, ast.Name)}


# Python: what can be changed at a node.

SWAPS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: (r"is\s+not", "is"), ast.In: ("in", "not in"),
    ast.NotIn: (r"not\s+in", "in"),
}  # fmt: skip
# Without these a function is another thing, or only slower.
STRUCTURAL = (
    "property setter staticmethod classmethod overload contextmanager asynccontextmanager dataclass middleware "
    "cache lru_cache cached_property"
).split()
FOR_HELP = ("help", "metavar", "description", "epilog")


class Python:
    """Finds the changes of one file."""

    def __init__(self, text: str, optional: Definitions) -> None:
        self.text = text
        self.optional = optional
        self.tree = ast.parse(text)
        self.begins = [0]
        for line in text.split("\n"):
            self.begins.append(self.begins[-1] + len(line) + 1)
        self.droppable = _droppable_assignments(self.tree)

    def changes(self) -> Iterator[Change]:
        finders: dict[type[ast.AST], Callable[[Any], Iterator[Change]]] = {
            ast.Compare: self._comparison,
            ast.BoolOp: self._boolean,
            ast.UnaryOp: self._negation,
            ast.If: self._condition,
            ast.While: self._condition,
            ast.IfExp: self._condition,
            ast.comprehension: self._filters,
            ast.Constant: self._constant,
            ast.JoinedStr: self._sql,
            ast.Expr: self._call,
            ast.Assign: self._assignment,
            ast.AugAssign: self._assignment,
            ast.AnnAssign: self._assignment,
            ast.Raise: self._statement,
            ast.Continue: self._statement,
            ast.Return: self._return,
            ast.Call: self._arguments,
            ast.FunctionDef: self._decorators,
            ast.AsyncFunctionDef: self._decorators,
            ast.With: self._with,
            ast.AsyncWith: self._with,
        }
        for node in _alive(self.tree):
            if finder := finders.get(type(node)):
                yield from finder(node)

    def _comparison(self, node: ast.Compare) -> Iterator[Change]:
        sides = [node.left, *node.comparators]
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            old, new = SWAPS[type(operator)]
            if found := self._between(left, right, old):
                yield self._swap("comparison", found, new)

    def _boolean(self, node: ast.BoolOp) -> Iterator[Change]:
        old, new, neutral = ("and", "or", "True") if isinstance(node.op, ast.And) else ("or", "and", "False")
        for left, right in zip(node.values, node.values[1:], strict=False):
            if found := self._between(left, right, old):
                yield self._swap("boolean", found, new)
        for value in node.values:
            yield self._replace("operand", value, neutral, f"{self._short(value)} of `{old}` is {neutral}")

    def _negation(self, node: ast.UnaryOp) -> Iterator[Change]:
        if isinstance(node.op, ast.Not):
            start = self._start(node)
            end = start + len("not") + len(re.match(r"\s*", self.text[start + 3 :])[0])  # type: ignore[index]
            yield Change("negation", start, end, "", "`not` is dropped")

    def _condition(self, node: ast.If | ast.While | ast.IfExp) -> Iterator[Change]:
        values = ("False",) if isinstance(node, ast.While) else ("True", "False")
        yield from self._always(node.test, values)

    def _filters(self, node: ast.comprehension) -> Iterator[Change]:
        for test in node.ifs:
            yield from self._always(test, ("True", "False"))

    def _always(self, test: ast.expr, values: Iterable[str]) -> Iterator[Change]:
        if not any(isinstance(part, ast.NamedExpr) for part in ast.walk(test)):
            for value in values:
                yield self._replace("condition", test, value, f"the condition {self._short(test)} is {value}")

    def _constant(self, node: ast.Constant) -> Iterator[Change]:
        if isinstance(node.value, str):
            yield from self._sql(node)
        elif isinstance(node.value, bool):
            yield self._replace("constant", node, str(not node.value), f"{node.value} becomes {not node.value}")
        elif isinstance(node.value, int | float):
            for value in (node.value + 1, node.value - 1):
                yield self._replace("constant", node, repr(value), f"{self._short(node)} becomes {value!r}")

    def _sql(self, node: ast.expr) -> Iterator[Change]:
        start, end = self._span(node)
        yield from sql_changes(self.text, start, end)

    def _call(self, node: ast.Expr) -> Iterator[Change]:
        if isinstance(node.value, ast.Call | ast.Await):
            yield from self._statement(node)

    def _assignment(self, node: ast.stmt) -> Iterator[Change]:
        if node in self.droppable:
            yield from self._statement(node)

    def _statement(self, node: ast.stmt) -> Iterator[Change]:
        yield self._replace("statement", node, "pass", f"{self._short(node)} is dropped")

    def _return(self, node: ast.Return) -> Iterator[Change]:
        if node.value and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield self._replace("statement", node.value, "None", f"{self._short(node)} becomes `return None`")

    def _arguments(self, node: ast.Call) -> Iterator[Change]:
        known = self.optional.get(_last_name(node.func), [])
        for keyword in node.keywords:
            if keyword.arg and keyword.arg not in FOR_HELP and all(keyword.arg in optional for _, optional in known):
                yield self._drop_argument(keyword)
        if len(known) == 1 and self._last_is_optional(node, *known[0]):
            yield self._drop_argument(node.args[-1])

    def _last_is_optional(self, node: ast.Call, places: list[str], optional: set[str]) -> bool:
        """Whether the last positional argument can go: it has a default, and one before it, and no parentheses."""
        if not 1 < len(node.args) <= len(places) or places[len(node.args) - 1] not in optional:
            return False
        return self.text[: self._start(node.args[-1])].rstrip().endswith(",")

    def _drop_argument(self, node: ast.expr | ast.keyword) -> Change:
        start, end = self._span(node)
        if comma := re.compile(r"\s*,\s*").match(self.text, end):
            end = comma.end()
        return Change("argument", start, end, "", f"the argument {self._short(node)} is dropped")

    def _decorators(self, node: Function) -> Iterator[Change]:
        for decorator in node.decorator_list:
            if _last_name(decorator) not in STRUCTURAL:
                start, end = self._span(decorator)
                at = self.text.rindex("@", 0, start)
                yield Change("decorator", at, end, "", f"the decorator {self._short(decorator)} is dropped")

    def _with(self, node: ast.With | ast.AsyncWith) -> Iterator[Change]:
        if not any(item.optional_vars for item in node.items):
            start, last = self._start(node), node.items[-1].context_expr
            colon = re.compile(r"[\s),]*(?=:)").match(self.text, self._span(last)[1])
            if colon:
                told = f"without {_shortened(self.text[start : colon.end()])}"
                yield Change("with", start, colon.end(), "if True", told)

    # Places.

    def _start(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        return self._offset(node.lineno, node.col_offset)

    def _span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self._start(node), self._offset(node.end_lineno, node.end_col_offset)

    def _offset(self, line: int, column: int) -> int:
        """`ast` counts columns in bytes."""
        start = self.begins[line - 1]
        return start + len(self.text[start : self.begins[line]].encode()[:column].decode())

    def _between(self, left: ast.expr, right: ast.expr, operator: str) -> tuple[int, int] | None:
        """Where the operator stands between two operands, either of which may be in parentheses."""
        start, end = self._span(left)[1], self._start(right)
        found = re.compile(rf"[\s)]*({operator})").match(self.text, start, end)
        return found.span(1) if found else None

    def _swap(self, kind: str, span: tuple[int, int], new: str) -> Change:
        return Change(kind, *span, new, f"`{self.text[slice(*span)]}` becomes `{new}`")

    def _replace(self, kind: str, node: ast.expr | ast.stmt, new: str, told: str) -> Change:
        return Change(kind, *self._span(node), new, told)

    def _short(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        return _shortened(self.text[slice(*self._span(node))])


def _alive(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it that may be changed."""
    if _spared(node):
        return
    yield node
    if isinstance(node, ast.JoinedStr):
        return
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _alive(child)


def _spared(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "logger" | "logging")))):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Compare(left=ast.Name(id="__name__"))):
            return True
    return False


def _droppable_assignments(tree: ast.AST) -> set[ast.stmt]:
    """Those without which each name still has a value: of attributes and items, and of names that have another one."""
    found: set[ast.stmt] = set()
    for function in ast.walk(tree):
        if isinstance(function, Function):
            own = [*_own(function)]
            bound = Counter(node.id for node in own if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
            bound.update(node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg))
            found.update(node for node in own if isinstance(node, ast.stmt) and _has_another(node, bound))
    return found


def _own(function: ast.AST) -> Iterator[ast.AST]:
    """What is in a function and not in a function or class inside it."""
    for child in ast.iter_child_nodes(function):
        yield child
        if not isinstance(child, Function | ast.ClassDef | ast.Lambda):
            yield from _own(child)


def _has_another(node: ast.stmt, bound: Counter[str]) -> bool:
    if isinstance(node, ast.AugAssign):
        return True
    if isinstance(node, ast.AnnAssign):
        return node.value is not None and not isinstance(node.target, ast.Name)
    if not isinstance(node, ast.Assign):
        return False
    names = [part for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    return all(bound[part.id] > 1 for part in names if isinstance(part.ctx, ast.Store))


def _last_name(node: ast.expr) -> str:
    """`f` of f, a.f, f(…) and a.f(…)."""
    if isinstance(node, ast.Call):
        return _last_name(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _shortened(source: str) -> str:
    line = " ".join(source.split())
    return f"`{line if len(line) <= 60 else line[:57] + '...'}`"


# SQL inside strings.

SQL = re.compile(
    r"\b(SELECT|INSERT (OR \w+ )?INTO|UPDATE \w+ SET|DELETE FROM|FROM \w+|WHERE|ORDER BY|IS NULL|IS NOT NULL|LIMIT)\b"
)
SQL_CHANGES = tuple(
    (re.compile(old), new)
    for old, new in (
        (r"\bORDER BY [^\"')\n]*?(?=\s*(?:\bLIMIT\b|[\"')\n]))", ""),
        (r"(?<= )<(?= )", "<="),
        (r"(?<= )<=(?= )", "<"),
        (r"(?<= )>(?= )", ">="),
        (r"(?<= )>=(?= )", ">"),
        (r"(?<= )<>(?= )", "="),
        (r"(?:(?<=WHERE )|(?<=AND )|(?<=OR )|(?<=ON )|(?<=WHEN ))(?P<keep>[\w.]+ )=(?= )", r"\g<keep><>"),
        (r"\bAND\b", "OR"),
        (r"\bOR\b(?! (?:IGNORE|REPLACE))", "AND"),
        (r"\bOR (?:IGNORE|REPLACE) ", ""),
        (r"\bIS NOT NULL\b", "IS NULL"),
        (r"\bIS NULL\b", "IS NOT NULL"),
        (r"\bNOT (?=EXISTS|IN\b)", ""),
        (r" DESC\b", ""),
        (r"\bDISTINCT ", ""),
        (r"\bLEFT (?=JOIN)", ""),
        (r"\bmin\(", "max("),
        (r"\bmax\(", "min("),
        (r"\bUNION ALL\b", "UNION"),
    )
)


def sql_changes(text: str, start: int, end: int) -> Iterator[Change]:
    """The changes of a string literal that holds SQL."""
    if SQL.search(text, start, end):
        for old, new in SQL_CHANGES:
            for found in old.finditer(text, start, end):
                now = found.expand(new)
                told = f"SQL `{found[0].strip()}` becomes `{now}`" if now else f"SQL `{found[0].strip()}` is dropped"
                yield Change("SQL", *found.span(), now, told)


# JavaScript.

JS_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    |(?P<number>0[xX][\da-fA-F]+|(?:\d[\d_]*)?\.?\d[\d_]*(?:e[+-]?\d+)?)|(?P<word>[\w$\#]+)
    |(?P<mark>===|!==|=>|<=|>=|==|!=|&&=|\|\|=|\?\?=|&&|\|\||\?\?|\?\.|\+\+|--|\+=|-=|\.\.\.|.)""",
    re.VERBOSE | re.DOTALL,
)
JS_REGEX = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/\w*")
JS_SWAPS = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "===": "!==", "!==": "===", "==": "!=", "!=": "==", "&&": "||",
    "||": "&&", "true": "false", "false": "true",
}  # fmt: skip
JS_KINDS = {"&&": "boolean", "||": "boolean", "true": "constant", "false": "constant"}
JS_OPENS, JS_CLOSES = "([{", ")]}"
JS_BEFORE_VALUE = {"return", "typeof", "case", "in", "of", "yield", "await", "void", "delete", "else"}
JS_DECLARES = set(
    "const let var import from export if for while do switch case default function class else async".split()
)


class Token(NamedTuple):
    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def javascript_changes(text: str) -> list[Change]:
    """All changes of a JavaScript file, in the order of the text."""
    tokens = [token for token in javascript_tokens(text) if token.kind not in ("space", "comment")]
    found = [change for index in range(len(tokens)) for change in _js_changes(text, tokens, index)]
    return sorted(found, key=lambda change: change[1:4])


def javascript_tokens(text: str) -> Iterator[Token]:
    """Templates and regular expressions are one token each, of the kind string."""
    at, before = 0, Token("mark", ";", 0)
    while at < len(text):
        token = _token_at(text, at, before)
        yield token
        at = token.end
        before = before if token.kind in ("space", "comment") else token


def _token_at(text: str, at: int, before: Token) -> Token:
    if text[at] == "`":
        return Token("string", text[at : _template_end(text, at + 1)], at)
    if text[at] == "/" and text[at + 1] not in "/*" and _begins_value(before) and (found := JS_REGEX.match(text, at)):
        return Token("string", found[0], at)
    token = JS_TOKEN.match(text, at)
    assert token is not None and token.lastgroup is not None
    return Token(token.lastgroup, token[0], at)


def _begins_value(before: Token) -> bool:
    """Whether a slash after this token begins a regular expression; otherwise it divides."""
    if before.kind == "word":
        return before.text in JS_BEFORE_VALUE
    return before.kind == "mark" and before.text not in (")", "]", "}")


def _template_end(text: str, at: int) -> int:
    """The end of a template whose first backquote is before `at`."""
    while text[at] != "`":
        if text.startswith("${", at):
            at = _substitution_end(text, at + 2)
        else:
            at += 2 if text[at] == "\\" else 1
    return at + 1


def _substitution_end(text: str, at: int) -> int:
    depth, before = 1, Token("mark", "(", at)
    while depth:
        token = _token_at(text, at, before)
        depth += (token.text == "{") - (token.text == "}")
        at, before = token.end, token
    return at


def _js_changes(text: str, tokens: list[Token], index: int) -> Iterator[Change]:
    token = tokens[index]
    if token.kind in ("mark", "word") and token.text in JS_SWAPS:
        new = JS_SWAPS[token.text]
        kind = JS_KINDS.get(token.text, "comparison")
        yield Change(kind, token.start, token.end, new, f"`{token.text}` becomes `{new}`")
    elif token.kind == "number" and re.fullmatch(r"[\d_]+(\.\d+)?", token.text):
        value = float(token.text) if "." in token.text else int(token.text)
        for now in (value + 1, value - 1):
            yield Change("constant", token.start, token.end, repr(now), f"`{token.text}` becomes {now!r}")
    elif (token.kind, token.text) == ("mark", "!"):
        yield Change("negation", token.start, token.end, "", "`!` is dropped")
    elif (token.kind, token.text) == ("word", "if"):
        yield from _js_condition(text, tokens, index)
    if token.kind == "word" and (index == 0 or tokens[index - 1].text in (";", "{", "}")):
        yield from _js_statement(text, tokens, index)


def _js_condition(text: str, tokens: list[Token], index: int) -> Iterator[Change]:
    depth, place = 0, index + 1
    while place == index + 1 or depth:
        depth += _js_depth(tokens[place])
        place += 1
    start, end = tokens[index + 1].end, tokens[place - 1].start
    for value in ("true", "false"):
        yield Change("condition", start, end, value, f"the condition {_shortened(text[start:end])} is {value}")


def _js_statement(text: str, tokens: list[Token], index: int) -> Iterator[Change]:
    """A statement that ends with ";" on the line where it begins."""
    first, depth, place = tokens[index], 0, index
    while place < len(tokens) and tokens[place].text != ";" and depth >= 0:
        depth += _js_depth(tokens[place])
        place += 1
    if place == len(tokens) or depth or first.text in JS_DECLARES or "\n" in text[first.start : tokens[place].end]:
        return
    told, end = _shortened(text[first.start : tokens[place].end]), tokens[place].end
    if first.text == "return" and place > index + 1:
        yield Change("statement", first.end, end, ";", f"{told} becomes `return;`")
    elif first.text not in ("return", "break"):
        yield Change("statement", first.start, end, ";", f"{told} is dropped")


def _js_depth(token: Token) -> int:
    if token.kind != "mark":
        return 0
    return (token.text in JS_OPENS) - (token.text in JS_CLOSES)
