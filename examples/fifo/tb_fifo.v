// tb_fifo.v - self-checking testbench for fifo.v, WITH ONE PLANTED BUG.
//
// Random traffic, a scoreboard that knows every word that must come out, an overflow checker, and a flush now and then.
// Everything random comes from one generator (xorshift32) that starts from the seed: same seed, same run, to the cycle.
//
//   vvp -n fifo.vvp +seed=17 [+cycles=5000] [+pace]
//
//   +seed=N     the seed (1 if absent)
//   +cycles=N   clock cycles of traffic; without it the seed decides, 2,000 to 19,999
//   +pace       wait for one character on standard input every 250 cycles; the end of the input ends the simulation.
//               This is how sim.py slows the simulation down without burning processor time.
//
// The three planted bugs of the design are described in fifo.v. The fourth is here:
//
//   PLANTED 4  crash   when the producer has been held up for exactly CRASH_BUG cycles, the coverage collector would write
//                      behind its table. In a real bench it is a C library and takes the simulator down. Verilog cannot
//                      do that, so this one prints a magic line, and sim.py makes the crash of it: it dies by SIGSEGV.
//
// The simulator exits 0 whatever was found, as most do: the verdict is in the log.

`timescale 1ns / 1ns

module tb_fifo;
  parameter CRASH_BUG = 23;

  reg clk = 0, rst = 1, wr = 0, rd = 0, flush_req = 0;
  reg [31:0] wdata = 0;
  wire full, empty, flush_ack;
  wire [31:0] rdata;

  fifo dut (
      .clk(clk), .rst(rst), .wr(wr), .wdata(wdata), .full(full), .rd(rd), .rdata(rdata), .empty(empty),
      .flush_req(flush_req), .flush_ack(flush_ack)
  );

  always #5 clk = !clk;

  // ---- the random numbers ------------------------------------------------------------------------------------------

  reg [31:0] seed, rnd;

  function [31:0] next(input [31:0] x);
    begin
      next = x ^ (x << 13);
      next = next ^ (next >> 17);
      next = next ^ (next << 5);
    end
  endfunction

  task start_random;
    begin
      rnd = seed * 32'd2654435761 + 32'd1142;
      if (rnd == 0) rnd = 1;
      repeat (4) rnd = next(rnd);
    end
  endtask

  // ---- what must come out ------------------------------------------------------------------------------------------

  reg [31:0] expected[0:255];  // ring of the words written
  integer written = 0, taken = 0, checked = 0, errors = 0, uvm_errors = 0;

  task scoreboard;  // looks at the word that was asked for one cycle ago
    if (rd) begin
      if (rdata !== expected[checked & 255]) begin
        $display("UVM_ERROR @ %0d: tb_fifo.scoreboard [MISMATCH] word %0d: expected 32'h%h, got 32'h%h", $time, checked,
                 expected[checked&255], rdata);
        uvm_errors = uvm_errors + 1;
        errors = errors + 1;
      end
      checked = checked + 1;
    end
  endtask

  task overflow_checker;  // looks at the write that is about to be taken
    if (wr && written - taken >= 16) begin
      $error("overflow: tb_fifo.dut takes 32'h%h with %0d words in it at %0d ns", wdata, written - taken, $time);
      errors = errors + 1;
    end
  endtask

  task coverage;  // how long is the producer held up?
    begin
      held_up = want_wr && full ? held_up + 1 : 0;
      if (held_up == CRASH_BUG) begin  // PLANTED 4: a table of so many entries would overflow here
        $display("%%PLANTED-CRASH");
        errors = errors + 1;
      end
    end
  endtask

  // ---- the traffic -------------------------------------------------------------------------------------------------

  integer cycle = 0, cycles, held_up = 0, wr_rate = 8, rd_rate = 8, token;
  reg want_wr, flushing;

  task change_rates;  // every 64 cycles: how eager are both sides, 3 to 15 of 16?
    begin
      wr_rate = 3 + rnd[27:24] * 13 / 16;
      rd_rate = 3 + rnd[31:28] * 13 / 16;
    end
  endtask

  task flush_sometimes;  // and once more at the end, to get the last words out
    begin
      flushing = flush_req;
      if (flush_req) flush_req = !flush_ack;
      else flush_req = cycle >= cycles || rnd[26:16] == 0;
    end
  endtask

  task drive;
    begin
      want_wr = !flush_req && rnd[3:0] < wr_rate;
      wr = want_wr && !full;
      rd = !empty && ((flush_req && flushing) || rnd[11:8] < rd_rate);
      if (wr) wdata = written * 32'd2654435769 ^ seed;
    end
  endtask

  task account;
    begin
      if (wr) expected[written&255] = wdata;
      if (wr) written = written + 1;
      if (rd) taken = taken + 1;
    end
  endtask

  task pace;
    if (cycle % 250 == 0) begin
      token = $fgetc(32'h8000_0000);
      if (token == -1) begin
        $display("tb_fifo: standard input has ended, so this simulation ends too");
        $finish(0);
      end
    end
  endtask

  task progress;
    if (cycle % 1000 == 0 && !flush_req) begin
      $display("progress: cycle %0d of %0d, %0d words checked", cycle, cycles, checked);
      $fflush;
    end
  endtask

  task report;
    begin
      $display("--- UVM Report Summary ---");
      $display("UVM_ERROR : %4d", uvm_errors);
      $display("UVM_FATAL :    0");
      $display("TEST %0s at cycle %0d, %0d words checked", errors == 0 ? "PASSED" : "FAILED", cycle, checked);
    end
  endtask

  reg paced, over = 0;

  initial begin
    if (!$value$plusargs("seed=%d", seed)) seed = 1;
    start_random;
    if (!$value$plusargs("cycles=%d", cycles)) cycles = 2000 + rnd % 18000;
    paced = $test$plusargs("pace") != 0;
    $display("tb_fifo: seed %0d, %0d cycles of traffic", seed, cycles);
    repeat (4) @(negedge clk);
    rst = 0;
    while (!over) begin
      if (paced) pace;
      scoreboard;
      rnd = next(rnd);
      if (cycle % 64 == 0) change_rates;
      flush_sometimes;
      drive;
      overflow_checker;
      coverage;
      account;
      progress;
      over = errors != 0 || (cycle >= cycles && flushing && !flush_req);
      if (!over) begin
        cycle = cycle + 1;
        @(negedge clk);
      end
    end
    if (held_up != CRASH_BUG) report;
    $finish(0);
  end
endmodule
