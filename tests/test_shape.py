"""What keeps the daemon readable: its contents are true, sections use names of those above, pure parts are pure, and
everything a user can meet is documented. Sizes are reported, not judged."""

from __future__ import annotations

import ast
import itertools
import re
import statistics
from pathlib import Path

import pytest

import simscope
import simscoped
from simscoped_parts import answers, figures, openapi, queries, settings

ROOT = Path(__file__).resolve().parent.parent
SOURCE = (ROOT / "simscoped.py").read_text()
TREE = ast.parse(SOURCE)
BANNER = re.compile(r"^# =+\n#\s+(\d+)\s+(.*)\n# =+$", re.MULTILINE)
LEAVES = sorted((ROOT / "simscoped_parts").glob("*.py"))


def sections() -> list[tuple[int, str, int]]:
    """(number, title, line of the banner) of each section."""
    return [(int(m[1]), m[2], SOURCE[: m.start()].count("\n") + 1) for m in BANNER.finditer(SOURCE)]


def section_of(line: int) -> int:
    return max((number for number, _, begins in sections() if begins <= line), default=0)


def test_the_contents_in_the_manual_are_the_sections_in_their_order() -> None:
    manual = ast.get_docstring(TREE) or ""
    contents = re.findall(r"^\s+(\d+)  (\S.*)$", manual.partition("Contents")[2], re.MULTILINE)

    told = [(int(number), title) for number, title in contents]

    assert told == [(number, title.split(" · ")[0]) for number, title, _ in simplified(sections())]
    assert [number for number, _ in told] == list(range(1, len(told) + 1))


def simplified(found: list[tuple[int, str, int]]) -> list[tuple[int, str, int]]:
    """Titles as the contents have them: up to the first " · ", with the parenthesis closed."""
    cut = [(number, title.split(" · ")[0], line) for number, title, line in found]
    return [(n, t + ")" if t.count("(") > t.count(")") else t, line) for n, t, line in cut]


def test_sections_use_names_of_their_own_and_of_those_above() -> None:
    defined = {
        name: node.lineno
        for node in TREE.body
        for name in (
            [node.name] if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else targets(node)
        )
    }

    upwards = {
        f"{node.id} (section {section_of(defined[node.id])}) in section {section_of(node.lineno)}, line {node.lineno}"
        for node in ast.walk(TREE)
        if isinstance(node, ast.Name) and node.id in defined and section_of(defined[node.id]) > section_of(node.lineno)
    }

    assert not upwards


def targets(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def test_pure_sections_use_no_clock_no_files_no_database_and_no_network() -> None:
    pure = [number for number, title, _ in sections() if "pure" in title]
    forbidden = {"asyncio", "sqlite3", "aiosqlite", "web", "os", "time", "socket", "open", "Path", "shutil", "awatch"}

    used = {
        (section_of(node.lineno), node.id, node.lineno)
        for node in ast.walk(TREE)
        if isinstance(node, ast.Name) and node.id in forbidden and section_of(node.lineno) in pure
    }

    assert len(pure) >= 2
    assert not used


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda path: path.name)
def test_leaves_import_the_standard_library_and_msgspec_only_and_do_nothing_else(leaf: Path) -> None:
    allowed_to_act = {"asyncio", "sqlite3", "socket", "os", "shutil", "subprocess", "threading", "logging"}

    imported = {
        (node.module or "" if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
        for node in ast.walk(ast.parse(leaf.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }

    assert not imported & allowed_to_act
    assert "simscoped" not in imported
    assert "simscoped_parts" not in imported
    assert imported - {"msgspec"} <= set(__import__("sys").stdlib_module_names)


def test_every_option_is_explained_in_the_example_at_its_default() -> None:
    example = (ROOT / "simscope.config.example").read_text()

    for option in settings.OPTIONS:
        assert re.search(rf"^(# )?{option.key} = ", example, re.MULTILINE), option


def test_every_reason_is_in_the_manual_with_its_meaning_and_no_other() -> None:
    manual = (ROOT / "docs/messages.md").read_text()

    table = dict(
        re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", manual.partition("| reason |")[2].partition("\n## ")[0], re.M)
    )

    assert table == simscoped.REASONS


def test_every_reason_is_given_somewhere() -> None:
    code = SOURCE.partition("class SimscopedError")[2]

    assert [reason for reason in simscoped.REASONS if f'"{reason}"' not in code] == []


def test_what_leaves_must_share_is_the_same_in_each() -> None:
    assert (queries.LIMIT_DEFAULT, queries.LIMIT_MOST) == (openapi.LIMIT_DEFAULT, openapi.LIMIT_MOST)
    assert queries.RESULTS == answers.RESULTS
    assert queries.OUTCOMES == answers.OUTCOMES
    assert figures.LAST_MS == answers.LAST_MS
    assert set(openapi.TYPES) >= set(simscoped.SINGLE) | set(simscoped.SINGLE.values())


def test_daemon_and_client_have_one_version() -> None:
    assert simscoped.__version__ == simscope.__version__


def test_every_make_target_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()

    assert [line for line in makefile.splitlines() if re.match(r"[a-z]+:", line) and "## " not in line] == []


def test_sizes_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    functions = [node for node in ast.walk(TREE) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = sorted(node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno)
    begins = [line for _, _, line in sections()] + [SOURCE.count("\n") + 1]

    with capsys.disabled():
        print(
            f"\nsimscoped.py: {begins[-1]} lines, {len(lengths)} functions, median {statistics.median(lengths):.0f}, "
            f"longest {lengths[-1]}; sections {[after - line for line, after in itertools.pairwise(begins)]}"
        )

    assert lengths
