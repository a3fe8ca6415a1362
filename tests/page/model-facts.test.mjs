// What is known beyond the figures on top.

import assert from "node:assert/strict";
import { test } from "node:test";

import { NOW, at, job, regression } from "./objects.mjs";
import { jobFacts, regressionFacts } from "../../static/model-facts.js";

test("the publisher's start is a fact of its own only where the server heard of the run at another time", () => {
  const labels = (start) => regressionFacts(regression({ started_at: start, fields: { starttime: start } }), NOW).map(([label]) => label);
  assert.deepEqual(labels(at(-60_000)), []);
  assert.deepEqual(labels(at(-3_000_000)), ["Start (publisher)"]);
});

test("times among the fields are those of the reader's clock, limits are durations", () => {
  const fields = { model_timestamp: "2025-11-21T12:04:12Z", time_limit_hours: 1.5 };
  assert.deepEqual(regressionFacts(regression({ fields }), NOW), [["Version time", "12:04:12"], ["Time limit", "1h 30m"]]);
});

test("facts show every field that was told, unknown ones too", () => {
  const facts = regressionFacts(regression({
    component: "cpu", branch: "", stats: { compute_ms: 10_000, cycles: 9999, cycles_per_s: 499.7 },
    fields: { name: "myrun/123", model_version: "4f9", starttime: "0001-01-01T00:00:00Z", time_limit_hours: 8, ours: { x: 1 } },
  }), NOW);
  assert.deepEqual(facts, [["Component", "cpu"], ["Version", "4f9"], ["Compute", "10s, 500 cycles/s"], ["Time limit", "8h 00m"], ["ours", '{"x":1}']]);
  assert.deepEqual(jobFacts(job(1, { category: "sim", exit_code: 0 })), [["Category", "sim"], ["Exit code", "0"]]);
  assert.deepEqual(jobFacts(job(1, { config: "make x" })), []);
  assert.deepEqual(jobFacts(job(1, { config: "x", extra: { rerun: "make x" } })), [["Config", "x"]]);
});
