// The geometry of the pictures.

import assert from "node:assert/strict";
import { test } from "node:test";

process.env.TZ = "UTC";
const charts = await import("../../static/charts.js");

const T = Date.parse("2025-11-21T13:00:00Z");
const MINUTE = 60_000;

test("scales map ends to ends, and a domain without extent to the middle", () => {
  assert.equal(charts.linear([0, 10], [100, 200])(5), 150);
  assert.equal(charts.linear([5, 5], [0, 100])(5), 50);
  assert.equal(Math.round(charts.logarithmic([1, 100], [0, 10])(10)), 5);
  assert.equal(charts.logarithmic([1, 100], [0, 10])(0), 0);
});

test("ticks are round and few", () => {
  const texts = (ticks) => ticks.map((tick) => tick.text);
  assert.deepEqual(texts(charts.timeTicks(T - 20_000, T + 25 * MINUTE, 4)), ["13:00", "13:10", "13:20"]);
  assert.deepEqual(texts(charts.timeTicks(T, T + 40_000, 5)), ["13:00:00", "13:00:10", "13:00:20", "13:00:30", "13:00:40"]);
  assert.ok(charts.timeTicks(T, T + 90 * 24 * 60 * MINUTE, 6).length <= 7);
  assert.deepEqual(texts(charts.countTicks(43, 4)), ["0", "20", "40"]);
  assert.deepEqual(texts(charts.countTicks(1, 4)), ["0", "1"]);
  assert.deepEqual(texts(charts.powerTicks(500, 2_000_000)), ["1k", "10k", "100k", "1M"]);
  assert.deepEqual(charts.durationTicks(500, 70_000).map((tick) => tick.at), [1000, 10_000, 60_000]);
});

test("a logarithmic axis has three marks at least, however short it is", () => {
  const texts = (ticks) => ticks.map((tick) => tick.text);
  assert.deepEqual(texts(charts.powerTicks(60_000, 600_000)), ["100k", "200k", "500k"]);
  assert.deepEqual(texts(charts.powerTicks(110, 180)), ["120", "140", "160", "180"]);
  assert.deepEqual(texts(charts.durationTicks(20_000, 170_000)), ["30 s", "1m", "2m"]);
  assert.deepEqual(texts(charts.durationTicks(61_000, 99_000)), ["1m 10s", "1m 20s", "1m 30s"]);
  assert.deepEqual(texts(charts.durationTicks(3, 3)), []);
});

test("jobs at the same time on one host stand side by side, hosts in order of their numbers", () => {
  const placed = charts.lanes({ hosts: ["n10.lab.example", "n2.lab.example"], host: [0, 0, 1, 0], start: [0, 5, 5, 10], length: [10, null, 1, 5] }, 20);
  assert.deepEqual(placed.hosts, [{ host: "n2", first: 0, rows: 1 }, { host: "n10", first: 1, rows: 2 }]);
  assert.deepEqual(placed.row, [1, 2, 0, 1]);
  assert.equal(placed.rows, 3);
});

test("finished jobs add up from nothing", () => {
  const summed = charts.sums({ from: new Date(T).toISOString(), step_ms: 1000, pass: [1, 2], fail: [0, 1], skip: [0, 0] });
  assert.deepEqual(summed.pass, [0, 1, 3]);
  assert.deepEqual(summed.done, [0, 1, 4]);
  assert.deepEqual(summed.at, [T, T + 1000, T + 2000]);
});

test("the nearest point is found within reach", () => {
  assert.equal(charts.nearest([[0, 0], [10, 10]], 9, 9, 5), 1);
  assert.equal(charts.nearest([[0, 0], [10, 10]], 50, 50, 5), -1);
});
