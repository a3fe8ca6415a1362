// Round marks for axes.

import assert from "node:assert/strict";
import { test } from "node:test";

import * as ticks from "../../static/ticks.js";

process.env.TZ = "UTC";

const T = Date.parse("2025-11-21T13:00:00Z");
const MINUTE = 60_000;

const texts = (marks) => marks.map((mark) => mark.text);

test("ticks are round and few", () => {
  assert.deepEqual(texts(ticks.timeTicks(T - 20_000, T + 25 * MINUTE, 4)), ["13:00", "13:10", "13:20"]);
  assert.deepEqual(texts(ticks.timeTicks(T, T + 40_000, 5)), ["13:00:00", "13:00:10", "13:00:20", "13:00:30", "13:00:40"]);
  assert.ok(ticks.timeTicks(T, T + 90 * 24 * 60 * MINUTE, 6).length <= 7);
  assert.deepEqual(texts(ticks.countTicks(43, 4)), ["0", "20", "40"]);
  assert.deepEqual(texts(ticks.countTicks(1, 4)), ["0", "1"]);
  assert.deepEqual(texts(ticks.powerTicks(500, 2_000_000)), ["1k", "10k", "100k", "1M"]);
  assert.deepEqual(ticks.durationTicks(500, 70_000).map((tick) => tick.at), [1000, 10_000, 60_000]);
});

test("a logarithmic axis has three marks at least, however short it is", () => {
  assert.deepEqual(texts(ticks.powerTicks(60_000, 600_000)), ["100k", "200k", "500k"]);
  assert.deepEqual(texts(ticks.powerTicks(110, 180)), ["120", "140", "160", "180"]);
  assert.deepEqual(texts(ticks.durationTicks(20_000, 170_000)), ["30s", "1m", "2m"]);
  assert.deepEqual(texts(ticks.durationTicks(61_000, 99_000)), ["1m 10s", "1m 20s", "1m 30s"]);
  assert.deepEqual(texts(ticks.durationTicks(3, 3)), []);
});
