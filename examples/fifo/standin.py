#!/usr/bin/env python3
"""standin.py - fifo.v and tb_fifo.v once more, in Python, for machines without Icarus Verilog.

    python standin.py +seed=17 [+cycles=5000] [+pace]

Cycle by cycle the same design, the same bench and THE SAME FOUR PLANTED BUGS (see the heads of fifo.v and tb_fifo.v),
so a seed ends here as it ends there, with the same log; only the first line says who is speaking. Plain slow Python:
it stands in for a simulator in a demonstration and in tests, it is not one.

Exit code 0 whatever was found, as most simulators do. With `+elaborate` it stops after the first line (regress.py calls
that its compile job, as there is nothing to compile).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

FULL_BUG, SLEEP_BUG, CRASH_BUG = 29, 30, 23  # as in fifo.v and tb_fifo.v
OVERFLOW_AT = "tb_fifo.v:77"  # where `$error` stands; the tests compare both logs
CRASH_LINE = "%PLANTED-CRASH"  # sim.py makes a crash of it
GREETING = "standin.py: a stand-in in Python for Icarus Verilog, the same bench cycle by cycle"
WORD = 0xFFFFFFFF


class Fifo:
    """fifo.v: registers as attributes, `clock()` is the rising edge."""

    def __init__(self) -> None:
        self.memory = [0] * 16
        self.level = self.wr_ptr = self.rd_ptr = self.rdata = 0
        self.full = self.flush_ack = self.draining = self.lost = False
        self.held: tuple[int, int, bool] | None = None  # place, word, did the write port sleep before?
        self.wr_run = self.wr_idle = 0

    def clock(self, wr: bool, wdata: int, rd: bool, flush_req: bool) -> None:
        """One rising edge; the bench writes only if not full and reads only if not empty."""
        self._flush(rd, flush_req)
        if rd:
            self._read()
        if self.held:
            self.memory[self.held[0]] = self.held[1]
        self.level += wr - rd
        self.full = self.level >= 16 and not (wr and self.wr_run == FULL_BUG - 1)  # PLANTED 1
        if wr:
            self.held = (self.wr_ptr, wdata, self.wr_idle == SLEEP_BUG)
            self.wr_ptr = (self.wr_ptr + 1) & 15
            self.wr_run, self.wr_idle = min(self.wr_run + 1, 255), 0
        else:
            self.held = None
            self.wr_run, self.wr_idle = 0, min(self.wr_idle + 1, 255)

    def _read(self) -> None:
        forward = self.held and self.held[0] == self.rd_ptr and not self.held[2]  # PLANTED 2
        self.rdata = self.held[1] if self.held and forward else self.memory[self.rd_ptr]
        self.rd_ptr = (self.rd_ptr + 1) & 15

    def _flush(self, rd: bool, flush_req: bool) -> None:
        if not flush_req or self.flush_ack or self.lost:
            self.flush_ack = False
        elif not self.draining and rd and self.level == 1 and self.rd_ptr == 15:
            self.lost = self.draining = True  # PLANTED 3
        elif self.draining and self.level == 0:
            self.flush_ack, self.draining = True, False
        else:
            self.draining = True


def next_random(x: int) -> int:
    """Xorshift32."""
    x ^= (x << 13) & WORD
    x ^= x >> 17
    return x ^ (x << 5) & WORD


def first_random(seed: int) -> int:
    """The state of the generator for a seed."""
    x = (seed * 2654435761 + 1142) & WORD or 1
    for _ in range(4):
        x = next_random(x)
    return x


class Bench:
    """tb_fifo.v: `run()` yields the lines of the log."""

    def __init__(self, seed: int, cycles: int | None = None, pace: Callable[[], bool] | None = None) -> None:
        self.seed, self.rnd = seed & WORD, first_random(seed)
        self.cycles = 2000 + self.rnd % 18000 if cycles is None else cycles
        self.pace = pace  # called every 250 cycles; False ends the simulation
        self.dut = Fifo()
        self.expected: list[int] = []
        self.taken = self.checked = self.held_up = self.errors = self.uvm_errors = self.cycle = 0
        self.wr_rate = self.rd_rate = 8
        self.wr = self.rd = self.want_wr = self.flush_req = self.flushing = False
        self.wdata = 0

    def run(self) -> Iterator[str]:
        """Simulate; for a hanging seed this never ends."""
        yield f"tb_fifo: seed {self.seed}, {self.cycles} cycles of traffic"
        while True:
            if self.pace and self.cycle % 250 == 0 and not self.pace():
                yield "tb_fifo: standard input has ended, so this simulation ends too"
                return
            yield from self._one_cycle()
            if self.errors or (self.cycle >= self.cycles and self.flushing and not self.flush_req):
                break
            self.cycle += 1
            self.dut.clock(self.wr, self.wdata, self.rd, self.flush_req)
        if self.held_up != CRASH_BUG:
            yield from self._report()

    def _one_cycle(self) -> Iterator[str]:
        if self.rd:
            yield from self._scoreboard()
        self.rnd = next_random(self.rnd)
        if self.cycle % 64 == 0:
            self.wr_rate = 3 + (self.rnd >> 24 & 15) * 13 // 16
            self.rd_rate = 3 + (self.rnd >> 28) * 13 // 16
        self._flush_sometimes()
        self._drive()
        yield from self._overflow_checker()
        yield from self._coverage()
        if self.wr:
            self.expected.append(self.wdata)
        self.taken += self.rd
        if self.cycle % 1000 == 0 and not self.flush_req:
            yield f"progress: cycle {self.cycle} of {self.cycles}, {self.checked} words checked"

    def _time(self) -> int:
        return 10 * self.cycle + 40

    def _scoreboard(self) -> Iterator[str]:
        want, got = self.expected[self.checked], self.dut.rdata
        if want != got:
            where = f"UVM_ERROR @ {self._time()}: tb_fifo.scoreboard [MISMATCH]"
            yield f"{where} word {self.checked}: expected 32'h{want:08x}, got 32'h{got:08x}"
            self.uvm_errors += 1
            self.errors += 1
        self.checked += 1

    def _flush_sometimes(self) -> None:
        self.flushing = self.flush_req
        if self.flush_req:
            self.flush_req = not self.dut.flush_ack
        else:
            self.flush_req = self.cycle >= self.cycles or not self.rnd >> 16 & 2047

    def _drive(self) -> None:
        self.want_wr = not self.flush_req and (self.rnd & 15) < self.wr_rate
        self.wr = self.want_wr and not self.dut.full
        drains = self.flush_req and self.flushing
        self.rd = self.dut.level > 0 and (drains or (self.rnd >> 8 & 15) < self.rd_rate)
        if self.wr:
            self.wdata = len(self.expected) * 2654435769 & WORD ^ self.seed

    def _overflow_checker(self) -> Iterator[str]:
        inside = len(self.expected) - self.taken
        if self.wr and inside >= 16:
            what = f"overflow: tb_fifo.dut takes 32'h{self.wdata:08x} with {inside} words in it at {self._time()} ns"
            yield f"ERROR: {OVERFLOW_AT}: {what}"
            yield f"       Time: {self._time()} Scope: tb_fifo.overflow_checker"
            self.errors += 1

    def _coverage(self) -> Iterator[str]:
        self.held_up = self.held_up + 1 if self.want_wr and self.dut.full else 0
        if self.held_up == CRASH_BUG:  # PLANTED 4
            yield CRASH_LINE
            self.errors += 1

    def _report(self) -> Iterator[str]:
        yield "--- UVM Report Summary ---"
        yield f"UVM_ERROR : {self.uvm_errors:4d}"
        yield "UVM_FATAL :    0"
        verdict = "FAILED" if self.errors else "PASSED"
        yield f"TEST {verdict} at cycle {self.cycle}, {self.checked} words checked"


def outcome(seed: int, cycles: int | None = None) -> str:
    """How this seed ends: pass, overflow, mismatch, hang or crash (a hang is seen here without waiting for it)."""
    bench = Bench(seed, cycles, pace=lambda: not bench.dut.lost)
    for line in bench.run():
        if line.startswith("ERROR"):
            return "overflow"
        if line.startswith("UVM_ERROR @"):
            return "mismatch"
        if line == CRASH_LINE:
            return "crash"
    return "hang" if bench.dut.lost else "pass"


def plusarg(args: list[str], name: str) -> int | None:
    """The number of `+name=N`, None if it is not there."""
    for arg in args:
        if arg.startswith(f"+{name}="):
            value = arg.partition("=")[2]
            if not (value.isascii() and value.isdigit()):
                sys.exit(f"standin.py: +{name}={value}: a whole number of 0 or more is accepted")
            return int(value)
    return None


def token() -> bool:
    """Wait for one character on standard input; False at its end."""
    return bool(sys.stdin.buffer.read(1))


def main(args: list[str]) -> int:
    print(GREETING, flush=True)
    if "+elaborate" in args:
        return 0
    seed = plusarg(args, "seed")
    bench = Bench(1 if seed is None else seed, plusarg(args, "cycles"), token if "+pace" in args else None)
    for line in bench.run():
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
