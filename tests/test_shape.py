"""What keeps the daemon readable: wings import downward only, pure rooms are pure, every room says what it is, and
everything that a user can meet is documented. Sizes are told; a room above 500 lines has its reason here."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

import simscope
from simscope_server import program, settings
from simscope_server.messages import protocol

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ROOT / "simscope_server"
ROOMS = sorted(path for path in HOUSE.rglob("*.py") if path.name != "__init__.py")

# What a wing, or a room that stands for itself, may import: those below it.
BELOW = {
    "program": set(),
    "crashpoints": set(),
    "settings": {"program"},
    "messages": {"settings"},
    "ledger": {"messages", "settings", "program", "crashpoints"},
    "reading": {"ledger", "messages", "settings"},
    "doors": {"reading", "ledger", "messages", "settings", "crashpoints"},
    "deadlines": {"doors", "reading", "ledger", "messages", "settings"},
    "commands": {"doors", "reading", "ledger", "messages", "settings", "program"},
    "api": {"doors", "reading", "ledger", "messages", "settings", "program"},
}

# Rooms without clock, files, SQL connection or asyncio: what they give depends on what they are given, and on nothing.
PURE = {"messages/protocol", "messages/times", "messages/decoding", "ledger/rules", "ledger/signatures"}
PURE |= {f"reading/{name}" for name in ("filters", "patterns", "shapes", "figures", "answers", "queries")}
PURE |= {"api/routes", "api/openapi"}
IMPURE_MODULES = {"aiohttp", "aiosqlite", "asyncio", "os", "random", "secrets", "shutil", "socket", "sqlite3"}
IMPURE_MODULES |= {"subprocess", "tempfile", "threading", "watchfiles"}
CLOCKS = re.compile(r"\b(time\.(time|time_ns|monotonic|monotonic_ns|localtime)|datetime\.(now|today|utcnow)|open)\(")

MOST_LINES = 700
LONG_FOR_A_REASON = {
    "messages/decoding": "from bytes to a message or a refusal: the path is read from top to bottom",
}


def room_of(path: Path) -> str:
    """ "ledger/batch" """
    return str(path.relative_to(HOUSE).with_suffix(""))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """The modules that a room imports, wherever in it, each with its line; rooms of ours as "ledger/batch"."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                here = name.removeprefix("simscope_server.").replace(".", "/")
                above = here.rpartition("/")[0]
                is_ours = name.startswith("simscope_server.")
                yield (here if (HOUSE / f"{here}.py").exists() else above) if is_ours else str(node.module), node.lineno


def wing_of(room: str) -> str:
    return room.split("/")[0]


@pytest.mark.parametrize("path", ROOMS, ids=room_of)
def test_a_wing_imports_only_those_below_it(path: Path) -> None:
    wing = wing_of(room_of(path))

    upward = [
        f"{room_of(path)}, line {line}: {name}"
        for name, line in imported(path)
        if wing_of(name) in BELOW and wing_of(name) != wing and wing_of(name) not in BELOW[wing]
    ]

    assert upward == []


def test_no_wing_is_left_out_of_the_table_and_none_stands_above_what_it_may_import() -> None:
    order = list(BELOW)

    assert {wing_of(room_of(path)) for path in ROOMS} == set(order)
    assert [(wing, low) for wing in order for low in BELOW[wing] if order.index(low) >= order.index(wing)] == []


def test_no_room_imports_itself_by_a_detour() -> None:
    graph = {room_of(path): {name for name, _ in imported(path) if (HOUSE / f"{name}.py").exists()} for path in ROOMS}
    free: set[str] = set()
    while found := {room for room, needs in graph.items() if room not in free and needs <= free}:
        free |= found

    assert set(graph) - free == set()


@pytest.mark.parametrize("room", sorted(PURE))
def test_a_pure_room_has_no_clock_no_files_no_connection_and_no_loop(room: str) -> None:
    path = HOUSE / f"{room}.py"
    names = {name for name, _ in imported(path)}

    assert {name.split(".")[0] for name in names} & IMPURE_MODULES == set()
    assert {name for name in names if (HOUSE / f"{name}.py").exists()} <= PURE | {"settings"}
    assert [line for line in path.read_text().splitlines() if CLOCKS.search(line)] == []


@pytest.mark.parametrize("path", ROOMS, ids=room_of)
def test_a_room_says_what_it_is(path: Path) -> None:
    assert len(ast.get_docstring(ast.parse(path.read_text())) or "") > 40


@pytest.mark.parametrize("path", ROOMS, ids=room_of)
def test_private_names_stay_in_their_room(path: Path) -> None:
    foreign = [
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if re.match("_[^_]", alias.name)
    ]

    assert foreign == []


def test_a_room_is_short_or_has_a_reason() -> None:
    lengths = {room_of(path): path.read_text().count("\n") for path in ROOMS}

    assert {room: lines for room, lines in lengths.items() if lines > MOST_LINES} == {}
    assert {room for room, lines in lengths.items() if lines > 500} == set(LONG_FOR_A_REASON)


def test_the_front_is_short() -> None:
    assert (ROOT / "simscoped.py").read_text().count("\n") <= 330


def test_sizes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    trees = [ast.parse(path.read_text()) for path in [ROOT / "simscoped.py", *ROOMS]]
    functions = [
        node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = sorted(node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno)
    longest = sorted(((path.read_text().count("\n"), room_of(path)) for path in ROOMS), reverse=True)[:5]

    with capsys.disabled():
        print(
            f"\nthe daemon: {len(ROOMS)} rooms, {len(lengths)} functions, median {statistics.median(lengths):.0f} "
            f"lines, the longest {lengths[-1]}; longest rooms {', '.join(f'{room} {lines}' for lines, room in longest)}"
        )

    assert lengths


def test_every_option_is_explained_in_the_example_at_its_default() -> None:
    example = (ROOT / "simscope.config.example").read_text()

    for option in settings.OPTIONS:
        assert re.search(rf"^(# )?{option.key} = ", example, re.MULTILINE), option


def test_every_reason_is_in_the_manual_with_its_meaning_and_no_other() -> None:
    manual = (ROOT / "docs" / "messages.md").read_text()

    table = dict(
        re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", manual.partition("| reason |")[2].partition("\n## ")[0], re.M)
    )

    assert table == protocol.REASONS


def test_every_reason_is_given_somewhere() -> None:
    code = "".join(path.read_text() for path in ROOMS)  # the table itself names each once

    assert [reason for reason in protocol.REASONS if code.count(f'"{reason}"') < 2] == []


def test_daemon_and_client_have_one_version() -> None:
    assert program.__version__ == simscope.__version__


def test_every_make_target_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()

    assert [line for line in makefile.splitlines() if re.match(r"[a-z]+:", line) and "## " not in line] == []
