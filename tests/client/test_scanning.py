"""`run`: pass or fail, by the lines of the output, the exit code and the patterns chosen."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from support.hosts import Host, judge

import simscope

FAILS = [
    "UVM_ERROR @ 58028327 ps: (prim_count.sv:150) [ASSERT FAILED] CntNext_A",
    "UVM_ERROR tb/env.sv(12) @ 100: uvm_test_top.env [SCB] mismatch",
    "  UVM_ERROR @ 2824.490000 us: (pwrmgr_slow_fsm.sv:362) [ASSERT FAILED] IntRstReq_A",
    "# UVM_FATAL @ 0: reporter [NOCOMP] No components instantiated.",
    "[12.5ns] UVM_FATAL: timeout",
    "UVM_ERROR(sb.sv:12) foo",
    "UVM_ERROR: 3 packets lost",
    "UVM_ERROR: 5 (expected 3)",
    "UVM_ERROR: 5, expected 3",
    "UVM_ERROR: 3 errors in the last packet",
    "UVM_ERROR @ 120 ns: uvm_test_top.env.scb [SCB] count: 0",
    "# KERNEL: UVM_ERROR /a.sv(3) @ 0: x [Y] z",
    "2026-01-01 12:00:01 UVM_ERROR /a.sv(3) @ 0: x [Y] z",
    "12:00:01.250Z UVM_FATAL /a.sv(3) @ 0: x [Y] z",
    "ERROR: f.v:1: boom 3",
    "FATAL: t.v:1: dead",
    "FATAL: clock stopped",
    "%Error: t.v:12: Verilog $stop",
    "[100] %Error: t.sv:5: Assertion failed in top.t: 'assert' failed.",
    "[0] %Fatal: t.v:3: Assertion failed in top",
    "%Error-WIDTH: t.v:3: Operator ASSIGN expects 8 bits",
    'Error: "f.sv", 3: tb.unnamed$$_0: at time 100 ns',
    'Fatal: "f.sv", 3: tb.unnamed$$_0: at time 100 ns',
    "Error-[SE] Syntax error",
    "# ** Error: scoreboard mismatch",
    "#  ** Error: (vsim-3601) Iteration limit reached at time 0 ns.",
    "# ** Error: 0 is not 1",
    "# ASSERT: Error: ASRT_0005 tb.sv(33): $error",
    "# RUNTIME: Fatal Error: RUNTIME_0035 tb.sv (12): stopped",
    "** Fatal: (vsim-160) no license",
    "# ** Error (suppressible): (vsim-8885) x",
    "xmsim: *E,ASRTST (tb.sv,12): (time 10 NS) Assertion tb.a1 has failed",
    "xmelab: *F,CUMSTS: Timescale directive missing",
    "*E,UNDIDN: undeclared identifier",
    "t.v:3: error: Unknown module type: foo",
    "t.v:5: syntax error",
    "model.c:10:5: fatal error: x.h: No such file",
    "ERROR: [VRFC 10-2989] 'x' is not declared",
    '"tb.sv", 373: tb.dut.unnamed$$_0: started at 1000000ps failed at 1000000ps',
    "        Offending '(cnt_o == $past(cnt_next_o))'",
    'Assertion failed "0" at line 815 in file assignmentpattern.cc',
    "sim: model.c:12: main: Assertion `x > 0' failed.",
    "Assert failed: tb.dut.a1",
    "ASSERTION FAILED: foo",
    "Assertion FAILED at time 3",
    "TB: ASSERTION FAILED at 10ns: p1",
    "tb.sv:12: assertion a1 violated",
    "Assertion failure at tb",
    "# Assertion violation",
    "tb.dut: Assertion failure: a1",
    "AssertionError: 3 != 4",
    "cocotb.result.AssertionError",
    "E   AssertionError: assert 3 == 4",
    "t.vhd:12:3:@10ns:(assertion error): bad",
    "t.vhd:12:3:@10ns:(assertion failure): bad",
    "# ** Failure: end of the test bench",
    "$fatal called at time 5",
    "$error: data mismatch",
    "tb.sv:33: $fatal: bad",
    "line 1: 12345 Segmentation fault      (core dumped) ./simv",
    "Segmentation fault",
    "Aborted (core dumped)",
    "run.sh: line 3: 12345 Aborted                 ./simv",
    "./run.sh: line 3:  1234 Bus error               ./simv",
    "bash: 30663 Bus error               bash -c 'kill -BUS $$'",
    "bash: line 1: 5 Illegal instruction     ./simv",
    "run.sh: line 3: 12345 Floating point exception ./simv",
    "run.sh: line 30: 12345 Killed                  ./simv",
    "Bus error",
    "Illegal instruction",
    "Aborted",
    "double free or corruption (!prev)",
    "*** Error in `./simv': double free or corruption (out): 0x0000000001c2b010 ***",
    "free(): invalid pointer",
    "free(): double free detected in tcache 2",
    "malloc(): corrupted top size",
    "malloc_consolidate(): unaligned fastbin chunk detected",
    "munmap_chunk(): invalid pointer",
    "corrupted size vs. prev_size",
    "corrupted double-linked list",
    "*** stack smashing detected ***: terminated",
    "terminate called after throwing an instance of 'std::bad_alloc'",
    "An unexpected termination has occurred in ./simv due to a signal",
    "Internal error: node table is corrupt",
    "xmsim: INTERNAL ERROR - contact support",
    "Out of memory",
    "cc1plus: out of memory allocating 65536 bytes",
    "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.batch",
    "   100.00ns INFO     cocotb.regression                  test_force.test_overwrite failed",
    "15000.00ns ERROR  cocotb.regression  regression.py:399 in _score_test  Test Failed: t (result was TestFailure)",
    "     0.00ns INFO     cocotb.regression    ** TESTS=2 PASS=1 FAIL=1 SKIP=0    1.00  0.00  **",
    "FAILED tests/test_x.py::test_y - AssertionError: 3",
    "*** TEST FAILED ***",
    "\x1b[31mUVM_ERROR @ 3: x [Y] in red\x1b[0m",
]
PASSES = [
    "",
    "UVM_ERROR :    0",
    "UVM_FATAL :    0",
    "# UVM_ERROR :    0",
    "UVM_ERROR: 0",
    "UVM_ERROR",
    "UVM_ERROR count : 0",
    "UVM_ERROR :    2",
    "# UVM_FATAL :    1",
    "UVM_ERROR : 0 UVM_FATAL : 0",
    "UVM_ERROR : 2, UVM_FATAL : 1",
    "# UVM_ERROR:0, UVM_FATAL:0",
    "UVM_ERROR :    0 (expected)",
    "UVM_ERROR: 0 errors",
    "UVM_ERROR | 0",
    "UVM_ERROR - 0",
    "UVM_ERROR severity set to UVM_LOG",
    "UVM_ERROR messages are demoted to UVM_WARNING",
    "UVM_FATAL disabled",
    "# KERNEL: UVM_ERROR :    0",
    "** Error: 0",
    "** Error count: 0",
    "%Error: 0",
    "$error: 0",
    "FATAL: 0 errors",
    "# ASSERT: Error: 0",
    "Number of caught UVM_ERROR reports  :    0",
    "Number of demoted UVM_FATAL reports :    0",
    "UVM_INFO @ 0: reporter [CFG] UVM_ERROR is demoted to UVM_INFO",
    "UVM_WARNING @ 5: tb [X] Assertion checks have failed to start",
    "+uvm_set_severity=*,_ALL_,UVM_ERROR,UVM_WARNING",
    "0 errors",
    "0 error(s), 0 warning(s)",
    "Errors: 0, Warnings: 0",
    "# Errors: 0, Warnings: 0",
    "** Errors: 0",
    "** Failures: 0",
    "checking $error(...) in tb.sv",
    "error injection enabled",
    "ERROR injection enabled: mode 3",
    "Error count: 0",
    "No errors found",
    "tb.v:12: note: 0 errors",
    "TESTS: 12 PASSED, 0 FAILED",
    "** TESTS=2 PASS=2 FAIL=0 SKIP=0",
    "    0.00ns INFO     cocotb.regression    test_x passed",
    "    0.00ns INFO     cocotb.regression    test_x passed: failed as expected (result was AssertionError)",
    "FATAL: 0",
    "Assertions: 12 passed, 0 failed",
    "Assertion summary: 12 passed, 0 failed",
    "Assertion failed count: 0",
    "Assertion checks failed: 0",
    "No assertion has failed",
    "Stopping new assertion attempts at time 0ps: level = 0",
    "Assertion coverage enabled",
    "assertion failures: 0",
    "ASSERTION FAILED: 0",
    "Assertion failure: none",
    "Assertion violations: 0",
    "no assertion failed",
    "checking that assertion failures are counted",
    "checking that an assertion failed",
    "the run stops on assertion failure",
    "Assertion violation detection enabled",
    '    assert (a) else $error("assertion failed");',
    '12: $display("ASSERTION FAILED: foo");',
    '`uvm_error("TB", "assertion failed")',
    "// ASSERTION FAILED is what the bench prints",
    "+ grep 'ASSERTION FAILED' run.log",
    "with pytest.raises(AssertionError):",
    "reset aborted: Aborted by the user",
    "Killed 3 background tasks",
    "tb: 3 Aborted transfers",
    "run.sh: line 3: see above",
    "free(): 3 calls",
    "packet corrupted on purpose",
    "it is a Bus error that is injected",
    "Installing Segmentation fault handler",
    "Segmentation fault handler installed",
    "state of core dumped to regs.txt",
    "internal error injection enabled",
    "internal error count: 0",
    "Internal errors: 0",
    "the core fetches its boot image out of memory at 0x80000000",
    "Out of memory range access test: PASSED",
    "read out of memory bounds is expected",
    "xmsim: *W,RNDXCELON: Xcelium",
    "CFG*E,",
    "TEST PASSED",
    "TEST FAILED: 0",
    "%Warning-WIDTH: t.v:3: Error if you like",
    "WARNING: f.v:1: Assertion might have failed",
    "a.out: the offending value is 3",
]


def fails(line: str) -> bool:
    scanner = simscope.Scanner()
    scanner.take(1, line.encode() + b"\n")
    return bool(scanner.failure)


@pytest.mark.parametrize("line", FAILS)
def test_a_failing_line(line: str) -> None:
    assert fails(line)


@pytest.mark.parametrize("line", PASSES)
def test_a_harmless_line(line: str) -> None:
    assert not fails(line)


LONG = [" ", "#", "0", "1", "#1", "- ", ":1", ": line 1", "[1", "assert ", "Assertion failure ", "a.", "1:", "\\", "'"]


def begun(hints: tuple[str, ...], expression: str) -> set[str]:
    """What makes a pattern look further: each of its hints, and its examples cut behind each word that it takes."""
    found = {"", *hints}
    for line in FAILS:
        if match := re.search(expression, line):
            found |= {line[: cut.end()] for cut in re.finditer(r"\S+", line) if cut.end() < match.end()}
            found.add(line[: match.end()])
    return found


@pytest.mark.parametrize(("hints", "expression", "whose"), simscope.FAIL_PATTERNS)
def test_a_long_line_takes_no_pattern_long(hints: tuple[str, ...], expression: str, whose: str) -> None:
    """It takes milliseconds; time that grew with the square of the length would be most of a minute."""
    pattern = re.compile(expression)
    for start in begun(hints, expression):
        for unit in LONG:
            line = start + unit * (simscope.LINE_BYTES // len(unit))
            since = time.thread_time()
            pattern.search(line)
            assert time.thread_time() - since < 2, (whose, start, unit)


@pytest.mark.parametrize("unit", LONG)
def test_a_line_of_a_megabyte_is_looked_at_only_so_far(unit: str) -> None:
    hints = " ".join(hint for row in simscope.FAIL_PATTERNS for hint in row[0])
    since = time.thread_time()
    fails(hints + unit * (1_000_000 // len(unit)))
    assert time.thread_time() - since < 2


def test_each_default_pattern_has_its_example() -> None:
    for hints, expression, whose in simscope.FAIL_PATTERNS:
        lines = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in FAILS]
        found = [line for line in lines if re.search(expression, line)]
        assert found, f"no line in FAILS for {whose}: {expression}"
        assert all(any(hint in line + "\n" for hint in hints) for line in found), f"hints of {whose} miss a line"


def test_a_whole_log_of_harmless_lines_passes(host: Host) -> None:
    host.file("log", "\n".join(PASSES))
    done = host.run("--", "cat", "log")
    assert done.returncode == 0
    assert (host.finish()["result"], host.finish()["fail_message"]) == ("pass", "")


def test_the_first_failing_line_is_the_message_and_the_exit_code_stays(host: Host) -> None:
    done = host.shell("echo fine; printf 'UVM_ERROR @ 7: \\033[1mtop\\033[0m [X] first\\r\\n'; echo '%Error: second'")
    assert done.returncode == 0
    finish = host.finish()
    assert (finish["result"], finish["exit_code"]) == ("fail", 0)
    assert finish["fail_message"] == "UVM_ERROR @ 7: top [X] first"


def test_without_a_failing_line_the_end_of_the_output_is_told(host: Host) -> None:
    host.shell("for i in $(seq 100); do echo line $i; done; exit 3")
    message = host.finish()["fail_message"].split("\n")
    assert message == ["exit code 3"] + [f"line {n}" for n in range(81, 101)]


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ("kill -SEGV $$", 139, "killed by SIGSEGV"),
        ("sh -c 'kill -ABRT $$'; exit $?", 134, "exit code 134 (SIGABRT)"),
        ("kill -KILL $$", 137, "killed by SIGKILL"),
        ("sh -c 'kill -ABRT $$'; true", 0, "Aborted"),
        ("echo running; sh -c 'kill -BUS $$'; true", 0, "Bus error"),
    ],
)
def test_a_command_that_a_signal_kills(host: Host, script: str, code: int, message: str) -> None:
    assert host.shell(script).returncode == code
    finish = host.finish()
    assert (finish["result"], finish["exit_code"], finish["fail_message"].split("\n")[0]) == ("fail", code, message)
    assert finish.get("reason") == ("killed" if "SIGKILL" in message else None)


def test_a_command_that_cannot_be_started(host: Host) -> None:
    done = host.run("--", "no-such-simulator", "+seed=3")
    assert done.returncode == 127
    assert done.stderr == "simscope: command not found: no-such-simulator\n"
    finish = host.finish()
    assert (finish["result"], finish["exit_code"]) == ("fail", 127)
    assert finish["fail_message"] == "command not found: no-such-simulator"
    assert host.run("--", host.file("plain.txt", "x")).returncode == 126


@pytest.mark.parametrize(
    ("chosen", "output", "result", "message"),
    [
        ({"own": ["^MISMATCH"]}, "MISMATCH at 7", "fail", "MISMATCH at 7"),
        ({"own": ["a", "^b"]}, "bc", "fail", "bc"),
        ({"defaults": False}, "%Error: x", "pass", ""),
        ({"defaults": False, "own": ["x$"]}, "UVM_INFO x", "fail", "UVM_INFO x"),
        ({"ignored": ["expected"]}, "%Error: expected", "pass", ""),
        ({"passing": ["^TEST PASSED"]}, "TEST PASSED", "pass", ""),
        ({"passing": ["^OK", "DONE"]}, "DONE", "pass", ""),
        ({"passing": ["^TEST PASSED"]}, "cut", "fail", "no line matches a pass pattern\ncut"),
        ({"passing": ["^OK"]}, "OK\n%Error: y", "fail", "%Error: y"),
    ],
)
def test_patterns_can_be_changed(chosen: dict[str, Any], output: str, result: str, message: str) -> None:
    assert judge(output=output, **chosen) == (result, message)


def test_pattern_options(host: Host) -> None:
    given = ("--no-default-patterns", "--fail-pattern", "a.c", "--ignore-pattern", "abc", "--pass-pattern", "fine")
    host.shell("echo '%Error: abc'; echo adc; echo fine", *given)
    assert host.finish()["fail_message"] == "adc"


def test_long_and_split_lines_and_lines_without_end(host: Host) -> None:
    scanner = simscope.Scanner()
    for piece in (
        b"x" * 10_000_000,
        b"UVM_ERROR not at the start of a line\n",
        b"UVM_",
        b"ERR",
        b"OR @ 1: \xff\x00split",
    ):
        scanner.take(1, piece)
        assert sum(map(len, scanner._rest.values())) <= simscope.LINE_BYTES
    assert scanner.failure == ""
    scanner.close()
    assert scanner.failure == "UVM_ERROR @ 1: \ufffdsplit"


def test_the_two_streams_do_not_mix_their_lines() -> None:
    scanner = simscope.Scanner()
    scanner.take(1, b"UVM_ERR")
    scanner.take(2, b"OR @ 1: x\n")
    scanner.close()
    assert scanner.failure == ""
