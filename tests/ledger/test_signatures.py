"""Fail messages and the titles of their signatures: a table by origin, pairs, bucket and limits, explain."""

from __future__ import annotations

import re

import pytest

from simscope_server.ledger import signatures
from simscope_server.ledger.signatures import (
    NO_MESSAGE,
    NO_WORDS,
    READ_LIMIT,
    TITLE_LIMIT,
    explain,
    first_line,
    title_of,
)

# --- table ------------------------------------------------------------------------------------------------------

UVM = [
    (
        "UVM_ERROR /path/x.sv(88) @ 1200 ns: uvm_test_top.env.sb [SCBD] mismatch exp=0x12 got=0x34",
        "UVM_ERROR ... [HIER].sb SCBD mismatch exp ... got ...",
    ),
    (
        "UVM_FATAL /tools/uvm-1.2/src/base/uvm_phase.svh(1491) @ 9200000000.0 ns: reporter [PH_TIMEOUT] "
        "Explicit timeout of 9200000000.0 ns hit, indicating a probable testbench issue",
        "UVM_FATAL ... reporter PH_TIMEOUT Explicit timeout of ... hit indicating a probable testbench issue",
    ),
    (
        "UVM_FATAL @ 0: reporter [NOCOMP] No components instantiated.",
        "UVM_FATAL ... reporter NOCOMP No components instantiated",
    ),
    (
        "UVM_WARNING ../tb/axi_monitor.svh(301) @ 55.250us: uvm_test_top.env.axi_agent[3].monitor [AXI_MON] "
        "2 outstanding reads at end of test (id=4'hA)",
        "UVM_WARNING ... [HIER].monitor AXI_MON ... outstanding reads at end of test id ...",
    ),
    (
        "UVM_ERROR tb/seq_lib.sv(12) @ 77: uvm_test_top.env.agent.sequencer@@rand_seq.child [RNDFLD] "
        "Randomization failed in uvm_do_with action",
        "UVM_ERROR ... [HIER].sequencer [HIER].child RNDFLD Randomization failed in uvm_do_with action",
    ),
    (
        "UVM_ERROR (uart_scoreboard.sv:231) [uvm_test_top.env.scoreboard] Check failed "
        "item.data == exp (8'h3f [0x3f] vs 8'hx [0xx]) ",
        "UVM_ERROR [HIER].scoreboard Check failed [HIER].data exp ... vs ...",
    ),
    (
        'UVM_ERROR @ 8500 ns: uvm_test_top.env.m_ral.regs [RegModel] Register "ral.block0.ctrl" value read from DUT '
        "(0x0000000000000001) does not match mirrored value (0x0000000000000000)",
        "UVM_ERROR ... [HIER].regs RegModel Register [HIER].ctrl value read from DUT ... "
        "does not match mirrored value ...",
    ),
    (
        "UVM_ERROR tb/seq.sv(40) @ 310: uvm_test_top.env.agents[0].drv[2] [DRV] no response for 50 cycles",
        "UVM_ERROR ... [HIER].drv DRV no response for ... cycles",
    ),
]

VCS = [
    ("Error-[SE] Syntax error", "Error SE Syntax error"),
    ("Error-[NOA] Null object access", "Error NOA Null object access"),
    (
        '"tb.sv", 45: tb.chk.a_req_ack: started at 100ns failed at 120ns',
        "[HIER].a_req_ack started at ... failed at ...",
    ),
    ("Offending '(fifo_cnt <= 16)'", "Offending fifo_cnt ..."),
    (
        "\"../rtl/fifo.sv\", 88: top.u_fifo3.no_overflow: started at 1200ps failed at 9ns Offending '!(wr && full)'",
        "[HIER].no_overflow started at ... failed at ... Offending wr full",
    ),
    ('Fatal: "tb/top.sv", 211: tb.top: at time 12000 ns', "Fatal [HIER].top at time ..."),
    ('$finish called from file "tb/top.sv", line 99.', "finish called from file line ..."),
    ("Warning-[STASKW_CO] Cannot open file", "Warning STASKW_CO Cannot open file"),
]

QUESTA = [
    (
        "# ** Error: Assertion error. Time: 10 ns  Scope: top.tb File: x.sv Line: 3",
        "Error Assertion error Time ... Scope [HIER].tb File Line ...",
    ),
    (
        "# ** Fatal: (SIGSEGV) Bad handle or reference. Time: 2450 ps Iteration: 3 Process: tb.u_drv File: tb/drv.sv",
        "Fatal SIGSEGV Bad handle or reference Time ... Iteration ... Process [HIER].u_drv File",
    ),
    (
        "# ** Error: (vsim-3601) Iteration limit 5000 reached at time 10 ns.",
        "Error vsim ... Iteration limit ... reached at time ...",
    ),
    (
        '** Error: tb/top.sv(12): (vlog-2110) Illegal reference to net "rst_n".',
        "Error vlog ... Illegal reference to net rst_n",
    ),
    ("# ** Failure: FIFO overflow at /tb/dut/fifo_0", "Failure FIFO overflow at"),
]

VERILATOR = [
    (
        "%Error: t.v:10: Assertion failed in top.t: counter wrapped at 255",
        "Error Assertion failed in [HIER].t counter wrapped at ...",
    ),
    (
        "[120] %Error: tb/top.sv:88: Assertion failed in TOP.tb.u_chk[2].genblk1: 'assert' failed.",
        "... Error Assertion failed in [HIER].genblk_ assert failed",
    ),
    (
        "%Error-WIDTHTRUNC: rtl/alu.sv:33:17: Operator ASSIGN expects 8 bits, but Assign RHS's ADD generates 9 bits.",
        "Error WIDTHTRUNC Operator ASSIGN expects ... bits but Assign RHS's ADD generates ... bits",
    ),
    (
        "%Warning-LATCH: rtl/dec.v:7:3: Latch inferred for signal 'top.dec.sel'",
        "Warning LATCH Latch inferred for signal [HIER].sel",
    ),
    ("%Error: Verilated model didn't converge", "Error Verilated model didn't converge"),
]

ICARUS = [
    ("ERROR: tb.v:33: expected 8'b0000_1111, got 8'bxxxx_1111", "ERROR expected ... got ..."),
    (
        "FATAL: tb/fifo_tb.sv:19: watchdog expired       Time: 5  Scope: tb.watchdog",
        "FATAL watchdog expired Time ... Scope [HIER].watchdog",
    ),
    ("fifo.v:12: syntax error", "syntax error"),
    ("tb.v:4: error: Unknown module type: fifo2", "error Unknown module type fifo2"),
]

XCELIUM = [
    (
        "*E,ASRTST (./t.sv,12): (time 5 NS) Assertion tb.a1 has failed",
        "E ASRTST ... Assertion [HIER].a_ has failed",
    ),
    (
        "xmsim: *E,ASRTST (./t.sv,12): (time 5 NS) Assertion tb.a1 has failed (2 cycles, starting 3 NS)",
        "xmsim E ASRTST ... Assertion [HIER].a_ has failed ... cycles starting ...",
    ),
    (
        "xmvlog: *E,EXPSMC (rtl/fifo.sv,34|12): expecting a semicolon (';').",
        "xmvlog E EXPSMC expecting a semicolon",
    ),
    (
        "xmelab: *E,CUVMUR (./tb/top.sv,18|7): instance 'top.u_dma' of design unit 'dma_v2' is unresolved",
        "xmelab E CUVMUR instance [HIER].u_dma of design unit dma_v2 is unresolved",
    ),
]

COCOTB = [
    ("123.00ns ERROR cocotb.regression  test_x failed", "... ERROR [HIER].regression test_x failed"),
    (
        "     5.00ns WARNING  cocotb.dut.u_fifo   in fifo.py:120 push(): model and dut differ at index 7",
        "... WARNING [HIER].u_fifo in push model and dut differ at index ...",
    ),
    ("AssertionError: expected 5, got 6", "AssertionError expected ... got ..."),
    ("E       assert 0x1f == 0x20", "E assert ..."),
    ("cocotb.result.SimTimeoutError: Timed out after 200 us", "[HIER].SimTimeoutError Timed out after ..."),
    ('File "/home/ci/tests/test_fifo.py", line 42, in test_fill', "File line ... in test_fill"),
    ("tests/test_uart.py::test_baud[115200] FAILED", "test_baud ... FAILED"),
    ("\x1b[31m  0.00ns ERROR\x1b[0m gpi: no toplevel", "... ERROR gpi no toplevel"),
]

CRASH = [
    ("Segmentation fault (core dumped)", "Segmentation fault core dumped"),
    ("Killed", "Killed"),
    ("/bin/sh: line 1: 12345 Killed      ./simv +UVM_TESTNAME=smoke", "line ... Killed UVM_TESTNAME smoke"),
    (
        "*** Error in `./simv': double free or corruption (!prev): 0x00000000017f2c30 ***",
        "Error in double free or corruption prev ...",
    ),
    (
        "simv: ../src/event.cc:512: void schedule(event*): Assertion `queue != NULL' failed.",
        "simv void schedule event Assertion queue NULL failed",
    ),
    (
        "Unexpected termination (signal 11) at 0x7f3a2b10c9d4 in libvcs.so",
        "Unexpected termination signal ... at ... in [HIER].so",
    ),
]

COMPILER = [
    ("x.sv:12:5: error: expected ';'", "error expected"),
    ("src/dpi/model.cpp:77:13: error: 'frame_t' does not name a type", "error frame_t does not name a type"),
    ("make: *** [Makefile:123: sim] Error 2", "make Makefile ... sim Error ..."),
    ('C:\\work\\tb\\fifo.sv(12): near "endmodul": syntax error', "near endmodul syntax error"),
    ("collect2: error: ld returned 1 exit status", "collect2 error ld returned ... exit status"),
    (
        "ERROR: [VRFC 10-2063] Module <fifo_gen> not found while processing <u_fifo3> [/proj/rtl/top.sv:88]",
        "ERROR VRFC ... Module fifo_gen not found while processing u_fifo3",
    ),
    ("rtl/fifo.v: cannot open", "cannot open"),
]

FARM = [
    ("Simulation timeout after 3600 seconds", "Simulation timeout after ... seconds"),
    ("Job killed: exceeded 2h30m wall clock (limit 2h)", "Job killed exceeded ... wall clock limit ..."),
    (
        "slurmstepd: error: *** JOB 881234 ON node017 CANCELLED AT 2024-05-01T10:20:30 DUE TO TIME LIMIT ***",
        "slurmstepd error JOB ... ON node017 CANCELLED AT ... DUE TO TIME LIMIT",
    ),
    (
        "License checkout failed for feature VCSRuntime_Net (-5,357) on 27000@lic1.example.com",
        "License checkout failed for feature VCSRuntime_Net ... on ... [HIER].com",
    ),
    (
        "Failed to check out license 'msimhdlsim': all 40 licenses in use",
        "Failed to check out license msimhdlsim all ... licenses in use",
    ),
    ("No space left on device: /scratch/run_18423/waves.fsdb", "No space left on device"),
    (
        "ssh: connect to host 10.20.30.40 port 22: Connection timed out",
        "ssh connect to host ... port ... Connection timed out",
    ),
    (
        "container 550e8400-e29b-41d4-a716-446655440000 exited with 137",
        "container ... exited with ...",
    ),
]

UNICODE = [
    ("Überlauf in Puffer 7: erwartet 5, erhalten 6", "Überlauf in Puffer ... erwartet ... erhalten ..."),
    ("错误: 地址 0x1234 数据不匹配", "错误 地址 ... 数据不匹配"),
    ("Délai dépassé après 12 µs dans top.cœur.unité3", "Délai dépassé après ... dans [HIER].unité_"),
    ("✗ test failed — 3 of 12 checks", "test failed ... of ... checks"),
]

FORMS = [
    # numbers in every dress
    ("at 5.2ms 10h30m 0s", "at ..."),
    ("@ 109408: late", "... late"),
    ("1e-9 < -5 && 50% of 1,000 or 1_000", "... of ... or ..."),
    ("got 64KB at 100MHz in the 3rd beat", "got ... at ... in the ... beat"),
    ("got 'h1f, 'hff, 8'sd12, 16'HBEEF, 32'hdead_beef, 4'bxx1z, 0xDEAD_beef", "got ..."),
    ("data 1a2b3c4d dead0beef abcd1234 00ff 00xx", "data ..."),
    # words that look like numbers
    ("deadbeef add4 cafe1 crc32 fifo1 3des 'head'", "deadbeef add4 cafe1 crc32 fifo1 3des head"),
    # hierarchies
    ("top.g[0].u[3].fifo1 tb.lane_12[0] env.sb[SCBD]", "[HIER].fifo_ [HIER].lane_ [HIER].sb SCBD"),
    ("top.u_ram.mem(3) env.cfg is null", "[HIER].mem ... [HIER].cfg is null"),
    # not a path
    ("read/write and/or I/O at 5 MB /s", "read write and or I O at ... MB s"),
    # regions
    ("lane {{3}} of {{ x[7]  = 9 }} is <<dog 1>> <<a -> b>>", "lane 3 of x[7] = 9 is"),
    ("{{ a {{2}} << b <<c>> }} >>", "a 2 b"),
    ("_ __ _12_ _x", "... _x"),
]

TABLE = UVM + VCS + QUESTA + VERILATOR + ICARUS + XCELIUM + COCOTB + CRASH + COMPILER + FARM + UNICODE + FORMS


@pytest.mark.parametrize(("message", "title"), TABLE)
def test_title(message: str, title: str) -> None:
    assert title_of(message) == title


# --- what the guide and the module's manual show ----------------------------------------------------------------

GUIDE = [
    ("[core] FATAL simulation timeout at 5.2ms", "core FATAL simulation timeout at ..."),
    ("[core] FATAL simulation timeout at 10h30m", "core FATAL simulation timeout at ..."),
    ("[core] FATAL simulation timeout at 0s", "core FATAL simulation timeout at ..."),
    (
        "|t.cpu.core1.fs2| data mismatch filling store buffer: expected=24'h16a7 actual=24'hX11X",
        "[HIER].fs_ data mismatch filling store buffer expected ... actual ...",
    ),
    (  # the guide has m_xbu_scoreboard0, {{2}} and a last "..." here
        "UVM_ERROR @ 109408: uvm_test_top.XbuEnv.m_xbu_scoreboard0 [uvm_test_top.XbuEnv.m_xbu_scoreboard] "
        "[BMI ID:   {{2}}] Device function 0023 does not map to any valid device addr /projects/alpha/block.sv:1242",
        "UVM_ERROR ... [HIER].m_xbu_scoreboard_ [HIER].m_xbu_scoreboard BMI ID 2 Device function ... "
        "does not map to any valid device addr",
    ),
]


@pytest.mark.parametrize(("message", "title"), GUIDE)
def test_title_of_the_guides_examples(message: str, title: str) -> None:
    assert title_of(message) == title


def test_examples_of_the_manual_are_true() -> None:
    examples = re.findall(r"^    (\S.*?) {2,}(\S.*)$", signatures.__doc__.split("number, time")[0], re.MULTILINE)

    assert len(examples) == 4
    for message, title in examples:
        assert title_of(message) == title


# --- pairs ------------------------------------------------------------------------------------------------------

TOGETHER = [
    ("UVM_ERROR /a/x.sv(88) @ 12 ns: t.env.sb [SB] bad", "UVM_ERROR tb/y.svh(9) @ 0.5us: t.env[2].sub.sb [SB] bad"),
    ("UVM_ERROR x.sv(88) @ 1200: t.sb [SB] exp=0x12", "UVM_ERROR x.sv:88 @ 1300: t.sb [SB] exp=12'hx1z"),
    ("lane failed in top.dut.lane3", "lane failed in top.dut.lane14"),
    ("lane failed in top.g[0].lane[3]", "lane failed in top.g[15].lane[4][1]"),
    ("%Error: t.v:10: stop", "%Error: ../../rtl/long/name.v:1044:2: stop"),
    ("*E,ASRTST (./t.sv,12): (time 5 NS) tb.a failed", "*E,ASRTST (/x/u.sv,9|3): (time 77.5 PS) tb.a failed"),
    ('"tb.sv", 45: tb.c: failed at 120ns', '"lib/other.sv", 5: tb.x.c: failed at 3us'),
    ("fox and <<dog>>", "fox and <<horse 7>>"),
    ("out of range: 5", "out  of range =\t[0x5]"),
    ("  indented", "indented\nmore"),
    ("Killed by user 12", "Killed by user 1000"),
]
APART = [
    ("The quick brown fox jumps over the lazy dog", "The quick brown fox jumps over the lazy horse"),
    ("UVM_ERROR @ 5: t.env.sb [SB] bad", "UVM_FATAL @ 5: t.env.sb [SB] bad"),
    ("UVM_ERROR @ 5: t.env.sb [SB] bad", "UVM_ERROR @ 5: t.env.sb [DRV] bad"),
    ("UVM_ERROR @ 5: t.env.sb [SB] bad", "UVM_ERROR @ 5: t.env.mon [SB] bad"),
    ("lane {{3}} stuck", "lane {{4}} stuck"),
    ("fifo1 overflow", "fifo2 overflow"),
    ("read failed", "read failed after 5"),
    ("timeout after 5 seconds", "timeout after 5 hours"),
    ("Offending '(a == b)'", "Offending '(a == c)'"),
]


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_fall_together(one: str, other: str) -> None:
    assert title_of(one) == title_of(other)


@pytest.mark.parametrize(("one", "other"), APART)
def test_stay_apart(one: str, other: str) -> None:
    assert title_of(one) != title_of(other)


# --- bucket and limits ------------------------------------------------------------------------------------------


def test_bucket_wins_and_keeps_its_numbers() -> None:
    assert title_of("anything 5", bucket="  timeout\n of   lane 3 ") == "timeout of lane 3"


@pytest.mark.parametrize("bucket", [None, "", "  \t\n"])
def test_blank_bucket_is_no_bucket(bucket: str | None) -> None:
    assert title_of("lane 3", bucket) == "lane ..."


@pytest.mark.parametrize("message", [None, "", " \n\t\r\n "])
def test_no_message(message: str | None) -> None:
    assert title_of(message) == NO_MESSAGE


@pytest.mark.parametrize("message", ["-----", "*** /a/b.sv:3 ***", "<<dog>>", "{{}}", "___"])
def test_nothing_left(message: str) -> None:
    assert title_of(message) == NO_WORDS


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_first_line_with_text_counts(ending: str) -> None:
    message = ending.join(["", "  ", "  first 1  ", "second"])

    assert first_line(message) == "first 1  "
    assert title_of(message) == "first ..."


def test_title_is_cut_at_the_limit() -> None:
    long = "word " * 1000

    assert title_of(long) == title_of(None, bucket=long) == ("word " * 1000)[:TITLE_LIMIT].rstrip()


# --- explain ----------------------------------------------------------------------------------------------------


def test_explain_marks_what_is_erased() -> None:
    message = "UVM_ERROR x.sv(8) @ 5 ns: top.agent[3].fifo12 [SB] lane {{3}} saw <<dog>> twice\nsecond"

    assert explain(message) == [
        ("UVM_ERROR ", False),
        ("x.sv(8) @ 5 ns: top.agent[3].", True),
        ("fifo", False),
        ("12 [", True),
        ("SB", False),
        ("] ", True),
        ("lane ", False),
        ("{{", True),
        ("3", False),
        ("}}", True),
        (" saw ", False),
        ("<<dog>>", True),
        (" twice", False),
    ]


def test_explain_nothing() -> None:
    assert explain(" \n ") == []


def test_explain_erases_what_is_never_read() -> None:
    line = "x " * READ_LIMIT

    assert explain(line) == [(line[: READ_LIMIT - 1], False), (line[READ_LIMIT - 1 :], True)]


@pytest.mark.parametrize("message", [message for message, _ in TABLE + GUIDE])
def test_explain_joins_to_the_line(message: str) -> None:
    assert "".join(text for text, _ in explain(message)) == first_line(message)
