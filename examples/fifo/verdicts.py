#!/usr/bin/env python3
"""verdicts.py - what came out of a regression, read from its log files alone.

    python examples/fifo/verdicts.py var/demo/fifo/1 [--json]

A second opinion, independent of the daemon: a test compares its counts with these. Per seed:

    pass      the log ends with TEST PASSED
    overflow  the overflow checker spoke ($error)
    mismatch  the scoreboard spoke (UVM_ERROR)
    crash     the simulator was terminated by a signal
    hang      none of these: the log just stops

All but `pass` are fails. The compile job is one more `pass` as soon as there is a log of a seed.
Exit code 0; 2 if the folder is not one of a regression.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

OUTCOMES = ("pass", "overflow", "mismatch", "crash", "hang")
SIGNS = (  # the first line of a log that matches one of these decides
    ("overflow", re.compile(r"ERROR: \S+: overflow")),
    ("mismatch", re.compile(r"UVM_ERROR @ .*MISMATCH")),
    ("crash", re.compile(r"sim\.py: unexpected termination")),
    ("pass", re.compile(r"TEST PASSED")),
)


class Verdict(NamedTuple):
    """One seed: how it ended, and the line that says so (for a hang the last line of the log)."""

    outcome: str
    line: str

    @property
    def result(self) -> str:
        return "pass" if self.outcome == "pass" else "fail"


def verdict(lines: list[str]) -> Verdict:
    """The verdict of one log."""
    for line in lines:
        for outcome, sign in SIGNS:
            if sign.match(line):
                return Verdict(outcome, line)
    return Verdict("hang", lines[-1] if lines else "")


def read(folder: Path) -> dict[int, Verdict]:
    """The verdicts of a finished regression by seed."""
    logs = {int(log.stem.partition("-")[2]): log for log in folder.glob("seed-*.log")}
    return {seed: verdict(logs[seed].read_text(errors="replace").splitlines()) for seed in sorted(logs)}


def counts_by_result(verdicts: dict[int, Verdict]) -> dict[str, int]:
    """What the daemon should count for the whole regression, the compile job included."""
    counts = Counter(verdict.result for verdict in verdicts.values())
    return {"pass": counts["pass"] + bool(verdicts), "fail": counts["fail"], "skip": 0, "live": 0, "migrated": 0}


def counts_by_outcome(verdicts: dict[int, Verdict]) -> dict[str, int]:
    """How many seeds ended in each way."""
    counts = Counter(verdict.outcome for verdict in verdicts.values())
    return {outcome: counts[outcome] for outcome in OUTCOMES}


def summary(verdicts: dict[int, Verdict]) -> list[str]:
    """A line per outcome: how many, which seeds, the first line that says so."""
    lines = []
    for outcome, count in counts_by_outcome(verdicts).items():
        seeds = [seed for seed, verdict in verdicts.items() if verdict.outcome == outcome]
        lines.append(f"  {outcome:9} {count:4}" + (f"  seeds {some(seeds)}" if seeds and outcome != "pass" else ""))
        if seeds and outcome != "pass":
            lines.append(f"                 {verdicts[seeds[0]].line}")
    return lines


def some(seeds: list[int], most: int = 12) -> str:
    """The first few seeds, and how many more."""
    more = f" and {len(seeds) - most} more" if len(seeds) > most else ""
    return " ".join(map(str, seeds[:most])) + more


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="what came out of a regression, read from its log files alone")
    parser.add_argument("folder", type=Path, help="the folder with seed-N.log")
    parser.add_argument("--json", action="store_true", help="for programs")
    args = parser.parse_args(argv)
    verdicts = read(args.folder)
    if not verdicts:
        parser.error(f"{args.folder}: a folder that holds seed-N.log files is accepted")
    if args.json:
        seeds = {seed: verdict._asdict() for seed, verdict in verdicts.items()}
        counts = {"results": counts_by_result(verdicts), "outcomes": counts_by_outcome(verdicts)}
        print(json.dumps({**counts, "seeds": seeds}, indent=1))
    else:
        print("\n".join(summary(verdicts)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
