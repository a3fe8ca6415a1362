"""The page's modules without a browser: what they compute, under Node.js, and whether their types are the API's."""

from __future__ import annotations

import re
import subprocess

import pytest
from support.daemons import ROOT, Daemon

# Of the types of the API in static/types.js: their names there where they are others, and what the page adds.
TYPES = {
    "Regression": {"read_at"},
    "Job": {"read_at"},
    "Signature": set(),
    "HistoryEntry": {"job", "more"},
    "Event": set(),
    "EarlierRun": set(),
    "DiffEntry": set(),
    "Host": set(),
    "Timeline": set(),
    "About": set(),
}
RENAMED = {"Event": "ApiEvent"}
LEFT_OUT = {"_links"}


@pytest.mark.node
def test_the_modules_of_the_page_compute_what_their_own_tests_say() -> None:
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "page").glob("*.test.mjs"))
    assert files
    run = subprocess.run(["node", "--test", *files], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr


def properties(name: str) -> set[str]:
    """The properties of a type in static/types.js."""
    text = (ROOT / "static" / "types.js").read_text()
    block = re.search(rf"@typedef {{object}} {name}\b.*?\*/", text, re.DOTALL)
    assert block, name
    return set(re.findall(r"@property {.*} \[?(\w+)\]?", block[0]))


@pytest.mark.parametrize("name", TYPES)
def test_the_types_of_the_page_are_those_that_the_daemon_describes(shared: Daemon, name: str) -> None:
    described = shared.get("/openapi.json")["components"]["schemas"][name]["properties"]

    assert properties(RENAMED.get(name, name)) - TYPES[name] == set(described) - LEFT_OUT
