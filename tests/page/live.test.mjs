// The stream of events, with a clock and an EventSource of our own.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createLive } from "../../static/live.js";
import { FakeSource, fakeClock } from "./fakes.mjs";

function liveWithFakes() {
  FakeSource.all = [];
  const told = [];
  const clock = fakeClock();
  const live = createLive((after) => `stream?after=${after}`, {
    event: (event) => told.push(event.type),
    fresh: () => told.push("fresh"),
    open: (resumed) => told.push(resumed ? "resumed" : "opened"),
    state: (state) => told.push(`:${state}`),
  }, { EventSource: FakeSource, ...clock });
  return { live, told, clock, source: () => FakeSource.all.at(-1) };
}

test("the first opening reads everything, a return goes on where it was", () => {
  const { live, told, source } = liveWithFakes();
  live.open();
  source().accept();
  source().send(7, { type: "job.live" });
  live.close();
  live.open();
  assert.equal(source().url, "stream?after=7");
  source().accept();
  assert.deepEqual(told, [":connecting", ":open", "opened", "fresh", "job.live", ":paused", ":connecting", ":open", "resumed"]);
});

test("a short cut is not worth a word, a long one is", async () => {
  const { live, told, clock, source } = liveWithFakes();
  live.open();
  source().accept();
  source().send(1, { type: "a" });
  told.length = 0;
  source().cut();
  await clock.pass(1000);
  source().accept();
  await clock.pass(5000);
  assert.deepEqual(told, ["resumed"]);
  source().cut();
  await clock.pass(2000);
  source().accept();
  assert.deepEqual(told, ["resumed", ":lost", ":open", "resumed"]);
});

test("a stream that died for good is tried again, slower each time", async () => {
  const { live, told, clock, source } = liveWithFakes();
  live.open();
  source().accept();
  const times = [];
  for (let n = 0; n < 8; n += 1) {
    const before = FakeSource.all.length;
    const from = clock.now();
    source().cut(2);
    while (FakeSource.all.length === before) await clock.pass(500);
    times.push(clock.now() - from);
  }
  assert.deepEqual(times, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  assert.ok(told.includes(":lost"));
  source().accept();
  assert.equal(live.state, "open");
});

test("a cursor that the server no longer knows means reading everything again", () => {
  const { live, told, source } = liveWithFakes();
  live.open();
  source().accept();
  source().send(3, { type: "a" });
  told.length = 0;
  source().listeners.reset({ lastEventId: "900", data: "{}" });
  assert.deepEqual(told, ["fresh"]);
  assert.equal(live.lastId, "900");
});

test("a reset without a new place starts over, or the old cursor would come back", async () => {
  const { live, told, clock, source } = liveWithFakes();
  live.open();
  source().accept();
  source().send(3, { type: "a" });
  live.close();
  live.open();
  source().accept();
  const refused = source();
  assert.equal(refused.url, "stream?after=3");
  told.length = 0;
  refused.listeners.reset({ lastEventId: "3", data: "{}" });
  assert.deepEqual([refused.readyState, told], [2, ["fresh"]]);
  await clock.pass(1500);
  assert.equal(FakeSource.all.length, 3);
  assert.equal(source().url, "stream?after=null");
});

test("once connected, the next cut is mended as soon as the first was", async () => {
  const { live, clock, source } = liveWithFakes();
  live.open();
  for (let n = 0; n < 5; n += 1) {
    source().cut(2);
    await clock.pass(30_000);
  }
  source().accept();
  const before = FakeSource.all.length;
  source().cut(2);
  await clock.pass(1000);
  assert.equal(FakeSource.all.length, before + 1);
});

test("what is no event is left alone", () => {
  const { live, told, source } = liveWithFakes();
  live.open();
  source().accept();
  told.length = 0;
  for (const nonsense of ["{", "null", "[]", '"x"', "{}"]) source().send(9, nonsense);
  assert.deepEqual(told, []);
  assert.equal(live.lastId, "9");
});

test("closing stops all retries", async () => {
  const { live, clock, source } = liveWithFakes();
  live.open();
  source().cut(2);
  live.close();
  await clock.pass(60_000);
  assert.equal(FakeSource.all.length, 1);
  assert.equal(live.state, "paused");
});
