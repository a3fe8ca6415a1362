"""The page's pure modules under Node.js: what they compute, without a browser."""

import subprocess

import pytest
from support.daemons import ROOT


@pytest.mark.node
def test_the_modules_of_the_page_compute_what_their_own_tests_say() -> None:
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "page").glob("*.test.mjs"))
    assert files
    run = subprocess.run(["node", "--test", *files], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
