// The pace of reading, with a clock of our own.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createRefresher } from "../../static/pace.js";
import { fakeClock } from "./fakes.mjs";

function refresherWithFakes(gap, work) {
  const clock = fakeClock();
  const runs = [];
  const refresher = createRefresher(async () => {
    runs.push(clock.now());
    await work?.(clock);
  }, gap, clock);
  return { clock, runs, refresher };
}

test("the first request runs at once, any number within the gap become one", async () => {
  const { clock, runs, refresher } = refresherWithFakes(500);
  for (let n = 0; n < 5; n += 1) refresher.request();
  await clock.pass(100);
  for (let n = 0; n < 5; n += 1) refresher.request();
  await clock.pass(5000);
  assert.deepEqual(runs, [0, 500]);
});

test("constant news keeps the pace", async () => {
  const { clock, runs, refresher } = refresherWithFakes(1000);
  for (let n = 0; n < 49; n += 1) {
    refresher.request();
    await clock.pass(100);
  }
  assert.deepEqual(runs, [0, 1000, 2000, 3000, 4000]);
});

test("slow answers slow the page down", async () => {
  const { clock, runs, refresher } = refresherWithFakes(500, (time) => new Promise((done) => time.setTimeout(done, 400)));
  for (let n = 0; n < 100; n += 1) {
    refresher.request();
    await clock.pass(100);
  }
  assert.deepEqual(runs, [0, 4000, 8000]);
});

test("nothing runs while paused, and what was asked for runs afterwards", async () => {
  const { clock, runs, refresher } = refresherWithFakes(500);
  refresher.pause();
  refresher.request();
  await clock.pass(5000);
  assert.deepEqual(runs, []);
  refresher.resume();
  await clock.pass(10);
  assert.deepEqual(runs, [5000]);
});

test("a hurried request does not wait for the gap", async () => {
  const { clock, runs, refresher } = refresherWithFakes(1000);
  refresher.request();
  await clock.pass(100);
  refresher.hurry();
  await clock.pass(1);
  assert.deepEqual(runs, [0, 100]);
});

test("a reading that fails does not end the pace", async () => {
  const clock = fakeClock();
  let runs = 0;
  const refresher = createRefresher(async () => {
    runs += 1;
    if (runs === 1) throw new Error("expected here");
  }, 100, { ...clock, setTimeout: (work, ms) => clock.setTimeout(() => work()?.catch?.(() => {}), ms) });
  refresher.request();
  await clock.pass(1000);
  refresher.request();
  await clock.pass(1000);
  assert.equal(runs, 2);
});
