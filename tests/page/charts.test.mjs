// The geometry of the pictures.

import assert from "node:assert/strict";
import { test } from "node:test";

import * as charts from "../../static/charts.js";

const T = Date.parse("2025-11-21T13:00:00Z");

test("scales map ends to ends, and a domain without extent to the middle", () => {
  assert.equal(charts.linear([0, 10], [100, 200])(5), 150);
  assert.equal(charts.linear([5, 5], [0, 100])(5), 50);
  assert.equal(Math.round(charts.logarithmic([1, 100], [0, 10])(10)), 5);
  assert.equal(charts.logarithmic([1, 100], [0, 10])(0), 0);
});

test("a logarithmic axis spans what is above zero, with room on both sides", () => {
  assert.deepEqual(charts.logSpan([0, 14, 140]), [10, 196]);
  assert.deepEqual(charts.logSpan([0]), [1, 10]);
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
