// The stream and the pace of reading, with a clock and an EventSource of our own.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createLive, createRefresher } from "../../static/live.js";

/** A clock that only goes on when told. */
function fakeClock() {
  let now = 0;
  let nextId = 1;
  const timers = new Map();
  return {
    now: () => now,
    setTimeout: (work, ms) => (timers.set(nextId, { at: now + ms, work }), nextId++),
    clearTimeout: (id) => timers.delete(id),
    random: () => 0.5,
    async pass(ms) {
      const end = now + ms;
      for (;;) {
        const [id, due] = [...timers].filter(([, timer]) => timer.at <= end).sort((a, b) => a[1].at - b[1].at)[0] ?? [];
        if (id === undefined) break;
        timers.delete(id);
        now = Math.max(now, due.at);
        due.work();
        await settled();
      }
      now = end;
      await settled();
    },
  };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

class FakeSource {
  static all = [];
  constructor(url) {
    this.url = url;
    this.readyState = 0;
    this.listeners = {};
    FakeSource.all.push(this);
  }
  addEventListener(type, work) {
    this.listeners[type] = work;
  }
  close() {
    this.readyState = 2;
  }
  accept() {
    this.readyState = 1;
    this.onopen();
  }
  send(seq, data) {
    this.onmessage({ lastEventId: String(seq), data: typeof data === "string" ? data : JSON.stringify(data) });
  }
  cut(readyState = 0) {
    this.readyState = readyState;
    this.onerror();
  }
}

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
  const { live, clock, source } = liveWithFakes();
  live.open();
  source().accept();
  source().send(3, { type: "a" });
  source().listeners.reset({ lastEventId: "3", data: "{}" });
  await clock.pass(1500);
  assert.equal(source().url, "stream?after=null");
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

// ----------------------------------------------------------------------------------------------------------- the pace

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
