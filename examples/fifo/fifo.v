// fifo.v - a synchronous FIFO of 16 words, WITH THREE PLANTED BUGS.
//
// This design is wrong on purpose. It feeds the example regression with failures that a real
// one would have: rare, dependent on the traffic and so on the seed, and the same every time
// for the same seed. Each place is marked PLANTED below:
//
//   PLANTED 1  overflow   after exactly FULL_BUG writes without a pause the full flag is not raised,
//                         so that the next write overwrites the oldest word
//   PLANTED 2  mismatch   a word read in the cycle right after it was written comes out as the word that stood
//                         in that place 16 writes before, if the write port had slept for SLEEP_BUG cycles
//   PLANTED 3  hang       a flush request that meets the read of the last word, in the last place of the memory, is
//                         never acknowledged
//
// A fourth one, the crash, sits in tb_fifo.v. Plain Verilog-2005; standin.py is the same design in Python.
//
// Ports: `wr` is taken if not `full`, `rd` if not `empty`; `rdata` is valid one cycle after `rd`. `flush_req` is held until
// the pulse of `flush_ack`, which comes once the FIFO is empty. Flags come out of registers.

`timescale 1ns / 1ns

module fifo #(
    parameter FULL_BUG  = 29,
    parameter SLEEP_BUG = 30
) (
    input             clk,
    input             rst,
    input             wr,
    input      [31:0] wdata,
    output reg        full,
    input             rd,
    output reg [31:0] rdata,
    output            empty,
    input             flush_req,
    output reg        flush_ack
);
  reg [31:0] mem[0:15];
  reg [5:0] level;  // one bit more than needed, to survive an overflow
  reg [3:0] wr_ptr, rd_ptr;

  // A write spends one cycle in this register before it reaches the memory.
  reg        held;
  reg [3:0]  held_ptr;
  reg [31:0] held_data;
  reg        held_slept;

  reg [7:0] wr_run;   // cycles with a write, without a pause, up to now
  reg [7:0] wr_idle;  // cycles without a write up to now
  reg       draining, lost;

  wire do_wr = wr && !full;
  wire do_rd = rd && !empty;
  wire [5:0] next_level = level + {5'd0, do_wr} - {5'd0, do_rd};
  wire forward = held && held_ptr == rd_ptr && !held_slept;  // PLANTED 2: `&& !held_slept` is wrong
  assign empty = level == 0;

  integer i;
  initial for (i = 0; i < 16; i = i + 1) mem[i] = 0;

  always @(posedge clk) begin
    if (rst) begin
      level <= 0;
      full <= 0;
      wr_ptr <= 0;
      rd_ptr <= 0;
      held <= 0;
      held_ptr <= 0;
      held_data <= 0;
      held_slept <= 0;
      wr_run <= 0;
      wr_idle <= 0;
      rdata <= 0;
    end else begin
      level <= next_level;
      full <= next_level >= 16 && !(do_wr && wr_run == FULL_BUG - 1);  // PLANTED 1: everything after `>= 16` is wrong

      if (held) mem[held_ptr] <= held_data;
      held <= do_wr;
      held_ptr <= wr_ptr;
      held_data <= wdata;
      held_slept <= wr_idle == SLEEP_BUG;

      if (do_rd) rdata <= forward ? held_data : mem[rd_ptr];
      if (do_wr) wr_ptr <= wr_ptr + 4'd1;
      if (do_rd) rd_ptr <= rd_ptr + 4'd1;

      wr_run <= !do_wr ? 0 : wr_run == 255 ? 255 : wr_run + 8'd1;
      wr_idle <= do_wr ? 0 : wr_idle == 255 ? 255 : wr_idle + 8'd1;
    end
  end

  always @(posedge clk) begin
    flush_ack <= 0;
    if (rst) begin
      draining <= 0;
      lost <= 0;
    end else if (flush_req && !flush_ack && !lost) begin
      draining <= 1;
      if (!draining && do_rd && level == 1 && rd_ptr == 15) lost <= 1;  // PLANTED 3: this line is wrong
      else if (draining && level == 0) begin
        flush_ack <= 1;
        draining <= 0;
      end
    end
  end
endmodule
