// Since when a regression runs, how long, until when.

import assert from "node:assert/strict";
import { test } from "node:test";

import { NOW, at, regression } from "./objects.mjs";
import { etaWords, regressionElapsed, sinceWords } from "../../static/model-times.js";

test("elapsed time runs from the server's figure, not from any publisher's clock", () => {
  assert.equal(regressionElapsed(regression({ started_at: "1999-01-01T00:00:00Z" }), NOW + 5000), 65_000);
  assert.equal(regressionElapsed(regression({ status: "complete" }), NOW + 5000), 60_000);
  assert.equal(regressionElapsed(regression(), NOW - 5000), 60_000);
});

test("where a publisher's start and the server's clock are apart, it is told when the server heard", () => {
  const words = (changes) => sinceWords(regression({ elapsed_ms: 30_000, read_at: NOW, ...changes }), NOW + 5000);
  assert.equal(words({ started_at: at(-80_000) }), "since 12:58:40");
  assert.equal(words({ started_at: at(-3_000_000) }), "first seen 12:59:30");
  assert.equal(words({ started_at: at(-3_000_000), status: "complete", finished_at: at(-10_000) }),
    "first seen 12:59:20");
});

test("an estimate is no more precise than it is known", () => {
  const short = (ms) => etaWords(regression({ eta_at: at(ms) }), NOW).short;
  const minutes = (n) => short(n * 60_000);
  assert.deepEqual([-9000, 4000, 12_000, 29_000, 44_000, 46_000].map(short),
    ["any moment", "any moment", "≈ 10s", "≈ 30s", "≈ 30s", "≈ 1m"]);
  assert.deepEqual([1, 13.6, 37, 83, 250, 700].map(minutes),
    ["≈ 1m", "≈ 14m", "≈ 35m", "≈ 1h 20m", "≈ 4h 10m", "≈ 12h"]);
  assert.equal(minutes(4 * 1440), "≈ 4d");
  assert.equal(etaWords(regression({ eta_at: at(42 * 60_000) }), NOW).long, "about 13:42");
  assert.equal(short(-20_000), "overdue");
  const eta = { at: at(42 * 60_000), low: at(35 * 60_000), high: at(58 * 60_000), basis: "rate+history" };
  assert.equal(etaWords(regression({ eta }), NOW).long, "13:35 to 13:58, from the current rate and earlier runs");
  const passed = { at: at(-120_000), low: null, high: null, basis: "history" };
  assert.deepEqual(etaWords(regression({ eta: passed }), NOW), { short: "overdue", long: "expected 12:58; from earlier runs" });
  assert.deepEqual(etaWords(regression(), NOW), { short: "–", long: "not yet known" });
  assert.deepEqual(etaWords(regression({ status: "complete", eta_at: at(9) }), NOW), { short: "", long: "" });
});

test("a run that is stalled says since when, until it is heard of again", () => {
  const [stalled, later] = [-8, 0].map((minutes) => at(minutes * 60_000));
  const words = (heard) => etaWords(regression({ eta: null, stalled_since: stalled, last_activity_at: heard }), NOW);
  assert.deepEqual(words(stalled), { short: "stalled", long: "no message since 12:52" });
  assert.equal(words(later).short, "–");
});
